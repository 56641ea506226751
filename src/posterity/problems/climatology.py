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
        x, now = system.advance(x, begin - now), begin
        z = torch.cat((x.flatten(1), v), dim=-1)
        good = z.isfinite().all(dim=-1, keepdim=True)
        number = good.sum(dtype=z.dtype)
        mean = torch.where(good, z, 0).sum(dim=0) / number
        anomalies = torch.where(good, z - mean, 0) / (number - 1).clamp(min=1).sqrt()
        means.append(mean)
        roots.append(torch.linalg.qr(anomalies, mode="r").R)
    # One start for all cases, the rule, takes the memory of one root.
    shared = len(starts) == 1
    mean, root = (torch.stack(part) for part in (means, roots))
    return Moments(*(part.expand(len(start), *part.shape[1:]) if shared else part[which] for part in (mean, root)))
