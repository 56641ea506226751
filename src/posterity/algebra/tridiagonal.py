"""Block-tridiagonal matrices with a border: precisions of Markov chains that share constants."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..tensors import identity
from .factors import Factor
from .precisions import Curvature


@dataclass(frozen=True)
class Tridiagonal(Curvature):
    r"""Symmetric block-tridiagonal matrix of each case, bordered by constants, of vectors :math:`(z_0, v, z_1, …)`:

    .. math::
        z^T \Lambda z = \sum_t z_t^T D_t z_t + 2 \sum_t z_{t+1}^T E_t z_t + 2 \sum_t z_t^T B_t v + v^T C v .

    It is the precision of states :math:`z_t` of a Markov chain and of constants :math:`v` on which all of them depend.
    The constants stand behind the first state, as in the control.

    Args:
        states: The blocks :math:`D_t`, with shape ``(case, times, n, n)``.
        lower: The blocks :math:`E_t` below, with shape ``(case, times - 1, n, n)``.
        border: The blocks :math:`B_t`, with shape ``(case, times, n, constants)``.
        corner: The block :math:`C`, with shape ``(case, constants, constants)``.
    """

    states: Tensor
    lower: Tensor
    border: Tensor
    corner: Tensor

    def shifted(self, shift: Tensor) -> "Tridiagonal":
        r"""The matrices :math:`\Lambda + \lambda I`, for :math:`\lambda` of shape ``(case,)``."""

        def shifted(blocks: Tensor, shift: Tensor) -> Tensor:
            return blocks + torch.diag_embed(shift.unsqueeze(-1).expand(blocks.shape[:-1]))

        return replace(self, states=shifted(self.states, shift.unsqueeze(-1)), corner=shifted(self.corner, shift))

    def multiply(self, x: Tensor) -> Tensor:
        r"""The products :math:`\Lambda x`, with shape ``(*batch, case, size)``."""
        z, v = split(x.unsqueeze(-1), *self.border.shape[-3:])
        product = self.states @ z + self.border @ v.unsqueeze(-3)
        if self.lower.shape[-3]:
            product[..., 1:, :, :] += self.lower @ z[..., :-1, :, :]
            product[..., :-1, :, :] += self.lower.mT @ z[..., 1:, :, :]
        return join(product, (self.border.mT @ z).sum(dim=-3) + self.corner @ v).squeeze(-1)

    def diagonal(self) -> Tensor:
        """The diagonal, with shape ``(case, size)``."""
        blocks = (self.states, self.corner)
        return join(*(each.diagonal(dim1=-2, dim2=-1).unsqueeze(-1) for each in blocks)).squeeze(-1)

    def stepped(self, residual: Tensor, dual: Tensor) -> "Tridiagonal":
        """Adds the blocks of the matrix; see :meth:`Curvature.stepped`."""
        (z, v), (x, w) = (split(each.unsqueeze(-1), *self.border.shape[-3:]) for each in (residual, dual))
        z, v, x, w = (each.squeeze(-1) for each in (z, v, x, w))
        states, border = torch.einsum("scti,sctj->ctij", z, x), torch.einsum("scti,scj->ctij", z, w)
        corner, across = torch.einsum("sci,scj->cij", v, w), torch.einsum("scti,scj->ctij", x, v)
        lower = torch.einsum("scti,sctj->ctij", z[:, :, 1:], x[:, :, :-1])
        upper = torch.einsum("scti,sctj->ctij", x[:, :, 1:], z[:, :, :-1])
        return Tridiagonal(
            self.states + 0.5 * (states + states.mT),
            self.lower + 0.5 * (lower + upper),
            self.border + 0.5 * (border + across),
            self.corner + 0.5 * (corner + corner.mT),
        )

    def factor(self) -> "TridiagonalFactor":
        r"""Factorises :math:`\Lambda = C C^T`, one state after another, and the constants last.

        With :math:`D_t - K_{t-1} K_{t-1}^T = L_t L_t^T`, :math:`K_t = E_t L_t^{-T}` and
        :math:`M_t = (B_t^T - M_{t-1} K_{t-1}^T) L_t^{-T}`: one loop over time, in :math:`O(T n^3)`.

        Returns:
            The factors; NaN for a case whose matrix is not positive definite.
        """
        times = self.states.shape[-3]
        diagonal, border, corner = self.states[:, 0], self.border[:, 0].mT, self.corner
        roots, below, edges = [], [], []
        for t in range(times):
            root = _cholesky(diagonal)
            edge = torch.linalg.solve_triangular(root, border.mT, upper=False).mT
            corner = corner - edge @ edge.mT
            roots.append(root)
            edges.append(edge)
            if t + 1 < times:
                onward = torch.linalg.solve_triangular(root, self.lower[:, t].mT, upper=False).mT
                diagonal = self.states[:, t + 1] - onward @ onward.mT
                border = self.border[:, t + 1].mT - edge @ onward.mT
                below.append(onward)
        lower = torch.stack(below, dim=1) if below else self.lower
        return TridiagonalFactor(torch.stack(roots, dim=1), lower, torch.stack(edges, dim=1), _cholesky(corner))


@dataclass(frozen=True)
class TridiagonalFactor(Factor):
    r"""Factor of a block-tridiagonal precision with a border, :math:`S = C^{-T}` with :math:`P^{-1} = C C^T`.

    Args:
        roots: The diagonal blocks :math:`L_t` of :math:`C`, with shape ``(case, times, n, n)``.
        below: The blocks :math:`K_t` below them, with shape ``(case, times - 1, n, n)``.
        edges: The rows :math:`M_t` of the constants, with shape ``(case, times, constants, n)``.
        corner: The last diagonal block, with shape ``(case, constants, constants)``.
    """

    roots: Tensor
    below: Tensor
    edges: Tensor
    corner: Tensor

    def log_det(self) -> Tensor:
        r"""The log-determinant :math:`-\log\det C`."""
        states = self.roots.diagonal(dim1=-2, dim2=-1).log().sum(dim=(-2, -1))
        return -(states + self.corner.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1))

    def solve(self, b: Tensor) -> Tensor:
        r"""The solutions of :math:`\Lambda x = b`, with shape ``(*batch, case, size)``."""
        return self.covariance(b)

    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        marginals = self.marginals()
        states = marginals.states.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
        return join(states, marginals.constants.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)).squeeze(-1)

    def marginals(self) -> "Marginals":
        r"""The covariances of states, of neighbours, and of the constants, without any other, in :math:`O(T n^3)`.

        From :math:`C^T P = C^{-1}`, whose blocks above the diagonal are zero, backwards in time.

        References:
            | Formation of a sparse bus impedance matrix and its application to short circuit study
              (Takahashi, Fagan & Chen, 1973), Proc. 8th PICA Conference, 63–69
        """
        times = self.roots.shape[1]
        inverse = torch.linalg.solve_triangular(self.corner, _eye(self.corner), upper=False)
        constants = inverse.mT @ inverse
        states: list[Tensor] = []
        neighbours: list[Tensor] = []
        crosses: list[Tensor] = []
        for t in reversed(range(times)):
            root, edge = self.roots[:, t], self.edges[:, t]
            pull = edge.mT @ constants
            if t + 1 < times:
                pull = pull + self.below[:, t].mT @ crosses[-1]
            # What the state has in common with the constants, and with the next state.
            cross = -torch.linalg.solve_triangular(root.mT, pull, upper=True)
            rest = torch.linalg.solve_triangular(root, _eye(root), upper=False) - edge.mT @ cross.mT
            if t + 1 < times:
                onward = self.below[:, t]
                common = onward.mT @ states[-1] + edge.mT @ crosses[-1].mT
                neighbour = -torch.linalg.solve_triangular(root.mT, common, upper=True).mT
                rest = rest - onward.mT @ neighbour
                neighbours.append(neighbour)
            state = torch.linalg.solve_triangular(root.mT, rest, upper=True)
            states.append(0.5 * (state + state.mT))
            crosses.append(cross)
        between = torch.stack(neighbours[::-1], dim=1) if neighbours else self.below
        return Marginals(torch.stack(states[::-1], dim=1), between, torch.stack(crosses[::-1], dim=1), constants)

    def _forward(self, w: Tensor) -> Tensor:
        """Solves with the transposed factor, backwards in time."""
        z, v = split(w, *self._sizes())
        v = torch.linalg.solve_triangular(self.corner.mT, v, upper=True)
        states: list[Tensor] = []
        for t in reversed(range(z.shape[1])):
            rest = z[:, t] - self.edges[:, t].mT @ v
            if states:
                rest = rest - self.below[:, t].mT @ states[-1]
            states.append(torch.linalg.solve_triangular(self.roots[:, t].mT, rest, upper=True))
        return join(torch.stack(states[::-1], dim=1), v)

    def _transpose(self, g: Tensor) -> Tensor:
        """Solves with the factor, forwards in time."""
        z, v = split(g, *self._sizes())
        states: list[Tensor] = []
        for t in range(z.shape[1]):
            rest = z[:, t] - self.below[:, t - 1] @ states[-1] if states else z[:, t]
            states.append(torch.linalg.solve_triangular(self.roots[:, t], rest, upper=False))
            v = v - self.edges[:, t] @ states[-1]
        return join(torch.stack(states, dim=1), torch.linalg.solve_triangular(self.corner, v, upper=False))

    def _inverse(self, x: Tensor) -> Tensor:
        """Multiplies with the transposed factor."""
        z, v = split(x, *self._sizes())
        product = self.roots.mT @ z + self.edges.mT @ v.unsqueeze(1)
        product[:, :-1] += self.below.mT @ z[:, 1:]
        return join(product, self.corner.mT @ v)

    def _dual(self, w: Tensor) -> Tensor:
        """Multiplies with the factor."""
        z, v = split(w, *self._sizes())
        product = self.roots @ z
        product[:, 1:] += self.below @ z[:, :-1]
        return join(product, (self.edges @ z).sum(dim=1) + self.corner @ v)

    def _sizes(self) -> tuple[int, int, int]:
        """The numbers of states, of their entries, and of constants."""
        return self.roots.shape[1], self.roots.shape[-1], self.corner.shape[-1]


class Marginals(NamedTuple):
    """Covariances of a Markov chain that shares constants.

    Args:
        states: Those of each state, with shape ``(case, times, n, n)``.
        neighbours: Those of each state (rows) but the first with the one before (columns), ``(case, times - 1, n, n)``.
        crosses: Those of each state with the constants, with shape ``(case, times, n, constants)``.
        constants: Those of the constants, with shape ``(case, constants, constants)``.
    """

    states: Tensor
    neighbours: Tensor
    crosses: Tensor
    constants: Tensor


def split(x: Tensor, times: int, n: int, constants: int) -> tuple[Tensor, Tensor]:
    """Splits columns ``(…, size, columns)`` into ``(…, times, n, columns)`` and ``(…, constants, columns)``."""
    states = torch.cat((x[..., :n, :], x[..., n + constants :, :]), dim=-2)
    return states.unflatten(-2, (times, n)), x[..., n : n + constants, :]


def join(states: Tensor, constants: Tensor) -> Tensor:
    """Joins what :func:`split` has split."""
    return torch.cat((states[..., 0, :, :], constants, states[..., 1:, :, :].flatten(-3, -2)), dim=-2)


def _cholesky(matrix: Tensor) -> Tensor:
    """Cholesky factors, NaN where a matrix is not positive definite."""
    factor, broken = torch.linalg.cholesky_ex(matrix)
    return torch.where((broken == 0)[:, None, None], factor, torch.nan)


def _eye(like: Tensor) -> Tensor:
    """Identity matrices of the shape of others."""
    return identity(like, like.shape[-1]).expand_as(like)
