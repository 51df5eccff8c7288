"""The tests of `sandbox`."""
