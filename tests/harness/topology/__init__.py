"""The tests of `harness.topology`."""
