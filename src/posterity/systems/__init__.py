"""Dynamical systems in discrete time, batched, and differentiable unless they say that they are not."""

from .black_box import BlackBox
from .kolmogorov import Kolmogorov
from .linear import LinearAdvection
from .lorenz63 import Lorenz63
from .lorenz96 import Lorenz96
from .lorenz96_two_scale import TwoScaleLorenz96
from .shallow_water import ShallowWater
from .system import System, jacobian, parameter_names

__all__ = [
    "BlackBox",
    "Kolmogorov",
    "LinearAdvection",
    "Lorenz63",
    "Lorenz96",
    "ShallowWater",
    "System",
    "TwoScaleLorenz96",
    "jacobian",
    "parameter_names",
]
