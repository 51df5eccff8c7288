"""After the file system: what others keep there, and what a program could leave there."""
