"""Priors of unknown parameters, each the image of a standard normal variable."""

import abc
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor


class ParameterPrior(abc.ABC):
    r"""Abstract prior of one parameter :math:`\theta = f(v)`, :math:`v \sim N(0, 1)`, with :math:`f` increasing.

    The control holds :math:`v`, whose prior is standard normal for every parameter.
    """

    @abc.abstractmethod
    def forward(self, v: Tensor) -> Tensor:
        r"""The parameters :math:`\theta = f(v)`, with the shape of ``v``."""

    @abc.abstractmethod
    def inverse(self, theta: Tensor) -> Tensor:
        r"""The whitened parameters :math:`v = f^{-1}(\theta)`, with the shape of ``theta``.

        Finite on the bounds of the prior, where rounding puts draws, and infinite beyond them.
        """


@dataclass(frozen=True)
class Uniform(ParameterPrior):
    r"""Uniform prior, :math:`\theta = l + (h - l)\, \Phi(v)` with :math:`\Phi` the normal distribution function.

    Args:
        low: The lower bound :math:`l`.
        high: The upper bound :math:`h`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Checks that the interval has a positive width."""
        if not self.low < self.high:
            raise ValueError(f"low: must be less than high, not {self.low} and {self.high}")

    def forward(self, v: Tensor) -> Tensor:
        """Maps the line onto the interval."""
        return self.low + (self.high - self.low) * torch.special.ndtr(v)

    def inverse(self, theta: Tensor) -> Tensor:
        """Maps the interval onto the line.

        A number on a bound stands for those that are rounded to it: it is taken as half a rounding error inside. Beyond
        is what lies further out than the rounding of single precision, in which files hold the parameters.
        """
        share = (theta - self.low) / (self.high - self.low)
        largest = max(abs(self.low), abs(self.high)) / (self.high - self.low)
        edge = min(0.5, 0.5 * torch.finfo(theta.dtype).eps * largest)
        v = torch.special.ndtri(share.clamp(edge, 1 - edge))
        slack = torch.finfo(torch.float32).eps * largest
        return torch.where(share < -slack, -torch.inf, torch.where(share > 1 + slack, torch.inf, v))


@dataclass(frozen=True)
class Normal(ParameterPrior):
    r"""Normal prior, :math:`\theta = \mu + \sigma v`.

    Args:
        mean: The mean :math:`\mu`.
        std: The standard deviation :math:`\sigma`.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        """Checks that the standard deviation is positive."""
        if self.std <= 0:
            raise ValueError(f"std: must be positive, not {self.std}")

    def forward(self, v: Tensor) -> Tensor:
        """Scales and shifts."""
        return self.mean + self.std * v

    def inverse(self, theta: Tensor) -> Tensor:
        """Standardises."""
        return (theta - self.mean) / self.std


@dataclass(frozen=True)
class LogNormal(ParameterPrior):
    r"""Log-normal prior of a positive parameter, :math:`\theta = m\, e^{s v}`.

    Args:
        median: The median :math:`m`.
        sigma: The standard deviation :math:`s` of the logarithm.
    """

    median: float
    sigma: float

    def __post_init__(self) -> None:
        """Checks that median and standard deviation are positive."""
        if self.median <= 0 or self.sigma <= 0:
            raise ValueError(f"median, sigma: must both be positive, not {self.median} and {self.sigma}")

    def forward(self, v: Tensor) -> Tensor:
        """Scales, then exponentiates."""
        return torch.exp(log(self.median) + self.sigma * v)

    def inverse(self, theta: Tensor) -> Tensor:
        """Takes the logarithm, then standardises; zero, to which small numbers are rounded, is the least of them."""
        v = (theta.clamp(min=torch.finfo(theta.dtype).tiny).log() - log(self.median)) / self.sigma
        return torch.where(theta < 0, -torch.inf, v)
