"""The tests of `harness`."""
