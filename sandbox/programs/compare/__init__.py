"""The workers of `configs/compare/`: each does what shows one property of a protocol, and reports what came of it."""
