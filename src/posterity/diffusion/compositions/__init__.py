r"""Compositions: the denoiser of a trajectory of any length from denoisers of its windows.

A trajectory :math:`z = (x_1, \dots, x_L, \theta)` is a vector, its states one after another and behind them the
parameters that all share (:class:`.Trajectory`); :math:`R_w` cuts a window of consecutive states and the parameters
out of it. A local denoiser (:class:`.LocalDenoiser`) is the mean :math:`D_w(\bar x_w) = E[z_w | \bar x_w]` of windows
of one length or two. All compositions are sums over windows of what it finds, with shares :math:`a_w` of each entry
that sum to one,

.. math:: D(\bar x) = \sum_w R_w^T\, a_w \circ D_w(R_w \bar x), \qquad \sum_w R_w^T\, a_w = 1 ,

and their derivatives sums over those of windows, so that neither takes a graph over the whole.

A composition (:mod:`.kinds`) is a choice of windows and shares. Since scores are :math:`\nabla \log p(\bar x) =
(\cos\varphi\, D - \bar x) / \sin^2\varphi`, sums of logarithms of densities are such sums too: shares of one for
windows and of minus one for what neighbours have in common are the junction tree of a Markov chain.

Guidance takes the composed denoiser like any other; or, as observations are of single states, it guides each window by
what is observed in it, and what it finds is composed (:meth:`.Composed.guided`).
"""

from .composed import Composed, LocalDenoiser
from .kinds import Blankets, Composition, Fold, Junction
from .windows import LocalLikelihood, Trajectory, Windows

__all__ = [
    "Blankets",
    "Composed",
    "Composition",
    "Fold",
    "Junction",
    "LocalDenoiser",
    "LocalLikelihood",
    "Trajectory",
    "Windows",
]
