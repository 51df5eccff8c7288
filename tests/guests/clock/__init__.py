"""After time: more of the processor's, and of anybody's."""
