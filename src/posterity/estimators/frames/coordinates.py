"""Coordinates of what an estimator learns, one map for each case."""

import abc
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

#: Standard deviations beyond which coordinates are logarithmic, and the largest logarithm that is undone.
CORE, FAR = 4.0, 60.0

#: Standard deviations beyond which coordinates bend no further.
REACH = 6.0


class Coordinates(abc.ABC):
    """Abstract coordinates of the values that an estimator learns, one map for each case."""

    @abc.abstractmethod
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""The coordinates of values.

        Args:
            z: The values, with shape ``(*batch, case, n)``.

        Returns:
            The coordinates :math:`w`, with the same shape, and :math:`\log |\det \partial w / \partial z|`, which
            broadcasts against ``(*batch, case)``.
        """

    @abc.abstractmethod
    def inverse(self, w: Tensor) -> tuple[Tensor, Tensor]:
        r"""The values of coordinates, with the same logarithm there."""


class PriorCoordinates(Coordinates):
    """The values themselves."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The values, with a logarithm of zero."""
        return z, z.new_zeros(())

    def inverse(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The coordinates, with a logarithm of zero."""
        return w, w.new_zeros(())


@dataclass(frozen=True)
class LaplaceCoordinates(Coordinates):
    r"""Coordinates in which a Laplace approximation is white, bent along with the posterior.

    A control :math:`u = \hat u + P^{-1/2} Q e` has the entries :math:`e` along the eigenvectors :math:`Q` of the
    precision :math:`P`, those of the largest variance first. Each is shifted by a quadratic form of those before it,
    and scaled by a linear one; what comes out is made logarithmic far out, entry by entry:

    .. math::
        g(w) = Q \left( e^{c(e)} (e + b(e)) \right), \qquad
        b_i(e) = \sum_{j, k < i} B_{ijk} \, s(e_j) \, s(e_k) - m_i, \qquad
        c_i(e) = \sum_{j < i} C_{ij} \, s(e_j), \\
        s(e) = 6 \tanh(e / 6), \qquad
        g(w) = w \;\text{for}\; |w| \leq 4, \qquad g(w) = \mathrm{sign}(w) \, (3 + e^{|w| - 4}) \;\text{beyond.}

    The map is triangular: it has an inverse, one entry after the other, and its determinant is that of the scales,
    :math:`\log \det = \sum_i c_i`. The derivative of :math:`g` is continuous. Some windows have their truth in another
    mode than was found, a hundred standard deviations away; in logarithms these do not outweigh all others in a loss.

    The map is equivariant under translations of the problem. The precision is kept as
    :math:`P = I + Q (\Lambda - I) Q^T`, with as many directions as differ from those of the prior.

    Args:
        origin: The estimate :math:`\hat u`, with shape ``(case, n)``.
        values: The eigenvalues :math:`\Lambda`, with shape ``(case, rank)``.
        vectors: The eigenvectors :math:`Q`, with shape ``(case, n, rank)``.
        bends: The forms :math:`B`, with shape ``(case, rank, bent, bent)``, of the first entries, of which there may be
            none; those of entry :math:`i` are zero but for :math:`j, k < i`.
        scales: The forms :math:`C`, with shape ``(case, rank, bent)``; zero but for :math:`j < i`.
        means: The means :math:`m`, with shape ``(case, rank)``.
    """

    origin: Tensor
    values: Tensor
    vectors: Tensor
    bends: Tensor
    scales: Tensor
    means: Tensor

    @classmethod
    def straight(cls, origin: Tensor, values: Tensor, vectors: Tensor) -> Self:
        """Those of a Gaussian, which do not bend."""
        none = origin.new_zeros(*values.shape, 0)
        return cls(origin, values, vectors, none.unsqueeze(-1), none, torch.zeros_like(values))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The coordinates of controls; see :meth:`Coordinates.forward`."""
        white = self._power(0.5, z - self.origin)
        e = self._entries(white)
        shift, log_scale = self._bend(e)
        white = white + self._along(log_scale.exp() * (e + shift) - e)
        beyond = (white.abs() - CORE).clamp(min=0)
        w = torch.where(beyond > 0, white.sign() * (CORE + beyond.log1p()), white)
        return w, self._log_det(log_scale) - beyond.log1p().sum(dim=-1)

    def inverse(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The controls of coordinates; see :meth:`Coordinates.inverse`."""
        beyond = (w.abs() - CORE).clamp(min=0, max=FAR)
        white = torch.where(beyond > 0, w.sign() * (CORE + beyond.expm1()), w)
        e = bent = self._entries(white)
        # Each pass settles one entry more, from those before it; the last, those that no other depends on.
        for _ in range(self.bends.shape[-1] + 1):
            shift, log_scale = self._bend(e)
            e = (-log_scale).exp() * bent - shift
        white = white + self._along(e - bent)
        return self.origin + self._power(-0.5, white), self._log_det(log_scale) - beyond.sum(dim=-1)

    def variance(self) -> Tensor:
        """The variances of the control for white coordinates without bends, with shape ``(case, n)``."""
        return 1 + (self.vectors.square() * (1 / self.values - 1).unsqueeze(-2)).sum(dim=-1)

    def _log_det(self, log_scale: Tensor) -> Tensor:
        r"""The logarithm :math:`\frac12 \log \det P + \sum_i c_i`, with shape ``(*batch, case)``."""
        return 0.5 * self.values.log().sum(dim=-1) + log_scale.sum(dim=-1)

    def _power(self, p: float, x: Tensor) -> Tensor:
        """The product of a power of the precision with vectors."""
        return x + self._along(self._entries(x) * (self.values**p - 1))

    def _entries(self, x: Tensor) -> Tensor:
        """The entries of vectors along the eigenvectors."""
        return torch.einsum("cnk,...cn->...ck", self.vectors, x)

    def _along(self, e: Tensor) -> Tensor:
        """The vectors of entries along the eigenvectors."""
        return torch.einsum("cnk,...ck->...cn", self.vectors, e)

    def _bend(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """The shifts and the logarithmic scales of all entries, given the first ones."""
        s = REACH * (e[..., : self.bends.shape[-1]] / REACH).tanh()
        pairs = (s.unsqueeze(-1) * s.unsqueeze(-2)).flatten(-2)
        shift = torch.einsum("cip,...cp->...ci", self.bends.flatten(-2), pairs) - self.means
        return shift, torch.einsum("cij,...cj->...ci", self.scales, s)
