"""Files: the NetCDF schema, atomic writes, lazy reads."""

from .files import along_cases, apart, atomic, read, write
from .schema import check
from .scores import SCORES, TRAININGS

__all__ = ["SCORES", "TRAININGS", "along_cases", "apart", "atomic", "check", "read", "write"]
