"""Noise schedules; see :mod:`posterity.diffusion`."""

import abc
from dataclasses import dataclass
from math import acos

import torch
from torch import Tensor


class Schedule(abc.ABC):
    r"""Abstract noise schedule, :math:`x_t = \alpha(t) z + \sigma(t) \varepsilon`, from data at 0 to noise at 1.

    Times are tensors of any shape.
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
        r"""The angle :math:`\varphi = \arctan(\sigma / \alpha)` on the circle of data and noise."""
        return torch.atan2(self.sigma(t), self.alpha(t))

    def times(self, steps: int) -> Tensor:
        """The times that a sampler visits, from noise at 1 to data at 0, with shape ``(steps + 1,)``."""
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
        """Checks the scale."""
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
        """Checks the rates and the scale."""
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
    r"""The variance-exploding schedule, with levels that are evenly spaced in the :math:`\rho`-th root of the noise,

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
        """Checks the levels and the exponent."""
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
    """Raises if an option does not lie strictly between two others."""
    if not low < value < high:
        raise ValueError(f"{name}: must lie between {low:g} and {high:g}, not {value:g}")
