"""Variational families of Gaussians over the trajectory, for the weak constraint."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...problems import Control, Problem, StateControl, Window
from ...problems.minimize import Minimum, levenberg_marquardt, minimize
from .families import Family


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
class TrajectoryMeanField(TrajectoryFamily):
    """Mean-field family of trajectories: a diagonal precision, without correlations in time."""

    def project(self, matrix: Tensor, control: Control) -> Tensor:
        """Keeps the diagonal."""
        return torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))


@dataclass(frozen=True)
class BlockTridiagonal(TrajectoryFamily):
    """Block-tridiagonal family: the precision of a Markov chain of states, bordered by the unknown parameters.

    No term of the weak-constraint cost couples more, so no Gaussian over the trajectory has a higher bound; see
    :mod:`~posterity.baselines.variational`. Matrices are held dense, for some hundred entries.
    """

    def project(self, matrix: Tensor, control: Control) -> Tensor:
        """Keeps the entries of states that follow each other, and those of the parameters."""
        index = torch.arange(control.size, device=matrix.device)
        time = torch.zeros_like(index)
        for t, block in enumerate(control.blocks()):
            time[block] = t
        parameter = (index >= control.entries) & (index < control.known)
        neighbours = (time.unsqueeze(-1) - time).abs() <= 1
        return torch.where(neighbours | parameter | parameter.unsqueeze(-1), matrix, 0)
