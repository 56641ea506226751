"""The climatology: the distribution of a system before anything is observed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...problems import Ensemble, Posterior, Problem, Window


@dataclass(frozen=True)
class Climatology(Posterior):
    r"""Climatology: draws of the joint itself, which use neither observations nor backgrounds.

    A method that scores worse has learned nothing.

    Targets :math:`p(x_{0:T+F}, \theta)`, the same for all cases that start at the same time.

    Args:
        problem: The problem.
    """

    problem: Problem

    @torch.no_grad()
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws trajectories of the assumed system, anew for each case."""
        start = window.start.expand(samples, -1)
        twin = replace(self.problem, truth=None).sample(start.shape, start)
        return Ensemble(twin.x, twin.theta, range(self.problem.steps))


def moments(problem: Problem, draws: int) -> tuple[Tensor, Tensor]:
    r"""The climatological mean and covariance of states and whitened unknown parameters.

    Args:
        problem: The problem.
        draws: The number of draws that they are estimated from.

    Returns:
        The mean, with shape ``(size,)``, and a root :math:`S` of the covariance :math:`S^T S`, with shape
        ``(min(draws, size), size)``.
    """
    v = torch.randn(draws, len(problem.parameters))
    x = problem.system_at(problem.decode_parameters(v)).initial((draws,))
    z = torch.cat((x.flatten(1), v), dim=-1)
    mean = z.mean(dim=0)
    return mean, torch.linalg.qr((z - mean) / (draws - 1) ** 0.5, mode="r").R
