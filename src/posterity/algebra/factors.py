"""Roots of covariance matrices: how white noise becomes deviations, without the matrix itself."""

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tensors import identity
from .batched import Batched


@dataclass(frozen=True)
class Factor(Batched, abc.ABC):
    r"""Abstract root :math:`S` of the covariance :math:`P = S S^T` of each case.

    Subclasses work on columns, with shape ``(case, n, columns)``; vectors that they are given have shape
    ``(*batch, case, n)``, and are computed in the dtype of the factor.
    """

    def forward(self, w: Tensor) -> Tensor:
        r"""The deviations :math:`S w` of white noise, with shape ``(*batch, case, n)``."""
        return self._over(self._forward, w)

    def transpose(self, g: Tensor) -> Tensor:
        r"""The products :math:`S^T g`, which take gradients to the coordinates of the noise; ``(*batch, case, n)``."""
        return self._over(self._transpose, g)

    def inverse(self, x: Tensor) -> Tensor:
        r"""The white noise :math:`S^{-1} x` of deviations, with shape ``(*batch, case, n)``."""
        return self._over(self._inverse, x)

    def dual(self, w: Tensor) -> Tensor:
        r"""The products :math:`S^{-T} w`, which take gradients back from the coordinates of the noise."""
        return self._over(self._dual, w)

    def covariance(self, g: Tensor) -> Tensor:
        r"""The products :math:`P g = S S^T g`, with shape ``(*batch, case, n)``."""
        return self.forward(self.transpose(g))

    @abc.abstractmethod
    def log_det(self) -> Tensor:
        r"""The log-determinant :math:`\log |\det S|`, with shape ``(case,)``."""

    @abc.abstractmethod
    def variance(self) -> Tensor:
        """The diagonal of the covariance, with shape ``(case, n)``."""

    @abc.abstractmethod
    def _forward(self, w: Tensor) -> Tensor:
        """The products of the root with columns, with shape ``(case, n, columns)``."""

    @abc.abstractmethod
    def _transpose(self, g: Tensor) -> Tensor:
        """The products of the transposed root with columns."""

    @abc.abstractmethod
    def _inverse(self, x: Tensor) -> Tensor:
        """The products of the inverse root with columns."""

    @abc.abstractmethod
    def _dual(self, w: Tensor) -> Tensor:
        """The products of the transposed inverse root with columns."""

    def _over(self, product: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Applies a product with columns to vectors."""
        columns = x.to(self.tensors()[0]).reshape(-1, *x.shape[-2:]).movedim(0, -1)
        return product(columns).movedim(-1, 0).reshape(x.shape)


@dataclass(frozen=True)
class CovarianceFactor(Factor):
    r"""Dense factor of a covariance, :math:`S = L` with :math:`P = L L^T`.

    Args:
        lower: The lower Cholesky factors :math:`L`, with shape ``(case, n, n)``.
    """

    lower: Tensor

    def log_det(self) -> Tensor:
        r"""The log-determinant :math:`\log \det L`."""
        return self.lower.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)

    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        return self.lower.square().sum(dim=-1)

    def _forward(self, w: Tensor) -> Tensor:
        return self.lower @ w

    def _transpose(self, g: Tensor) -> Tensor:
        return self.lower.mT @ g

    def _inverse(self, x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.lower, x, upper=False)

    def _dual(self, w: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.lower.mT, w, upper=True)


@dataclass(frozen=True)
class PrecisionFactor(Factor):
    r"""Dense factor of a precision, :math:`S = C^{-T}` with :math:`P^{-1} = C C^T`.

    Args:
        lower: The lower Cholesky factors :math:`C` of the precisions, with shape ``(case, n, n)``.
    """

    lower: Tensor

    @classmethod
    def of(cls, precision: Tensor) -> "PrecisionFactor":
        """Factorises precisions, with shape ``(case, n, n)``; the factors of indefinite ones are NaN."""
        lower, broken = torch.linalg.cholesky_ex(precision)
        return cls(torch.where((broken == 0)[:, None, None], lower, torch.nan))

    def log_det(self) -> Tensor:
        r"""The log-determinant :math:`-\log \det C`."""
        return -self.lower.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)

    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        eye = identity(self.lower, self.lower.shape[-1]).expand_as(self.lower)
        return self._transpose(eye).square().sum(dim=-2)

    def _forward(self, w: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.lower.mT, w, upper=True)

    def _transpose(self, g: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.lower, g, upper=False)

    def _inverse(self, x: Tensor) -> Tensor:
        return self.lower.mT @ x

    def _dual(self, w: Tensor) -> Tensor:
        return self.lower @ w
