"""From a YAML file to frozen topologies, one a cell of its matrix, or to all of its mistakes at once."""

from harness.topology.expand import Cell, cells_of, only_cell

__all__ = ["Cell", "cells_of", "only_cell"]
