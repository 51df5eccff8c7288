"""After names: who else is there, and what they are called."""
