"""Before the start: while the program is imported."""
