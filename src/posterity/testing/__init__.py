"""Checks for the tests of systems, operators and methods, of the project itself and of packages that add to it."""

from .chain import GaussianChain, KnownMean, UnknownMean, cosine_angles, draw_moments, matched
from .components import check_operator, check_system
from .estimators import check_density, check_estimator, check_gradients, check_loss
from .examples import Breaking, ExplodingSystem, blind, hopeless, linear_gaussian, log_evidence
from .methods import check_isolated, check_method
from .statistics import check_gaussian, check_ranks

__all__ = [
    "Breaking",
    "ExplodingSystem",
    "GaussianChain",
    "KnownMean",
    "UnknownMean",
    "blind",
    "check_density",
    "check_estimator",
    "check_gaussian",
    "check_gradients",
    "check_isolated",
    "check_loss",
    "check_method",
    "check_operator",
    "check_ranks",
    "check_system",
    "cosine_angles",
    "draw_moments",
    "hopeless",
    "linear_gaussian",
    "log_evidence",
    "matched",
]
