"""After processes: more of them, and power over those of others."""
