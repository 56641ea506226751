"""Per-case posteriors: methods that see one window at a time, many windows in one batch."""

from .cycling import Cycled, cycled
from .montecarlo.abc import RejectionABC
from .montecarlo.climatology import Climatology
from .montecarlo.hmc import HamiltonianMonteCarlo
from .montecarlo.importance import ImportanceSampling
from .montecarlo.prior import Prior
from .montecarlo.prior_importance import PriorImportanceSampling
from .montecarlo.smc import SequentialMonteCarlo
from .sequential.enkf import StochasticEnKF
from .sequential.enks import EnKS
from .sequential.etkf import ETKF
from .sequential.freerun import FreeRun
from .sequential.ienks import IEnKS
from .sequential.lagged import LaggedFourDVar
from .sequential.lenks import LocalEnKS
from .sequential.letkf import LETKF
from .sequential.particle import ParticleFilter, ParticleSmoother
from .sequential.threedvar import ThreeDVar
from .variational.ensemble_fourdvar import EnsembleFourDVar
from .variational.fourdvar import FourDVar
from .variational.vi import VariationalInference

__all__ = [
    "ETKF",
    "LETKF",
    "Climatology",
    "Cycled",
    "EnKS",
    "EnsembleFourDVar",
    "FourDVar",
    "FreeRun",
    "HamiltonianMonteCarlo",
    "IEnKS",
    "ImportanceSampling",
    "LaggedFourDVar",
    "LocalEnKS",
    "ParticleFilter",
    "ParticleSmoother",
    "Prior",
    "PriorImportanceSampling",
    "RejectionABC",
    "SequentialMonteCarlo",
    "StochasticEnKF",
    "ThreeDVar",
    "VariationalInference",
    "cycled",
]
