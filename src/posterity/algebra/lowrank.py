"""Factors that are a diagonal but for a few directions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .factors import Factor
from .lanczos import Eigenpairs


@dataclass(frozen=True)
class LowRankFactor(Factor):
    r"""Low-rank factor :math:`S = D (I + V (\Lambda^{-1/2} - I) V^T)`, of the precision

    .. math:: P^{-1} = D^{-1} \big( I + V (\Lambda - I) V^T \big) D^{-1}

    with a diagonal :math:`D` and orthonormal directions :math:`V`. The root of what stands in parentheses is the
    symmetric one. All operations take :math:`O(n r)` for :math:`r` directions.

    Args:
        scale: The diagonals :math:`D`, with shape ``(case, n)``.
        values: The eigenvalues :math:`\Lambda`, with shape ``(case, rank)``; positive, and above 1 where a direction is
            known better than others.
        vectors: The directions :math:`V`, with shape ``(case, n, rank)``, orthonormal; those whose value is 1 do not
            count, and may be anything finite.
    """

    scale: Tensor
    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, pairs: Eigenpairs) -> "LowRankFactor":
        """The factor of the precision :math:`I + A`, from leading eigenpairs of a positive semidefinite :math:`A`."""
        return cls(torch.ones_like(pairs.vectors[..., 0]), 1 + pairs.values.clamp(min=0), pairs.vectors)

    @classmethod
    def diagonal(cls, variance: Tensor) -> "LowRankFactor":
        """The factor of a diagonal covariance, with shape ``(case, n)``."""
        return cls(variance.sqrt(), variance[..., :0], variance.unsqueeze(-1)[..., :0])

    @classmethod
    def updated(cls, precision: Tensor, directions: Tensor) -> "LowRankFactor":
        r"""The factor of a diagonal precision plus a few directions, :math:`P^{-1} = \mathrm{diag}(d) + W W^T`.

        Args:
            precision: The diagonals :math:`d`, with shape ``(case, n)``, positive.
            directions: The directions :math:`W`, with shape ``(case, n, rank)``, of any length and angles.
        """
        if not directions.shape[-1]:
            return cls.diagonal(1 / precision)
        scale = precision.rsqrt()
        scaled = scale.unsqueeze(-1) * directions
        gram = scaled.mT @ scaled
        # The driver refuses NaN: a case without finite numbers gets some, and NaN through its scale.
        values, vectors = torch.linalg.eigh(gram.nan_to_num(0.0, 0.0, 0.0))
        # What is smaller than rounding does not count, and must not be divided by.
        least = torch.finfo(values.dtype).eps * values.amax(dim=-1, keepdim=True).clamp(min=1)
        values = torch.where(values > least, values, 0)
        lengths = torch.where(values > 0, values, 1).sqrt()
        finite = gram.isfinite().flatten(1).all(dim=-1, keepdim=True)
        return cls(torch.where(finite, scale, torch.nan), 1 + values, scaled @ (vectors / lengths.unsqueeze(-2)))

    def log_det(self) -> Tensor:
        r"""The log-determinant :math:`\log\det D - \frac12 \log\det \Lambda`."""
        return self.scale.log().sum(dim=-1) - 0.5 * self.values.log().sum(dim=-1)

    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        inside = 1 + (self.vectors.square() @ (1 / self.values - 1).unsqueeze(-1)).squeeze(-1)
        return self.scale.square() * inside

    def precision_diagonal(self) -> Tensor:
        """The diagonal of the precision, with shape ``(case, n)``."""
        inside = 1 + (self.vectors.square() @ (self.values - 1).unsqueeze(-1)).squeeze(-1)
        return inside / self.scale.square()

    def _power(self, p: float, x: Tensor) -> Tensor:
        """The product of a power of the scaled precision with columns."""
        return x + self.vectors @ ((self.values**p - 1).unsqueeze(-1) * (self.vectors.mT @ x))

    def _forward(self, w: Tensor) -> Tensor:
        return self.scale.unsqueeze(-1) * self._power(-0.5, w)

    def _transpose(self, g: Tensor) -> Tensor:
        return self._power(-0.5, self.scale.unsqueeze(-1) * g)

    def _inverse(self, x: Tensor) -> Tensor:
        return self._power(0.5, x / self.scale.unsqueeze(-1))

    def _dual(self, w: Tensor) -> Tensor:
        return self._power(0.5, w) / self.scale.unsqueeze(-1)
