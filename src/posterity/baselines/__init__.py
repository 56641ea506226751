"""Per-case posteriors: methods that see one window at a time, many windows in one batch."""

from .abc import RejectionABC
from .climatology import Climatology
from .cycling import Cycled, cycled
from .enkf import StochasticEnKF
from .enks import EnKS
from .ensemble_fourdvar import EnsembleFourDVar
from .etkf import ETKF
from .fourdvar import FourDVar
from .hmc import HamiltonianMonteCarlo
from .ienks import IEnKS
from .importance import ImportanceSampling
from .lagged import LaggedFourDVar
from .letkf import LETKF
from .particle import ParticleFilter, ParticleSmoother
from .prior import Prior
from .smc import SequentialMonteCarlo
from .threedvar import ThreeDVar
from .vi import VariationalInference

__all__ = [
    "ETKF",
    "LETKF",
    "Climatology",
    "Cycled",
    "EnKS",
    "EnsembleFourDVar",
    "FourDVar",
    "HamiltonianMonteCarlo",
    "IEnKS",
    "ImportanceSampling",
    "LaggedFourDVar",
    "ParticleFilter",
    "ParticleSmoother",
    "Prior",
    "RejectionABC",
    "SequentialMonteCarlo",
    "StochasticEnKF",
    "ThreeDVar",
    "VariationalInference",
    "cycled",
]
