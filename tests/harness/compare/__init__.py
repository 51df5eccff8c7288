"""Tests of `imclab compare`."""
