"""Files: the NetCDF schema, atomic writes, lazy reads."""

from .files import atomic, load, read, read_many, write
from .lock import lock
from .schema import INFO, PROVENANCE, check
from .scores import SCORES

__all__ = ["INFO", "PROVENANCE", "SCORES", "atomic", "check", "load", "lock", "read", "read_many", "write"]
