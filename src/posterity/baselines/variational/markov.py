"""Variational families of Gaussians over the trajectory, for the weak constraint."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...algebra import Curvature, Factor, TridiagonalFactor
from ...problems import Control, Problem, StateControl, Window
from ...problems.linearized.minimum import Minimum
from ...problems.minimize import levenberg_marquardt, minimize
from ...tensors import white_noise
from .families import DiagonalFamily, Family, Free


class TrajectoryFamily(Family):
    """Abstract family of Gaussians over the states of the window and the unknown parameters, under the weak constraint.

    A density that is Gaussian in the trajectory is not Gaussian in the initial state and model errors, unless the model
    is linear.
    """

    def control(self, problem: Problem, window: Window) -> StateControl:
        """Coordinates of the trajectory; raises if some entry of the model has no error."""
        return StateControl(problem, window)

    def mode(self, control: Control) -> Minimum:
        """The lower of the minima found in both coordinates, whose costs are the same but whose descents differ."""
        found = minimize(control)
        errors = Control(control.problem, control.window)
        start = minimize(errors).u
        control.absorb(errors, slice(None))
        window = control.problem.window
        other = levenberg_marquardt(
            control,
            control.encode(errors.trajectory(start, window), errors.parameters(start)),
            iterations=5,
            increment=window,
        )
        return found.put(torch.arange(control.cases, device=start.device), other.cost < found.cost, other)


@dataclass(frozen=True)
class TrajectoryMeanField(DiagonalFamily, TrajectoryFamily):
    """Mean-field family of trajectories: a diagonal precision, without correlations in time."""


@dataclass(frozen=True)
class BlockTridiagonal(TrajectoryFamily):
    """Block-tridiagonal family: the precision of a Markov chain of states, bordered by the unknown parameters.

    No term of the weak-constraint cost couples more, so no Gaussian over the trajectory has a higher bound; see
    :mod:`~posterity.baselines.variational`.
    """

    def project(self, precision: Curvature) -> Factor:
        """Returns the root of the inverse of the matrix as it is."""
        return precision.factor()

    def free(self, control: Control) -> Free:
        """Blocks of a factor: the logarithms of its diagonal, and what is below it."""
        like, times, n = control.zero(), control.problem.window, control.states
        constants = control.known - control.entries

        def small(*shape: int) -> Tensor:
            return 1e-2 * white_noise(like, control.cases, *shape)

        corner = (like.new_zeros(control.cases, constants), small(constants, constants))
        states = (like.new_zeros(control.cases, times, n), small(times, n, n))
        return *states, small(times - 1, n, n), small(times, constants, n), *corner

    def member(self, free: Free) -> Factor:
        """The factor of these blocks."""
        log_scale, weights, below, edges, log_corner, corner = (each.double() for each in free)
        roots = torch.diag_embed(torch.exp(-log_scale)) + weights.tril(-1)
        last = torch.diag_embed(torch.exp(-log_corner)) + corner.tril(-1)
        return TridiagonalFactor(roots, below, edges, last)
