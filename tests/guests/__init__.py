"""Guests: workers that try to break out, one file a misbehaviour, and the proof that they get nothing."""
