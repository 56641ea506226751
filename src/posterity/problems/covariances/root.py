"""Roots of covariances, as linear operators from white noise to states."""

import abc
from math import prod

import torch
from torch import Tensor

from ...tensors import identity


class Root(abc.ABC):
    r"""Abstract root :math:`L` of a covariance :math:`L L^T`: a linear operator from whitened vectors to states.

    Tensors lead with any batch, whose last dimensions are those of the root's own, such as ``case``. A root is in one
    dtype and on one device, those of what it was made for.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The event shape of whitened vectors."""

    @property
    def size(self) -> int:
        """The number of entries of a whitened vector."""
        return prod(self.shape)

    @property
    @abc.abstractmethod
    def full(self) -> bool:
        """Whether each state is that of one whitened vector, so that the covariance has an inverse."""

    @abc.abstractmethod
    def forward(self, w: Tensor) -> Tensor:
        """States :math:`L w` of whitened vectors: from ``(*batch, *shape)`` to ``(*batch, *state)``."""

    @abc.abstractmethod
    def transpose(self, x: Tensor) -> Tensor:
        """The product :math:`L^T x`: from ``(*batch, *state)`` to ``(*batch, *shape)``."""

    @abc.abstractmethod
    def inverse(self, x: Tensor) -> Tensor:
        """The shortest whitened vectors :math:`w` of states :math:`x = L w`, with shape ``(*batch, *shape)``.

        Of a state that has none, those of some state near it that has one.
        """

    @abc.abstractmethod
    def variance(self) -> Tensor:
        """The diagonal of :math:`L L^T`, with the shape of a state, or ``(case, *state)``."""

    def move(self, x: Tensor, w: Tensor) -> Tensor:
        """The sum :math:`x + L w`, of states ``(*batch, *state)`` and whitened vectors ``(*batch, *shape)``."""
        return x + self.forward(w)

    def matrix(self) -> Tensor:
        r"""The operator as a matrix, with shape ``(n, size)`` or ``(case, n, size)``, for small states."""
        like = self.variance()
        batch = like.ndim - len(self.shape)
        basis = identity(like, self.size).reshape(self.size, *([1] * batch), *self.shape)
        return self.forward(basis).flatten(1 + batch).movedim(0, -1)


class Diagonal(Root):
    """Diagonal root: independent entries.

    Args:
        std: The standard deviations, with the shape of a state, or ``(case, *state)``.
        event: The number of dimensions of a state.
    """

    def __init__(self, std: Tensor, event: int) -> None:
        self.std = std
        self._shape = tuple(std.shape[std.ndim - event :])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a state."""
        return self._shape

    @property
    def full(self) -> bool:
        """Whether all entries have an error."""
        return bool((self.std > 0).all())

    def forward(self, w: Tensor) -> Tensor:
        """Multiplies by the standard deviations."""
        return self.std * w

    def move(self, x: Tensor, w: Tensor) -> Tensor:
        """Multiplies and adds, in one operation with one rounding."""
        return torch.addcmul(x, self.std, w)

    def transpose(self, x: Tensor) -> Tensor:
        """Multiplies by the standard deviations."""
        return self.std * x

    def inverse(self, x: Tensor) -> Tensor:
        """Divides by the standard deviations; zero where there is no error."""
        return torch.where(self.std == 0, 0, x / self.std)

    def variance(self) -> Tensor:
        """Their squares."""
        return self.std.square()
