"""Densities as images of white noise, and Gaussians with any factor of their covariance."""

import abc
from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor

from .factors import Factor


class Density(abc.ABC):
    r"""Abstract density over the control for each case, as the image of white noise, :math:`u = T(\varepsilon)`."""

    @abc.abstractmethod
    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        r"""Draws from white noise.

        Args:
            noise: White noise, with shape ``(samples, case, n)``.

        Returns:
            The draws :math:`T(\varepsilon)`, with the shape of the noise, and :math:`\log |\det \partial T|`, which
            broadcasts against ``(samples, case)``; both in double precision.
        """


@dataclass(frozen=True)
class Gaussian(Density):
    r"""Gaussian density :math:`N(\mu, P)` for each case, :math:`u = \mu + S \varepsilon` with :math:`P = S S^T`.

    In double precision: posteriors of chaotic systems are conditioned as badly as single precision can hold.

    Args:
        mean: The means :math:`\mu`, with shape ``(case, n)``.
        factor: The roots :math:`S`.
    """

    mean: Tensor
    factor: Factor

    def transport(self, noise: Tensor) -> Tensor:
        r"""The deviations :math:`S \varepsilon` of white noise, with shape ``(samples, case, n)``."""
        return self.factor.forward(noise)

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        r"""Draws :math:`\mu + S \varepsilon`, with :math:`\log\det S`."""
        return self.mean + self.transport(noise), self.factor.log_det()

    def log_prob(self, u: Tensor) -> Tensor:
        """The log-density of points, with shape ``(*batch, case, n)``; the result has shape ``(*batch, case)``."""
        noise = self.factor.inverse(u - self.mean)
        return -0.5 * (noise.square().sum(dim=-1) + u.shape[-1] * log(2 * pi)) - self.factor.log_det()

    def entropy(self) -> Tensor:
        r"""The entropy :math:`\frac n2 \log 2 \pi e + \log\det S`, with shape ``(case,)``."""
        return white_entropy(self.mean.shape[-1]) + self.factor.log_det()

    def select(self, cases: Tensor | slice) -> "Gaussian":
        """The Gaussians of some of the cases."""
        return Gaussian(self.mean[cases], self.factor.select(cases))

    def where(self, better: Tensor, other: "Gaussian") -> "Gaussian":
        """This Gaussian where ``better``, with shape ``(case,)``, the other elsewhere."""
        mean = torch.where(better[:, None], self.mean, other.mean)
        return Gaussian(mean, self.factor.where(better, other.factor))

    def sound(self) -> Tensor:
        """Whether all numbers of a case are finite, with shape ``(case,)``."""
        return self.mean.isfinite().all(dim=-1) & self.factor.sound()


def white_entropy(n: int) -> float:
    r"""The entropy :math:`\frac n2 \log 2 \pi e` of white noise with ``n`` entries."""
    return 0.5 * n * (1 + log(2 * pi))
