"""Files: the NetCDF schema, atomic writes, lazy reads."""

from .files import atomic, load, load_many, read, read_many, write
from .schema import INFO, PROVENANCE, check

__all__ = ["INFO", "PROVENANCE", "atomic", "check", "load", "load_many", "read", "read_many", "write"]
