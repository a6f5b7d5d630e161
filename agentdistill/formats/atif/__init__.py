"""ATIF trajectories (versions 1.0 to 1.8 are read, 1.7 is written): episodes and takeovers as other tools read them."""

from agentdistill.formats.atif.reading import load_atif, read_atif
from agentdistill.formats.atif.writing import write_atif

__all__ = ["load_atif", "read_atif", "write_atif"]
