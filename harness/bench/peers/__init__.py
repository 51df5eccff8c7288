"""What the peers run."""
