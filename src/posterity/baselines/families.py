"""Gaussian families of variational posteriors, told apart by the precision matrices they allow."""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor


class Family(abc.ABC):
    r"""Gaussians :math:`q(u) = N(\mu, \Lambda^{-1})` whose precision has a structure."""

    @abc.abstractmethod
    def project(self, matrix: Tensor) -> Tensor:
        """Keeps the entries of symmetric matrices, with shape ``(case, n, n)``, that a precision may have."""


@dataclass(frozen=True)
class MeanField(Family):
    """Independent coordinates: a diagonal precision."""

    def project(self, matrix: Tensor) -> Tensor:
        """Keeps the diagonal."""
        return torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))


@dataclass(frozen=True)
class Full(Family):
    """Any precision."""

    def project(self, matrix: Tensor) -> Tensor:
        """Keeps everything."""
        return matrix


@dataclass(frozen=True)
class Gaussian:
    r"""A Gaussian :math:`N(\mu, \Lambda^{-1})` for each case, in double precision.

    Posteriors of chaotic systems are conditioned as badly as single precision can hold; the matrices are small
    beside the trajectories, so their precision costs little.

    Args:
        mean: The means :math:`\mu`, with shape ``(case, n)``.
        factor: The lower Cholesky factors :math:`C` of the precisions :math:`\Lambda = C C^T`, ``(case, n, n)``.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def from_precision(cls, mean: Tensor, precision: Tensor) -> "Gaussian":
        """Factorises precisions, with shape ``(case, n, n)``."""
        factor, _ = torch.linalg.cholesky_ex(precision.double())
        return cls(mean.double(), factor)

    def transport(self, noise: Tensor) -> Tensor:
        r"""The deviations :math:`C^{-T} \varepsilon` of white noise, with shape ``(samples, case, n)``."""
        columns = noise.double().movedim(0, -1)
        return torch.linalg.solve_triangular(self.factor.mT, columns, upper=True).movedim(-1, 0)

    def entropy(self) -> Tensor:
        r"""The entropy :math:`\frac n2 \log 2 \pi e - \log\det C`, with shape ``(case,)``."""
        n = self.mean.shape[-1]
        constant = 0.5 * n * (1 + torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64)))
        return constant - self.factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)

    def where(self, better: Tensor, other: "Gaussian") -> "Gaussian":
        """This Gaussian where ``better``, with shape ``(case,)``, the other elsewhere."""
        return Gaussian(
            torch.where(better[:, None], self.mean, other.mean),
            torch.where(better[:, None, None], self.factor, other.factor),
        )
