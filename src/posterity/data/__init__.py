"""Files: the NetCDF schema, atomic writes, lazy reads."""

from .files import atomic, load, read, read_many, write
from .lock import lock
from .schema import INFO, PROVENANCE, check

__all__ = ["INFO", "PROVENANCE", "atomic", "check", "load", "lock", "read", "read_many", "write"]
