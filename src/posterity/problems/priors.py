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

        A number on a bound stands for those that are rounded to it, and is taken inside; beyond, it is infinite.
        """
        share, outside = _share(theta, self.low, self.high)
        return outside + torch.special.ndtri(share)


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


@dataclass(frozen=True)
class LogitNormal(ParameterPrior):
    r"""Logit-normal prior of a parameter between two bounds, :math:`\theta = l + (h - l) / (1 + e^{-(\mu + s v)})`.

    Args:
        low: The lower bound :math:`l`.
        high: The upper bound :math:`h`.
        mean: The mean :math:`\mu` of the logit :math:`\log \frac{\theta - l}{h - \theta}`.
        sigma: The standard deviation :math:`s` of the logit.
    """

    low: float
    high: float
    mean: float = 0.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        """Checks that the interval has a positive width, and the logit a spread."""
        if not self.low < self.high:
            raise ValueError(f"low: must be less than high, not {self.low} and {self.high}")
        if self.sigma <= 0:
            raise ValueError(f"sigma: must be positive, not {self.sigma}")

    def forward(self, v: Tensor) -> Tensor:
        """Maps the line onto the interval."""
        return self.low + (self.high - self.low) * torch.sigmoid(self.mean + self.sigma * v)

    def inverse(self, theta: Tensor) -> Tensor:
        """Maps the interval onto the line; bounds, and beyond them, as :class:`Uniform` has it."""
        share, outside = _share(theta, self.low, self.high)
        return outside + (torch.logit(share) - self.mean) / self.sigma


def _share(theta: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """The share of an interval below some numbers, inside of (0, 1), and zero or, outside, an infinity of that side.

    A number on a bound stands for those that are rounded to it: it is taken as half a rounding error inside. Beyond
    is what lies further out than the rounding of single precision, in which files hold the parameters.
    """
    share = (theta - low) / (high - low)
    largest = max(abs(low), abs(high)) / (high - low)
    edge = min(0.5, 0.5 * torch.finfo(theta.dtype).eps * largest)
    slack = torch.finfo(torch.float32).eps * largest
    outside = torch.zeros_like(share).masked_fill(share < -slack, -torch.inf).masked_fill(share > 1 + slack, torch.inf)
    return share.clamp(edge, 1 - edge), outside
