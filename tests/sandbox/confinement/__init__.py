"""The layers of confinement, each on its own."""
