"""The tests of `harness.report`."""
