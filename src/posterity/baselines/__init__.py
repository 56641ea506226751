"""Per-case posteriors: methods that see one window at a time, many windows in one batch."""

from .abc import RejectionABC
from .enkf import StochasticEnKF
from .enks import EnKS
from .ensemble_fourdvar import EnsembleFourDVar
from .etkf import ETKF
from .fourdvar import FourDVar
from .ienks import IEnKS
from .letkf import LETKF
from .prior import Prior
from .vi import VariationalInference

__all__ = [
    "ETKF",
    "LETKF",
    "EnKS",
    "EnsembleFourDVar",
    "FourDVar",
    "IEnKS",
    "Prior",
    "RejectionABC",
    "StochasticEnKF",
    "VariationalInference",
]
