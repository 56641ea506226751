"""Gaussian chains, whose scores are known: how compositions err when nothing is left to learn."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import acos, atan2, cos, sin, sqrt, tan

import torch
from torch import Tensor

from ..diffusion import Denoiser, Mean
from ..diffusion.compositions import Trajectory
from ..diffusion.samplers import step
from ..tensors import identity

#: Mean and covariance of a Gaussian.
Moments = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class GaussianChain(abc.ABC):
    r"""Abstract Gaussian chain of states with one entry that is observed, and its exact local denoiser.

    Windows of covariance :math:`S` have the mean
    :math:`\cos\varphi\, S (\cos^2\varphi\, S + \sin^2\varphi\, I)^{-1} \bar x`.

    Args:
        persistence: The coefficient :math:`a` of the chain.
        noise: The standard deviation :math:`q` of what each step adds.
    """

    persistence: float = 0.9
    noise: float = 0.3

    @abc.abstractmethod
    def trajectory(self, states: int) -> Trajectory:
        """The places of states and parameters."""

    @abc.abstractmethod
    def covariance(self, like: Tensor, states: int) -> Tensor:
        """The covariance of consecutive states and the parameters, in the order of a trajectory's vector."""

    def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
        """The mean of windows; see :class:`posterity.diffusion.compositions.LocalDenoiser`."""
        return x @ gain(self, x.shape[-1], angle, x.dtype, x.device)

    def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
        """The product with the derivative, which is symmetric and the same everywhere."""
        return self.mean(w, angle, start)

    def given(self, y: Tensor, variance: float) -> Moments:
        """The exact mean and covariance of states and parameters, given observations of all states."""
        prior = self.covariance(y, len(y))
        seen = self.seen(y)
        found = torch.linalg.solve(seen @ prior @ seen.mT + variance * identity(y, len(y)), seen @ prior).mT
        return found @ y, prior - found @ seen @ prior

    def seen(self, y: Tensor) -> Tensor:
        """The matrix that picks what is observed of the states from a vector, with shape ``(states, entries)``."""
        whole = self.trajectory(len(y))
        return identity(y, whole.entries)[: len(y) * whole.size : whole.size]

    def autocovariance(self, like: Tensor, states: int) -> Tensor:
        r"""The covariance :math:`a^{|i - j|} q^2 / (1 - a^2)` of states around their mean."""
        place = torch.arange(states, device=like.device).to(like)
        lag = (place.unsqueeze(1) - place).abs()
        return self.noise**2 / (1 - self.persistence**2) * self.persistence**lag


@dataclass(frozen=True)
class KnownMean(GaussianChain):
    r"""A stationary chain :math:`x_{i + 1} = a x_i + q w_i`, in units of its standard deviation."""

    def trajectory(self, states: int) -> Trajectory:
        """States of one entry."""
        return Trajectory(states, 1)

    def covariance(self, like: Tensor, states: int) -> Tensor:
        r"""The correlations :math:`a^{|i - j|}`."""
        found = self.autocovariance(like, states)
        return found / found[0, 0]


@dataclass(frozen=True)
class UnknownMean(GaussianChain):
    r"""A stationary chain around an unknown mean,

    .. math:: x_{i + 1} = a x_i + (1 - a)\, \theta + q w_i, \qquad \theta \sim N(0, 1), \quad w_i \sim N(0, 1) ,

    states and :math:`\theta` in units of their standard deviations.

    Args:
        persistence: The coefficient :math:`a`.
        noise: The standard deviation :math:`q`.
        per_frame: Whether :math:`\theta` is a second entry of every state, and not a parameter that all share.
    """

    per_frame: bool = False

    def trajectory(self, states: int) -> Trajectory:
        """States of one entry and a parameter, or of two."""
        return Trajectory(states, 2) if self.per_frame else Trajectory(states, 1, 1)

    def covariance(self, like: Tensor, states: int) -> Tensor:
        """The covariance of states and mean, which stands behind them or with each."""
        around = self.autocovariance(like, states)
        scale = (1 + around[0, 0]).sqrt()
        entries = identity(like, states + 1)
        entries[:states, :states] = (1 + around) / scale**2
        entries[:states, states] = entries[states, :states] = 1 / scale
        if self.per_frame:
            places = [place for i in range(states) for place in (i, states)]
            return entries[places][:, places]
        return entries

    def weights(self, y: Tensor) -> Tensor:
        """What the estimate of the mean is of a vector: the last entry, or the average of those of all states."""
        whole = self.trajectory(len(y))
        found = y.new_zeros(whole.entries)
        found[slice(1, None, 2) if self.per_frame else slice(len(y), None)] = 1 / len(y) if self.per_frame else 1
        return found


@lru_cache(maxsize=8)
def gain(chain: GaussianChain, entries: int, angle: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    r"""The matrix :math:`\cos\varphi\, S (\cos^2\varphi\, S + \sin^2\varphi\, I)^{-1}` of windows so long."""
    whole, like = chain.trajectory(1), torch.empty(0, dtype=dtype, device=device)
    covariance = chain.covariance(like, (entries - whole.parameters) // whole.size)
    noisy = cos(angle) ** 2 * covariance + sin(angle) ** 2 * identity(like, entries)
    return torch.linalg.solve(noisy, cos(angle) * covariance)


def matched(denoiser: Denoiser, seen: Tensor, y: Tensor, variance: float) -> Mean:
    r"""Moment matching by matrices, of a denoiser that is linear and observations :math:`y = A z + \varepsilon`,

    .. math:: D(\bar x | y) = \hat x + J^T A^T \left(\frac{r}{v} I + A \frac{J + J^T}{2} A^T\right)^{-1}
        (y - A \hat x), \qquad \hat x = J \bar x, \quad v = \sin\varphi \tan\varphi .

    Args:
        denoiser: The denoiser.
        seen: The matrix :math:`A`.
        y: The observations.
        variance: Their variance :math:`r`.
    """

    def mean(x: Tensor, angle: float) -> Tensor:
        unit, scale = identity(x, x.shape[-1]), sin(angle) * tan(angle)
        jacobian = denoiser.pullback(unit, angle, unit)
        innovation = variance / scale * identity(y, len(y)) + seen @ (jacobian + jacobian.mT) @ seen.mT / 2
        found = x @ jacobian.mT
        return found + torch.linalg.solve(innovation, y.unsqueeze(1) - seen @ found.mT).mT @ seen @ jacobian

    return mean


def draw_moments(
    mean: Mean, like: Tensor, angles: Sequence[float], corrections: int, delta: Callable[[float], float]
) -> Moments:
    r"""Mean and covariance of draws, by propagating them: each step of a sampler is affine where the mean is.

    Deterministic steps and, at each angle that is reached, Langevin corrections as those of
    :class:`posterity.diffusion.PredictorCorrector`.

    Args:
        mean: The mean of the data given noisy ones, an affine function of these.
        like: A vector of as many entries, for dtype and device.
        angles: The angles, from noise to data.
        corrections: The number of corrections at each angle.
        delta: Their size :math:`\delta`, a function of :math:`E[\mathrm{mean}(\hat\varepsilon^2)]`. It is
            :math:`\tau` divided by this in score-based data assimilation.
    """
    unit = identity(like, len(like))
    rows = torch.cat((torch.zeros_like(unit[:1]), unit))

    def affine(found: Tensor) -> tuple[Tensor, Tensor]:
        return (found[1:] - found[0]).mT, found[0]

    center, covariance = rows[0], unit
    given = mean(rows, angles[0])
    for t, s in pairwise(angles):
        matrix, offset = affine(step(lambda *_, given=given: given, rows, t, s, 0.0))
        center, covariance = matrix @ center + offset, matrix @ covariance @ matrix.mT
        given = mean(rows, s)
        matrix, offset = affine((rows - cos(s) * given) / sin(s))
        for _ in range(corrections):
            expected = matrix @ center + offset
            square = torch.trace(matrix @ covariance @ matrix.mT) + expected @ expected
            size = delta(float(square) / len(like))
            kept = unit - size * sin(s) * matrix
            center = center - size * sin(s) * expected
            covariance = kept @ covariance @ kept.mT + 2 * size * sin(s) ** 2 * unit
    return center, covariance


def cosine_angles(steps: int, least: float = 1e-3) -> list[float]:
    r"""The angles of the cosine schedule of score-based data assimilation, one more than there are steps,

    .. math:: \alpha_t = \cos^2(t \arccos\sqrt\eta), \quad \sigma_t^2 = 1 - \alpha_t^2 + \eta^2, \quad
        \tan\varphi_t = \sigma_t / \alpha_t, \qquad t = 1, \dots, 0 .

    Args:
        steps: The number of steps.
        least: The least noise :math:`\eta`.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """
    scales = [cos((1 - step / steps) * acos(sqrt(least))) ** 2 for step in range(steps + 1)]
    return [atan2(sqrt(1 - scale**2 + least**2), scale) for scale in scales]
