"""From a YAML file to frozen topologies, one a cell of its matrix, or to all of its mistakes at once."""

from typing import Final

from harness.topology.expand import Cell, as_text, declares, read

SUFFIX: Final = ".imclab.yaml"

__all__ = ["SUFFIX", "Cell", "as_text", "declares", "read"]
