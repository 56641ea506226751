"""Families of Gaussians over the trajectory, which is a Markov chain under the weak constraint."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...problems import Control, Problem, StateControl, Window
from ...problems.minimize import Minimum, levenberg_marquardt, minimize
from .families import Family


class TrajectoryFamily(Family):
    """Gaussians over the states of the window and the unknown parameters, under the weak constraint.

    A Gaussian over the trajectory is none over the initial state and the model errors, unless the model is linear.
    """

    def control(self, problem: Problem, window: Window) -> StateControl:
        """Coordinates of the trajectory; refuses the strong constraint, under which they are not free."""
        return StateControl(problem, window)

    def mode(self, control: Control) -> Minimum:
        """The lower of the minima found in both coordinates: their density is the same, their way to it is not."""
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
        better = other.cost < found.cost
        return found._replace(
            u=torch.where(better[:, None], other.u, found.u),
            cost=torch.where(better, other.cost, found.cost),
            hessian=torch.where(better[:, None, None], other.hessian, found.hessian),
        )


@dataclass(frozen=True)
class TrajectoryMeanField(TrajectoryFamily):
    """Independent entries of the trajectory: a diagonal precision, that knows nothing of the model's dynamics."""

    def project(self, matrix: Tensor, control: Control) -> Tensor:
        """Keeps the diagonal."""
        return torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))


@dataclass(frozen=True)
class BlockTridiagonal(TrajectoryFamily):
    """The precision of a Markov chain: states depend on their neighbours in time, and on the unknown parameters.

    No term of the weak-constraint cost sees more, so no Gaussian over the trajectory has a higher bound. The
    parameters couple to all times: they are an arrow's border of the block-tridiagonal matrix. Matrices are held
    dense, for some hundred entries.
    """

    def project(self, matrix: Tensor, control: Control) -> Tensor:
        """Keeps the entries of states that follow each other, and those of the parameters."""
        index = torch.arange(control.size)
        time = torch.where(index < control.known, 0, 1 + (index - control.known) // control.entries)
        parameter = (index >= control.entries) & (index < control.known)
        neighbours = (time.unsqueeze(-1) - time).abs() <= 1
        return torch.where(neighbours | parameter | parameter.unsqueeze(-1), matrix, 0)
