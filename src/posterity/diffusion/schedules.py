"""Noise schedules: how much noise is added to data, level by level."""

import abc
from dataclasses import dataclass
from math import acos

import torch
from torch import Tensor


class Schedule(abc.ABC):
    r"""Adds noise to data in a time from 0, which is nearly the data, to 1, which is nearly noise,

    .. math:: x_t = \alpha(t) z + \sigma(t) \varepsilon, \qquad \varepsilon \sim N(0, I) .

    Times are tensors of any shape. Data of unit variance, and noise, sit on a circle whatever the schedule:
    :math:`\bar x_t = x_t / \sqrt{\alpha^2 + \sigma^2} = \cos\varphi\, z + \sin\varphi\, \varepsilon`.
    """

    @abc.abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\alpha(t)` of the data."""

    @abc.abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\sigma(t)` of the noise, positive."""

    def scale(self, t: Tensor) -> Tensor:
        r"""The standard deviation :math:`\sqrt{\alpha^2 + \sigma^2}` of noisy data of unit variance."""
        return torch.hypot(self.alpha(t), self.sigma(t))

    def angle(self, t: Tensor) -> Tensor:
        r"""The angle :math:`\varphi = \arctan(\sigma / \alpha)` between data and noisy data."""
        return torch.atan2(self.sigma(t), self.alpha(t))

    def times(self, steps: int) -> Tensor:
        """The times of a sampler: from noise at 1 to data at 0, with shape ``(steps + 1,)``."""
        return torch.linspace(1, 0, steps + 1)


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""The schedule of score-based data assimilation, which preserves the variance up to :math:`\eta^2`,

    .. math:: \alpha = \cos^2(\arccos(\sqrt\eta)\, t), \qquad \sigma^2 = 1 - \alpha^2 + \eta^2 .

    Args:
        eta: The scale of the noise at time 0, and of the data at time 1.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    eta: float = 1e-3

    def __post_init__(self) -> None:
        """Refuses what is no small scale."""
        check_between("eta", self.eta, 0, 1)

    def alpha(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\alpha(t)` of the data."""
        return torch.cos(acos(self.eta**0.5) * t).square()

    def sigma(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\sigma(t)` of the noise."""
        return (1 - self.alpha(t).square() + self.eta**2).sqrt()


@dataclass(frozen=True)
class LinearBeta(Schedule):
    r"""The variance-preserving diffusion whose rate is linear in time,

    .. math:: \log \alpha = -\tfrac12 \left(\beta_0 t + \tfrac12 (\beta_1 - \beta_0) t^2\right), \qquad
        \sigma^2 = 1 - \alpha^2 + \eta^2 .

    Args:
        first: The rate :math:`\beta_0` at time 0.
        last: The rate :math:`\beta_1` at time 1.
        eta: The scale of the noise at time 0.

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021),
          https://arxiv.org/abs/2011.13456
    """

    first: float = 0.1
    last: float = 20.0
    eta: float = 1e-3

    def __post_init__(self) -> None:
        """Refuses rates that are none."""
        check_between("eta", self.eta, 0, 1)
        check_between("first", self.first, 0, self.last)

    def alpha(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\alpha(t)` of the data."""
        return torch.exp(-0.5 * (self.first * t + 0.5 * (self.last - self.first) * t.square()))

    def sigma(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\sigma(t)` of the noise."""
        return (1 - self.alpha(t).square() + self.eta**2).sqrt()


@dataclass(frozen=True)
class VarianceExploding(Schedule):
    r"""Noise alone grows, with levels that are evenly spaced in its :math:`\rho`-th root,

    .. math:: \alpha = 1, \qquad
        \sigma = \left((1 - t)\, \sigma_0^{1/\rho} + t\, \sigma_1^{1/\rho}\right)^\rho .

    Args:
        first: The noise :math:`\sigma_0` at time 0.
        last: The noise :math:`\sigma_1` at time 1.
        rho: The exponent; the larger, the more of the levels are small.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          https://arxiv.org/abs/2206.00364
    """

    first: float = 2e-3
    last: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        """Refuses levels that do not grow."""
        check_between("first", self.first, 0, self.last)
        if self.rho <= 0:
            raise ValueError(f"rho: must be positive, not {self.rho:g}")

    def alpha(self, t: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\sigma(t)` of the noise."""
        low, high = self.first ** (1 / self.rho), self.last ** (1 / self.rho)
        return ((1 - t) * low + t * high) ** self.rho


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuses an option that does not lie strictly between two others."""
    if not low < value < high:
        raise ValueError(f"{name}: must lie between {low:g} and {high:g}, not {value:g}")
