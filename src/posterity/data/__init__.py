"""Files: the NetCDF schema, atomic writes, lazy reads."""

from .files import atomic, load, read, read_many, write
from .schema import INFO, PROVENANCE, check

__all__ = ["INFO", "PROVENANCE", "atomic", "check", "load", "read", "read_many", "write"]
