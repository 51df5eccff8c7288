"""One layer a file: each takes something away from a worker, or raises."""
