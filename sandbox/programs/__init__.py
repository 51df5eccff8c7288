"""Worker programs that topologies use."""
