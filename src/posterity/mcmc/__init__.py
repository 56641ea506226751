"""Walks and weights over any smooth potential: what methods per case and learned posteriors both draw with."""

from .chains import Chains, Draws
from .diagnostics import Convergence, convergence, pareto_smooth
from .hamiltonian import Particles, Potential, evaluate, move, transition
from .preconditioning import preconditioner
from .tempering import FIRST_STEP, Tempered, Tempering, next_temperature
from .weights import Resampled, resample

__all__ = [
    "FIRST_STEP",
    "Chains",
    "Convergence",
    "Draws",
    "Particles",
    "Potential",
    "Resampled",
    "Tempered",
    "Tempering",
    "convergence",
    "evaluate",
    "move",
    "next_temperature",
    "pareto_smooth",
    "preconditioner",
    "resample",
    "transition",
]
