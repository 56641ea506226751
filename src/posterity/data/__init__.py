"""Files: the NetCDF schema, atomic writes, lazy reads."""

from .files import apart, atomic, load, read, read_many, write
from .lock import lock
from .schema import check
from .scores import SCORES, TRAININGS

__all__ = ["SCORES", "TRAININGS", "apart", "atomic", "check", "load", "lock", "read", "read_many", "write"]
