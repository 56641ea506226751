"""Files: the NetCDF schema, atomic writes, lazy reads."""

from .files import along_cases, along_methods, apart, atomic, read, write
from .schema import accept, check
from .scores import SCORES, TRAININGS

__all__ = ["SCORES", "TRAININGS", "accept", "along_cases", "along_methods", "apart", "atomic", "check", "read", "write"]
