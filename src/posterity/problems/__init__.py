"""Inference problems: observations, the joint distribution, and the control through which methods see it."""

from .chunks import chunks
from .control import Control
from .draws import Ensemble, Twin
from .ensemble import decode_ensemble, refill, replace_failed
from .gaussian import GaussianPosterior, check_linear, exact_posterior
from .library import StateLibrary
from .linearized.hessian import curvature, eigenpairs, laplace, structured
from .linearized.model import Linearization, LinearModel
from .observing.grids import Coarsen, Crop, Strided, Truncation
from .observing.masks import ChannelMask, GridMask, Mask, RandomMask, RingMask, TimeMask, TrackMask
from .observing.noise import GaussianNoise, Noise
from .observing.observation import Observation
from .observing.operators import (
    Arctan,
    BlackBoxOperator,
    Channels,
    Composed,
    Identity,
    Operator,
    Pointwise,
    Quadratic,
    Saturation,
)
from .observing.stations import GaussianStations
from .observing.velocity import Speed, Vorticity
from .posterior import Posterior
from .predictive import log_likelihood, model_residual, predictive_pit, transition_gap
from .priors import LogitNormal, LogNormal, Normal, ParameterPrior, Uniform
from .problem import Joint, Problem
from .state_control import StateControl
from .window import Window

__all__ = [
    "Arctan",
    "BlackBoxOperator",
    "ChannelMask",
    "Channels",
    "Coarsen",
    "Composed",
    "Control",
    "Crop",
    "Ensemble",
    "GaussianNoise",
    "GaussianPosterior",
    "GaussianStations",
    "GridMask",
    "Identity",
    "Joint",
    "LinearModel",
    "Linearization",
    "LogNormal",
    "LogitNormal",
    "Mask",
    "Noise",
    "Normal",
    "Observation",
    "Operator",
    "ParameterPrior",
    "Pointwise",
    "Posterior",
    "Problem",
    "Quadratic",
    "RandomMask",
    "RingMask",
    "Saturation",
    "Speed",
    "StateControl",
    "StateLibrary",
    "Strided",
    "TimeMask",
    "TrackMask",
    "Truncation",
    "Twin",
    "Uniform",
    "Vorticity",
    "Window",
    "check_linear",
    "chunks",
    "curvature",
    "decode_ensemble",
    "eigenpairs",
    "exact_posterior",
    "laplace",
    "log_likelihood",
    "model_residual",
    "predictive_pit",
    "refill",
    "replace_failed",
    "structured",
    "transition_gap",
]
