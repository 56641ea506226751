"""Observation noise: the distribution of observations around what the operator makes of a state."""

import abc
from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor


class Noise(abc.ABC):
    r"""Abstract observation noise :math:`p(y | h)`, independent from entry to entry, of known standard deviations.

    Methods that take whitened residuals (the control and its cost, Kalman filters) assume that it is Gaussian, and
    raise where it is not.
    """

    @abc.abstractmethod
    def sample(self, h: Tensor, std: Tensor) -> Tensor:
        """Draws observations.

        Args:
            h: The observed states without noise, with shape ``(*)``.
            std: The standard deviations of the noise, with the same shape.

        Returns:
            The observations, with the same shape.
        """

    @abc.abstractmethod
    def log_prob(self, y: Tensor, h: Tensor, std: Tensor) -> Tensor:
        """The log-density of each entry of the observations; all three arguments broadcast against each other.

        Args:
            y: The observations.
            h: The observed states without noise.
            std: The standard deviations of the noise.

        Returns:
            The log-densities, entry by entry.
        """

    @abc.abstractmethod
    def cdf(self, y: Tensor, h: Tensor, std: Tensor) -> Tensor:
        """The cumulative distribution of each entry of the observations; arguments as of :meth:`log_prob`."""


@dataclass(frozen=True)
class GaussianNoise(Noise):
    r"""Additive Gaussian noise, :math:`y = h + \sigma \varepsilon` with :math:`\varepsilon \sim N(0, 1)`."""

    def sample(self, h: Tensor, std: Tensor) -> Tensor:
        """Adds white noise times the standard deviations."""
        return h + std * torch.randn_like(h)

    def log_prob(self, y: Tensor, h: Tensor, std: Tensor) -> Tensor:
        r"""The log-densities :math:`\log N(y; h, \sigma^2)`."""
        z = (y - h) / std
        return -0.5 * z.square() - std.log() - 0.5 * log(2 * pi)

    def cdf(self, y: Tensor, h: Tensor, std: Tensor) -> Tensor:
        r"""The probabilities :math:`\Phi((y - h) / \sigma)`."""
        return torch.special.ndtr((y - h) / std)


def check_gaussian_noise(noise: Noise, method: str) -> None:
    """Raises if a method that takes whitened residuals meets noise that is not Gaussian."""
    if not isinstance(noise, GaussianNoise):
        raise ValueError(
            f"observation.noise: {method} needs Gaussian noise, not {type(noise).__name__}; choose another method"
        )
