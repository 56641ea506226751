"""Coordinates in which a posterior is nearly white."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..problems import Control, eigenpairs
from ..problems.chunks import LARGE
from ..problems.minimize import levenberg_marquardt
from ..tensors import identity

#: Directions that differ from those of the prior, where the control is too large for matrices.
DIRECTIONS = 128


class LaplaceWhitening(NamedTuple):
    r"""Coordinates :math:`w` that whiten a Laplace approximation, :math:`u = \hat u + P^{-1/2} w`.

    The symmetric root is equivariant under translations of the problem. The precision is kept as
    :math:`P = I + Q (\Lambda - I) Q^T`, with as many directions as differ from those of the prior.

    Args:
        origin: The estimate :math:`\hat u`, with shape ``(case, n)``.
        values: The eigenvalues :math:`\Lambda`, with shape ``(case, rank)``.
        vectors: The eigenvectors :math:`Q`, with shape ``(case, n, rank)``.
    """

    origin: Tensor
    values: Tensor
    vectors: Tensor

    @classmethod
    def prior(cls, control: Control) -> "LaplaceWhitening":
        """The coordinates of the prior: the control itself."""
        origin = control.zero()
        return cls(origin, origin[:, :0], origin.unsqueeze(-1)[..., :0])

    @classmethod
    @torch.no_grad()
    def mode(cls, control: Control, start: Tensor, iterations: int) -> "LaplaceWhitening":
        """The coordinates of the Laplace approximation at the end of Levenberg–Marquardt iterations.

        Args:
            control: The control.
            start: The start of the iterations, with shape ``(case, n)``.
            iterations: Their number on the full window; see :func:`levenberg_marquardt` for those before.
        """
        minimum = levenberg_marquardt(control, start.detach(), iterations)
        if control.size > LARGE:
            pairs = eigenpairs(minimum.model, DIRECTIONS)
            values, vectors = (field.nan_to_num(0.0).to(minimum.u) for field in pairs)
            return cls(minimum.u, 1 + values, vectors)
        hessian = minimum.model.dense()
        sound = hessian.isfinite().flatten(1).all(dim=-1)
        # Where the model diverged from everywhere, the prior's coordinates keep the batch going.
        precision = torch.where(sound[:, None, None], hessian, identity(hessian, control.size))
        values, vectors = torch.linalg.eigh(precision)
        return cls(minimum.u, *(value.to(minimum.u) for value in (values.clamp(min=1), vectors)))

    def forward(self, u: Tensor) -> Tensor:
        """The coordinates of controls, both with shape ``(*batch, case, n)``."""
        return self._power(0.5, u - self.origin)

    def inverse(self, w: Tensor) -> Tensor:
        """The controls of coordinates, both with shape ``(*batch, case, n)``."""
        return self.origin + self._power(-0.5, w)

    def log_det(self) -> Tensor:
        r"""The log-determinant of :meth:`inverse`, :math:`-\frac12 \log \det P`, with shape ``(case,)``."""
        return -0.5 * self.values.log().sum(dim=-1)

    def variance(self) -> Tensor:
        """The variances of the control for white coordinates, with shape ``(case, n)``."""
        return 1 + (self.vectors.square() * (1 / self.values - 1).unsqueeze(-2)).sum(dim=-1)

    def _power(self, p: float, x: Tensor) -> Tensor:
        """The product of a power of the precision with vectors."""
        inside = (self.vectors.mT @ x.unsqueeze(-1)) * (self.values**p - 1).unsqueeze(-1)
        return x + (self.vectors @ inside).squeeze(-1)
