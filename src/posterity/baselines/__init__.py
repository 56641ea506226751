"""Per-case posteriors: methods that see one window at a time, many windows in one batch."""

from .abc import RejectionABC
from .ensemble_fourdvar import EnsembleFourDVar
from .fourdvar import FourDVar
from .prior import Prior
from .vi import VariationalInference

__all__ = ["EnsembleFourDVar", "FourDVar", "Prior", "RejectionABC", "VariationalInference"]
