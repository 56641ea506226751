"""Files: the NetCDF schema, atomic writes, lazy reads."""

from .files import apart, atomic, read, read_many, write
from .schema import check
from .scores import SCORES, TRAININGS

__all__ = ["SCORES", "TRAININGS", "apart", "atomic", "check", "read", "read_many", "write"]
