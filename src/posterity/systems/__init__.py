"""Dynamical systems in discrete time, batched, and differentiable unless they say that they are not."""

from .black_box import BlackBox
from .driven import Driven
from .equations.ode import ODE
from .kolmogorov import Kolmogorov
from .linear import LinearAdvection
from .lorenz63 import Lorenz63
from .lorenz96 import Lorenz96
from .lorenz96_two_scale import TwoScaleLorenz96
from .neurons.fitzhugh_nagumo import FitzHughNagumo, RamsayFitzHughNagumo, StochasticFitzHughNagumo
from .neurons.hodgkin_huxley import HodgkinHuxley, NaKL, RegularSpiking
from .neurons.stimuli import Chaotic, Recorded, Step, Stimulus
from .shallow_water import ShallowWater
from .stochastic import Stochastic
from .system import System, jacobian, parameter_names

__all__ = [
    "ODE",
    "BlackBox",
    "Chaotic",
    "Driven",
    "FitzHughNagumo",
    "HodgkinHuxley",
    "Kolmogorov",
    "LinearAdvection",
    "Lorenz63",
    "Lorenz96",
    "NaKL",
    "RamsayFitzHughNagumo",
    "Recorded",
    "RegularSpiking",
    "ShallowWater",
    "Step",
    "Stimulus",
    "Stochastic",
    "StochasticFitzHughNagumo",
    "System",
    "TwoScaleLorenz96",
    "jacobian",
    "parameter_names",
]
