"""Dynamical systems in discrete time, differentiable and batched."""

from .linear import LinearAdvection
from .lorenz63 import Lorenz63
from .lorenz96 import Lorenz96
from .lorenz96_two_scale import TwoScaleLorenz96
from .system import System, jacobian, parameter_names

__all__ = [
    "LinearAdvection",
    "Lorenz63",
    "Lorenz96",
    "System",
    "TwoScaleLorenz96",
    "jacobian",
    "parameter_names",
]
