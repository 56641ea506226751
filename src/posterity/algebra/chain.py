"""Linear Markov chains of states that share constants, and precisions in terms of their errors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tensors import identity
from .batched import Batched
from .factors import Factor
from .precisions import Precision
from .tridiagonal import Tridiagonal, TridiagonalFactor, join, split


@dataclass(frozen=True)
class Chain(Batched):
    r"""Linear chain of each case, from states and constants to its errors, :math:`w = W z`:

    .. math:: w_0 = z_0, \qquad w_{t+1} = z_{t+1} - A_t z_t - P_t v .

    Vectors are :math:`(z_0, v, z_1, …)` and :math:`(w_0, v, w_1, …)`, columns as in :mod:`.factors`. With ones on its
    diagonal, :math:`\det W = 1`.

    Args:
        onward: The matrices :math:`A_t`, with shape ``(case, times - 1, n, n)``.
        constants: The matrices :math:`P_t`, with shape ``(case, times - 1, n, constants)``.
    """

    onward: Tensor
    constants: Tensor

    def errors(self, z: Tensor) -> Tensor:
        r"""The errors :math:`W z` of states."""
        states, v = self._split(z)
        forecast = self.onward @ states[:, :-1] + self.constants @ v.unsqueeze(1)
        return join(torch.cat((states[:, :1], states[:, 1:] - forecast), dim=1), v)

    def errors_adjoint(self, g: Tensor) -> Tensor:
        r"""The products :math:`W^T g`, which take gradients by the errors to those by the states."""
        errors, v = self._split(g)
        back = torch.cat((self.onward.mT @ errors[:, 1:], torch.zeros_like(errors[:, :1])), dim=1)
        return join(errors - back, v - (self.constants.mT @ errors[:, 1:]).sum(dim=1))

    def states(self, w: Tensor) -> Tensor:
        r"""The states :math:`W^{-1} w` of errors, forwards in time."""
        errors, v = self._split(w)
        states = [errors[:, 0]]
        for t in range(errors.shape[1] - 1):
            states.append(self.onward[:, t] @ states[-1] + self.constants[:, t] @ v + errors[:, t + 1])
        return join(torch.stack(states, dim=1), v)

    def states_adjoint(self, g: Tensor) -> Tensor:
        r"""The products :math:`W^{-T} g`, which take gradients by the states to those by the errors."""
        states, v = self._split(g)
        times = states.shape[1]
        errors = [states[:, -1]]
        for t in reversed(range(times - 1)):
            v = v + self.constants[:, t].mT @ errors[-1]
            errors.append(states[:, t] + self.onward[:, t].mT @ errors[-1])
        return join(torch.stack(errors[::-1], dim=1), v)

    def precision(self, seen: Tensor) -> Tridiagonal:
        r"""The precision of the states, :math:`W^T W` and what is seen of each.

        Args:
            seen: What observations add to the precision of each state, with shape ``(case, times, n, n)``.
        """
        none = torch.zeros_like(self.constants[:, :1])
        eye = identity(seen, seen.shape[-1])
        pulled = torch.cat((self.onward.mT @ self.onward, torch.zeros_like(seen[:, :1])), dim=1)
        if not self.onward.shape[1]:
            none = seen.new_zeros(*seen.shape[:3], self.constants.shape[-1])
        border = torch.cat((self.onward.mT @ self.constants, none), dim=1) - torch.cat((none, self.constants), dim=1)
        corner = (self.constants.mT @ self.constants).sum(dim=1) + identity(seen, self.constants.shape[-1])
        return Tridiagonal(eye + pulled + seen, -self.onward, border, corner)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return split(x, self.onward.shape[1] + 1, *self.constants.shape[-2:])


@dataclass(frozen=True)
class ChainPrecision(Precision):
    r"""Precision of the errors of a chain, :math:`W^{-T} \Lambda W^{-1}` for that of its states, :math:`\Lambda`.

    It is full, since an error moves all later states, and is never made: what it is asked for goes by the states.

    Args:
        onward: The matrices :math:`A_t` of the chain; see :class:`Chain`.
        constants: The matrices :math:`P_t` of the chain.
        seen: What observations add to the precision of each state, with shape ``(case, times, n, n)``.
        shift: A multiple of the identity that is added, with shape ``(case,)``.
    """

    onward: Tensor
    constants: Tensor
    seen: Tensor
    shift: Tensor

    @property
    def chain(self) -> Chain:
        """The chain."""
        return Chain(self.onward, self.constants)

    def multiply(self, x: Tensor) -> Tensor:
        """The products by way of the states."""
        columns = x.to(self.seen).reshape(-1, *x.shape[-2:]).movedim(0, -1)
        states, v = split(self.chain.states(columns), self.seen.shape[1], *self.constants.shape[-2:])
        back = self.chain.states_adjoint(join(self.seen @ states, torch.zeros_like(v)))
        return ((1 + self.shift[:, None, None]) * columns + back).movedim(-1, 0).reshape(x.shape)

    def shifted(self, shift: Tensor) -> "ChainPrecision":
        """The same with a multiple of the identity more."""
        return ChainPrecision(self.onward, self.constants, self.seen, self.shift + shift)

    def factor(self) -> "ChainFactor":
        r"""The root :math:`W S`, for the root :math:`S` of the covariance of the states."""
        # A shift of the errors is a multiple of their precision, which is that of the states without observations.
        weight = 1 + self.shift[:, None, None, None]
        root = self.chain.precision(self.seen / weight).factor()
        scale = weight.squeeze(-1).sqrt()
        return ChainFactor(
            self.onward, self.constants, root.roots * scale.unsqueeze(-1), root.below * scale.unsqueeze(-1),
            root.edges * scale.unsqueeze(-1), root.corner * scale,
        )  # fmt: skip


@dataclass(frozen=True)
class ChainFactor(Factor):
    r"""Factor of the covariance of the errors of a chain, :math:`W S` for the factor :math:`S` of that of its states.

    Args:
        onward: The matrices :math:`A_t` of the chain; see :class:`Chain`.
        constants: The matrices :math:`P_t` of the chain.
        roots: As for :class:`TridiagonalFactor`, as are the others.
        below: See there.
        edges: See there.
        corner: See there.
    """

    onward: Tensor
    constants: Tensor
    roots: Tensor
    below: Tensor
    edges: Tensor
    corner: Tensor

    @property
    def chain(self) -> Chain:
        """The chain."""
        return Chain(self.onward, self.constants)

    @property
    def root(self) -> TridiagonalFactor:
        """The factor of the states."""
        return TridiagonalFactor(self.roots, self.below, self.edges, self.corner)

    def log_det(self) -> Tensor:
        """The log-determinant, which is that of the states."""
        return self.root.log_det()

    def variance(self) -> Tensor:
        r"""The diagonal of the covariance :math:`W P W^T`, from the covariances of neighbours."""
        found = self.root.marginals()
        onward, constants = self.onward, self.constants
        before, crosses = found.states[:, :-1], found.crosses
        # What the forecast has in common with the state itself, and its own covariance.
        common = onward @ found.neighbours.mT + constants @ crosses[:, 1:].mT
        forecast = onward @ before @ onward.mT + constants @ found.constants.unsqueeze(1) @ constants.mT
        cross = onward @ crosses[:, :-1] @ constants.mT
        later = found.states[:, 1:] - common - common.mT + forecast + cross + cross.mT
        errors = torch.cat((found.states[:, :1], later), dim=1).diagonal(dim1=-2, dim2=-1)
        return join(errors.unsqueeze(-1), found.constants.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)).squeeze(-1)

    def _forward(self, w: Tensor) -> Tensor:
        return self.chain.errors(self.root._forward(w))

    def _transpose(self, g: Tensor) -> Tensor:
        return self.root._transpose(self.chain.errors_adjoint(g))

    def _inverse(self, x: Tensor) -> Tensor:
        return self.root._inverse(self.chain.states(x))

    def _dual(self, w: Tensor) -> Tensor:
        return self.chain.states_adjoint(self.root._dual(w))
