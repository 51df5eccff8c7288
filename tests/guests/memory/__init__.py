"""After memory: more of it, and that of others."""
