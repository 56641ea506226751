"""The frame of each window's Laplace approximation."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ...nn import Layout
from ...nn.layout import constant
from ...problems import Control, Problem, Window, eigenpairs
from ...problems.chunks import LARGE
from ...problems.linearized.minimum import Minimum
from ...problems.minimize import highest_plausible
from ...tensors import identity
from ..features import Features
from ..target import ControlTarget, Target
from .coordinates import LaplaceCoordinates
from .curvature import curved
from .frame import Frame, View
from .search import search

#: Directions that differ from those of the prior, where the control is too large for matrices.
DIRECTIONS = 128

#: Standard deviations of its climatology beyond which networks are told no more of a state.
BEYOND = 10.0


@dataclass(frozen=True)
class LaplaceFrame(Frame):
    r"""The frame of each window's Laplace approximation, bent along with its posterior.

    Some iterations of quasi-static Levenberg–Marquardt from the background lead to :math:`\hat u`, with the
    Gauss–Newton precision. From second derivatives of the misfits come what that precision leaves out, and the cost to
    third order, with which the coordinates bend; see :func:`~posterity.estimators.frames.curvature.curved`.
    A Gaussian follows the valley in which a posterior lies along a straight line only, and where the model carries
    it forward it is far too wide. In these coordinates posteriors are nearly white: what is left to learn is little.
    A window whose minimum is implausible is searched again along other paths, see
    :func:`~posterity.estimators.frames.search.search`; one of which the model diverges, or whose cost stays
    implausible, has the frame of the prior.

    Beside the features of a window networks see the estimate :math:`\hat u`, the logarithms of its variances, its
    trajectory, what that leaves of the observations, :math:`\sinh^{-1}((y_t - H(\hat x_t)) / \sigma_t)`, and the cost.

    Takes the control as target. It depends on the window alone, so that densities and refinement stay exact under any
    joint, and its work counts in that of draws.

    Args:
        iterations: The number of iterations on the full window, and the most on each shorter one, up to three.
        increment: The number of states by which the window grows.
        bent: The number of directions of the largest variance with which the others bend, for the square of as many
            runs of the model; 0 for none. Controls that are too large for matrices have none.

    References:
        | Relative curvature measures of nonlinearity (Bates & Watts, 1980),
          https://doi.org/10.1111/j.2517-6161.1980.tb01094.x
        | Sampling via measure transport: an introduction (Marzouk et al., 2016), https://arxiv.org/abs/1602.05023
    """

    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    iterations: int = 6
    increment: int = 2
    bent: int = 16

    def __post_init__(self) -> None:
        """Checks the options."""
        if self.iterations < 1 or self.increment < 1:
            raise ValueError(
                f"iterations, increment: at least one is needed of each, not {self.iterations} and {self.increment}"
            )
        if self.bent < 0:
            raise ValueError(f"bent: must not be negative, not {self.bent}; 0 stands for straight coordinates")

    def check(self, problem: Problem, target: Target) -> None:
        """Checks that the control is learned."""
        if not isinstance(target, ControlTarget):
            raise ValueError(
                f"frame: LaplaceFrame is one of the control, and what is learned are states ({type(target).__name__}); "
                "set the target 'control', which takes a background, or the frame 'prior'"
            )

    def shape(self, features: Features, layout: Layout) -> tuple[int, ...]:
        """That of the features with a few channels more."""
        problem = features.problem
        states, observed = problem.window * problem.shape[0], problem.window * problem.observation.shape[0]
        if features.flat:
            return (features.shape[0] + 2 * layout.field[0] + (states + observed) * prod(problem.shape[1:]) + 1,)
        return (features.shape[0] + 2 * layout.field[0] + states + observed + 1, *features.shape[1:])

    @torch.no_grad()
    def find(self, features: Features, layout: Layout, window: Window, control: Control | None = None) -> View:
        """The coordinates of the Laplace approximation; in full precision, since models run."""
        control = Control(features.problem, window) if control is None else control
        with torch.autocast(window.y.device.type, enabled=False):
            minimum = search(control, self.iterations, self.increment)
            coordinates = _around(control, minimum)
            if self.bent and control.size <= LARGE:
                coordinates = curved(control, coordinates, min(self.bent, control.size))
            parts = [features(window), *self._seen(features, layout, control, minimum.cost, coordinates)]
        context = torch.cat([part.flatten(1) for part in parts] if features.flat else parts, dim=1)
        return View(context, coordinates, control)

    def _seen(
        self, features: Features, layout: Layout, control: Control, cost: Tensor, coordinates: LaplaceCoordinates
    ) -> list[Tensor]:
        """What networks see of the frame, channels on the grid of the state."""
        problem = control.problem
        x = control.trajectory(coordinates.origin, problem.window)
        left = torch.asinh((control.y - problem.observation.operator(x)) * control.precision).nan_to_num(nan=0.0)
        states = features.state(x).nan_to_num(nan=0.0).clamp(-BEYOND, BEYOND)
        half = 0.5 * control.observed.flatten(1).sum(dim=-1).to(cost)
        excess = ((cost - half) / half.clamp(min=1).sqrt()).clamp(max=BEYOND)
        return [
            layout.spread(coordinates.origin.unflatten(-1, layout.shape)),
            layout.spread(coordinates.variance().log().unflatten(-1, layout.shape)),
            states.flatten(1, 2),
            features.on_grid(left),
            constant(excess.unsqueeze(-1), () if features.flat else problem.shape[1:]),
        ]


def _around(control: Control, minimum: Minimum) -> LaplaceCoordinates:
    """The coordinates around a minimum; those of the prior where that is none."""
    if control.size > LARGE:
        values, vectors = (field.nan_to_num(0.0) for field in eigenpairs(minimum.model, DIRECTIONS))
        values, sound = values + 1, minimum.u.new_ones(control.cases, dtype=torch.bool)
    else:
        hessian = minimum.model.dense()
        sound = hessian.isfinite().flatten(1).all(dim=-1)
        values, vectors = torch.linalg.eigh(torch.where(sound[:, None, None], hessian, identity(hessian, control.size)))
    sound = sound & (minimum.cost <= highest_plausible(control))
    origin = torch.where(sound.unsqueeze(-1), minimum.u, 0)
    values = torch.where(sound.unsqueeze(-1), values.clamp(min=1), 1)
    return LaplaceCoordinates.straight(origin, values.to(origin), vectors.to(origin))
