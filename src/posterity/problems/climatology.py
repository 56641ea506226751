"""Moments of the climatology of a problem."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..tensors import own_random_numbers, white_noise
from .problem import Problem


class Moments(NamedTuple):
    """Climatological mean and covariance of states and whitened unknown parameters, for each case.

    Args:
        mean: The means, with shape ``(case, size)``.
        root: Roots :math:`S` of the covariances :math:`S^T S`, with shape ``(case, rank, size)``.
    """

    mean: Tensor
    root: Tensor

    @property
    def std(self) -> Tensor:
        """The standard deviations, with shape ``(case, size)``."""
        return self.root.square().sum(dim=-2).sqrt()

    def at(self, index: Tensor) -> "Moments":
        """Those of some cases, with shape ``(some,)``; one for all, the rule, takes the memory of one root."""
        if len(self.mean) == 1:
            return Moments(*(part.expand(len(index), *part.shape[1:]) for part in self))
        return Moments(self.mean[index], self.root[index])


class StartingMoments:
    """Climatological moments at the times at which windows start: for all cases the same, however they are cut.

    They are estimated when they are first asked for, which a method does before it draws anything of the cases.

    Args:
        problem: The problem.
        start: The times at which the windows of all cases start, in steps, with shape ``(case,)``.
    """

    def __init__(self, problem: Problem, start: Tensor) -> None:
        self.problem = problem
        self.times = start.unique()
        self._known: dict[tuple[int, float], Moments] = {}

    def at(self, start: Tensor, draws: int, scale: float = 1.0) -> Moments:
        """The moments of some of the cases.

        Args:
            start: The times at which their windows start, with shape ``(some,)``.
            draws: The number of draws that moments are estimated from.
            scale: The factor of the covariance.
        """
        key = (draws, scale)
        if key not in self._known:
            mean, root = climatological_moments(self.problem, self.times, draws)
            self._known[key] = Moments(mean, scale**0.5 * root)
        return self._known[key].at(torch.searchsorted(self.times, start))


def climatological_moments(problem: Problem, start: Tensor, draws: int) -> Moments:
    r"""The climatological mean and covariance of states and whitened unknown parameters, at the start of each window.

    One ensemble is advanced from the start of the first window to that of the last. Draws that diverge do not count.

    Args:
        problem: The problem.
        start: The times at which windows start, in steps, with shape ``(case,)``; moments have its dtype and device.
        draws: The number of draws that they are estimated from.

    Returns:
        The moments; roots have ``min(draws, size)`` rows.
    """
    starts, which = start.unique(return_inverse=True)
    means, roots, now = [], [], 0
    with own_random_numbers():
        v = white_noise(start, draws, len(problem.parameters))
        system = problem.system_at(problem.decode_parameters(v))
        x = problem.initial(system, (draws,), start)
    for begin in map(int, starts.tolist()):
        x, now = system.at(now).advance(x, begin - now), begin
        z = torch.cat((x.flatten(1), v), dim=-1)
        good = z.isfinite().all(dim=-1, keepdim=True)
        number = good.sum(dtype=z.dtype)
        mean = torch.where(good, z, 0).sum(dim=0) / number
        anomalies = torch.where(good, z - mean, 0) / (number - 1).clamp(min=1).sqrt()
        means.append(mean)
        roots.append(torch.linalg.qr(anomalies, mode="r").R)
    return Moments(torch.stack(means), torch.stack(roots)).at(which)
