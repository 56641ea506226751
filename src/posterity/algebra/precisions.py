"""Precision matrices of some structure: products, factors, and steps within the structure."""

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..tensors import identity
from .batched import Batched
from .factors import Factor, PrecisionFactor
from .lanczos import leading_eigenpairs
from .lowrank import LowRankFactor

#: Random vectors from which the diagonal beside the leading directions is estimated.
PROBES = 32


@dataclass(frozen=True)
class Precision(Batched, abc.ABC):
    """Abstract positive definite matrix of each case, with a structure."""

    @abc.abstractmethod
    def multiply(self, x: Tensor) -> Tensor:
        r"""The products :math:`P x`, with shape ``(*batch, case, n)``."""

    @abc.abstractmethod
    def factor(self) -> Factor:
        """The root of the inverse; NaN for a case whose matrix is not positive definite."""

    @abc.abstractmethod
    def shifted(self, shift: Tensor) -> Self:
        r"""The matrices :math:`P + \lambda I`, for :math:`\lambda` of shape ``(case,)``."""

    def assemble(self, like: Tensor) -> Tensor:
        """The matrices themselves, with shape ``(case, n, n)``, for vectors of the shape of another: small ones."""
        eye = identity(like, like.shape[-1])
        return self.multiply(eye.unsqueeze(1).expand(-1, len(like), -1)).movedim(0, -1)


@dataclass(frozen=True)
class Curvature(Precision):
    """Abstract precision that can be changed by averages over draws, within its structure."""

    @abc.abstractmethod
    def diagonal(self) -> Tensor:
        """The diagonal, with shape ``(case, n)``."""

    @abc.abstractmethod
    def stepped(self, residual: Tensor, dual: Tensor) -> Self:
        r"""Adds what the structure keeps of :math:`\frac12 \sum_s (r_s d_s^T + d_s r_s^T)`.

        Args:
            residual: The vectors :math:`r_s`, with shape ``(samples, case, n)``.
            dual: The vectors :math:`d_s`, with the same shape.
        """


@dataclass(frozen=True)
class DensePrecision(Curvature):
    """Dense precision.

    Args:
        matrix: The matrices, with shape ``(case, n, n)``.
    """

    matrix: Tensor

    def multiply(self, x: Tensor) -> Tensor:
        """The products with the matrix."""
        return torch.einsum("cij,...cj->...ci", self.matrix, x)

    def diagonal(self) -> Tensor:
        """The diagonal."""
        return self.matrix.diagonal(dim1=-2, dim2=-1)

    def shifted(self, shift: Tensor) -> "DensePrecision":
        """The matrix with a shifted diagonal."""
        return DensePrecision(self.matrix + torch.diag_embed(shift.unsqueeze(-1).expand(self.matrix.shape[:-1])))

    def factor(self) -> PrecisionFactor:
        """The Cholesky factor."""
        return PrecisionFactor.of(self.matrix)

    def stepped(self, residual: Tensor, dual: Tensor) -> "DensePrecision":
        r"""Adds the matrix :math:`X`, with a term :math:`\frac12 X P^{-1} X` that keeps the sum positive definite."""
        change = torch.einsum("sci,scj->cij", residual, dual)
        change = 0.5 * (change + change.mT)
        half = torch.linalg.solve_triangular(torch.linalg.cholesky_ex(self.matrix).L, change, upper=False)
        return DensePrecision(self.matrix + change + 0.5 * half.mT @ half)


@dataclass(frozen=True)
class LowRankPrecision(Curvature):
    r"""Diagonal precision plus a matrix between a few directions, :math:`P = \mathrm{diag}(d) + V M V^T`.

    Args:
        base: The diagonals :math:`d`, with shape ``(case, n)``, positive.
        vectors: The directions :math:`V`, with shape ``(case, n, rank)``, orthonormal.
        core: The matrices :math:`M`, with shape ``(case, rank, rank)``, positive semidefinite.
    """

    base: Tensor
    vectors: Tensor
    core: Tensor

    @classmethod
    def of(
        cls, product: Callable[[Tensor], Tensor], like: Tensor, rank: int, probes: int = PROBES
    ) -> "LowRankPrecision":
        r"""The leading directions of :math:`I + A`, and an estimate of the diagonal of the rest :math:`A - V M V^T`.

        The estimate is the mean of :math:`z \odot (A - V M V^T) z` over signs :math:`z`: unbiased, and exact where the
        directions leave no rest.

        Args:
            product: The products :math:`A v`; see :func:`leading_eigenpairs`.
            like: A tensor of the shape ``(case, n)``, whose dtype the products are taken in.
            rank: The number of directions.
            probes: The number of random vectors for the diagonal.

        References:
            | An estimator for the diagonal of a matrix (Bekas, Kokiopoulou & Saad, 2007),
              https://doi.org/10.1016/j.apnum.2007.01.003
        """
        pairs = leading_eigenpairs(product, like, rank)
        generator = torch.Generator(like.device).manual_seed(1)
        sign = torch.randint(2, (probes, 1, like.shape[-1]), generator=generator, device=like.device)
        sign = (2.0 * sign - 1).to(like).expand(-1, len(like), -1)
        found = cls(torch.zeros_like(pairs.vectors[..., 0]), pairs.vectors, torch.diag_embed(pairs.values))
        rest = (sign * (product(sign).double() - found.multiply(sign.double()))).mean(dim=0)
        return replace(found, base=1 + rest.clamp(min=0))

    def multiply(self, x: Tensor) -> Tensor:
        """The products with the diagonal and within the directions."""
        inside = torch.einsum("cik,...ci->...ck", self.vectors, x)
        return self.base * x + torch.einsum("cik,ckl,...cl->...ci", self.vectors, self.core, inside)

    def diagonal(self) -> Tensor:
        """The diagonal of the sum."""
        return self.base + ((self.vectors @ self.core) * self.vectors).sum(dim=-1)

    def shifted(self, shift: Tensor) -> "LowRankPrecision":
        """The same with a shifted diagonal."""
        return replace(self, base=self.base + shift.unsqueeze(-1))

    def factor(self) -> LowRankFactor:
        """The factor of low rank."""
        values, vectors = torch.linalg.eigh(self.core.nan_to_num(0.0, 0.0, 0.0))
        directions = self.vectors @ (vectors * values.clamp(min=0).sqrt().unsqueeze(-2))
        broken = ~self.core.isfinite().flatten(1).all(dim=-1, keepdim=True)
        return LowRankFactor.updated(torch.where(broken, torch.nan, self.base), directions)

    def stepped(self, residual: Tensor, dual: Tensor) -> "LowRankPrecision":
        """Adds the part between the directions, and the diagonal of the rest, which keeps its sign."""
        inside, outside = (torch.einsum("cik,sci->sck", self.vectors, each) for each in (residual, dual))
        core = torch.einsum("sck,scl->ckl", inside, outside)
        core = 0.5 * (core + core.mT)
        rest = (residual * dual).sum(dim=0) - ((self.vectors @ core) * self.vectors).sum(dim=-1)
        core = self.core + core - self.vectors.mT @ (rest.unsqueeze(-1) * self.vectors)
        values, vectors = torch.linalg.eigh(core.nan_to_num(0.0, 0.0, 0.0))
        share = rest / self.base
        base = self.base * (1 + share + 0.5 * share.square())
        return LowRankPrecision(base, self.vectors, (vectors * values.clamp(min=0).unsqueeze(-2)) @ vectors.mT)
