"""Systems whose local scores are known, in the place of networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, prod, sin
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from posterity.estimators.trajectories.score import TrajectoryScore
from posterity.systems import System


class ExactLocal(nn.Module):
    """The residual of Gaussian crops, as :class:`LocalResidual` estimates it.

    Args:
        local: The network that it replaces.
        moments: Mean and covariance of a crop that begins at some time, of states and numbers, standardised.
    """

    def __init__(self, local: nn.Module, moments: Callable[[float], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.crop, self.separator, self.clock, self.moments = local.crop, local.separator, local.clock, moments
        self.held = local.held

    def forward(self, x: Tensor, v: Tensor, angle: Tensor, start: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        z = self.crop.join(x, v).flatten(1)
        found, number = torch.zeros_like(z), float(angle[0])
        for time in start.unique().tolist():
            for kind in (True, False):
                rows = ((start == time) & (whole == kind)).nonzero()
                seen = self.seen(kind)
                matrix, offset = self.gain(time, number, kind)
                found[rows, seen] = z[rows, seen] @ matrix + offset
        return self.crop.split(found.reshape(-1, *self.crop.layout.shape))

    def seen(self, whole: bool) -> Tensor:
        """The entries that a crop has, or a separator."""
        entries = self.crop.states * prod(self.crop.shape)
        some = (self.crop.states if whole else self.separator) * prod(self.crop.shape)
        return torch.cat((torch.arange(some), torch.arange(entries, entries + self.crop.numbers)))

    @lru_cache(maxsize=512)  # noqa: B019, as short as a test
    def gain(self, time: float, angle: float, whole: bool) -> tuple[Tensor, Tensor]:
        """The residual of noisy entries, an affine function."""
        c, s, seen = cos(angle), sin(angle), self.seen(whole)
        mean, covariance = self.moments(time)
        mean, covariance = mean[seen], covariance[seen][:, seen]
        gain = torch.linalg.solve(c**2 * covariance + s**2 * torch.eye(len(seen)), c * covariance)
        return (gain - c * torch.eye(len(seen))) / s, mean @ (torch.eye(len(seen)) - c * gain) / s


def linear_moments(estimator: TrajectoryScore) -> Callable[[float], tuple[Tensor, Tensor]]:
    """Mean and covariance of crops of a linear system, whose ensemble starts from white noise, standardised."""
    problem, states = estimator.problem, estimator.local.crop.states
    A, n = problem.system.transition(), problem.system.transition().shape[0]
    Q = problem.error_std().flatten().diag() ** 2
    first = torch.eye(n)
    if problem.joint == "background":
        first = first * (1 + problem.background_std[0] ** 2)
    scale, mean = (part.expand(problem.shape).flatten() for part in (estimator.scaler.scale, estimator.scaler.mean))

    def moments(time: float) -> tuple[Tensor, Tensor]:
        P = first
        for _ in range(round(time)):
            P = A @ P @ A.mT + Q
        blocks = torch.zeros(states, n, states, n)
        for i in range(states):
            row = P
            for j in range(i, states):
                blocks[j, :, i], blocks[i, :, j] = row, row.mT
                row = A @ row
            P = A @ P @ A.mT + Q
        unit = scale.repeat(states)
        return -(mean / scale).repeat(states), blocks.reshape(states * n, -1) / unit / unit.unsqueeze(1)

    return moments


@pytest.fixture(scope="session")
def exact() -> Callable[[TrajectoryScore], TrajectoryScore]:
    """Gives an estimator of a linear system the exact local residual, in units of its own."""

    def know(estimator: TrajectoryScore) -> TrajectoryScore:
        estimator.scaler.mean.fill_(0.3)
        estimator.scaler.scale.fill_(2.0)
        if estimator.problem.joint == "background":
            estimator.first.scale.fill_((1 + estimator.problem.background_std[0] ** 2) ** 0.5)
        estimator.local = ExactLocal(estimator.local, linear_moments(estimator))
        return estimator.mark_trained()

    return know


@dataclass(frozen=True, kw_only=True)
class Relaxing(System):
    r"""A number that relaxes towards a mean, :math:`x_{t+1} = 0.9 x_t + 0.1 \theta`; with errors of 0.3, stationary."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    axes: ClassVar[int] = 0

    target: float | Tensor = 0.0
    dt: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    def initial(self, batch: Sequence[int]) -> Tensor:
        return torch.as_tensor(self.target)[..., None] + 0.3 / 0.19**0.5 * torch.randn(*batch, 1)

    def step(self, x: Tensor) -> Tensor:
        return 0.9 * x + 0.1 * torch.as_tensor(self.target)[..., None]
