"""Roots of covariances, as linear operators from white noise to states."""

import abc
from math import prod

import torch
from torch import Tensor

from ...tensors import identity, white_noise


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
        full: Whether all of them are positive.
    """

    def __init__(self, std: Tensor, event: int, full: bool = True) -> None:
        self.std = std
        self._shape, self._full = tuple(std.shape[std.ndim - event :]), full

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a state."""
        return self._shape

    @property
    def full(self) -> bool:
        """Whether all entries have an error."""
        return self._full

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


class Scaled(Root):
    """Scaled root :math:`D L`, of a correlation :math:`L L^T` and a diagonal of standard deviations :math:`D`.

    Args:
        std: The standard deviations, with the shape of a state, or ``(case, *state)``.
        root: The root :math:`L`.
        full: Whether all standard deviations are positive.
    """

    def __init__(self, std: Tensor, root: Root, full: bool = True) -> None:
        self.std, self.root, self._full = std, root, full

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the root."""
        return self.root.shape

    @property
    def full(self) -> bool:
        """Whether the root is, and all entries have an error."""
        return self._full and self.root.full

    def forward(self, w: Tensor) -> Tensor:
        """Correlates, then multiplies."""
        return self.std * self.root.forward(w)

    def transpose(self, x: Tensor) -> Tensor:
        """Multiplies, then applies the transpose."""
        return self.root.transpose(self.std * x)

    def inverse(self, x: Tensor) -> Tensor:
        """Divides, then applies the inverse."""
        return self.root.inverse(torch.where(self.std == 0, 0, x / self.std))

    def variance(self) -> Tensor:
        """Of the root, times their squares."""
        return self.std.square() * self.root.variance()


class Dense(Root):
    """Dense symmetric root, for small states.

    Args:
        matrix: The symmetric matrix :math:`L`, with shape ``(n, n)``.
        inverse: Its pseudo-inverse, with the same shape.
        shape: The shape of a state, of ``n`` entries, and of whitened vectors.
        full: Whether it has an inverse.
    """

    def __init__(self, matrix: Tensor, inverse: Tensor, shape: tuple[int, ...], full: bool) -> None:
        self._matrix, self._inverse, self._shape, self._full = matrix, inverse, shape, full

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a state."""
        return self._shape

    @property
    def full(self) -> bool:
        """Whether the matrix has an inverse."""
        return self._full

    def forward(self, w: Tensor) -> Tensor:
        """Multiplies by the matrix."""
        return self._times(self._matrix, w)

    def transpose(self, x: Tensor) -> Tensor:
        """Multiplies by the matrix, which is symmetric."""
        return self._times(self._matrix, x)

    def inverse(self, x: Tensor) -> Tensor:
        """Multiplies by the pseudo-inverse."""
        return self._times(self._inverse, x)

    def variance(self) -> Tensor:
        """The sums of squares of its rows."""
        return self._matrix.square().sum(dim=-1).reshape(self.shape)

    def _times(self, matrix: Tensor, x: Tensor) -> Tensor:
        """The product of a symmetric matrix with flattened states."""
        return (x.flatten(x.ndim - len(self.shape)) @ matrix).unflatten(-1, self.shape)


class Circulant(Root):
    r"""Circulant root on a periodic grid: a matrix of channels for each wave vector,

    .. math:: \hat x(k) = S(k)\, \hat w(k) .

    Args:
        symbol: The matrices :math:`S(k)`, with shape ``(channels, controls, *half)`` and the wave vectors of a real
            Fourier transform; those of opposite wave vectors are conjugate.
        inverse: Their pseudo-inverses, with shape ``(controls, channels, *half)``.
        grid: The grid.
        full: Whether all of them have an inverse.
    """

    def __init__(self, symbol: Tensor, inverse: Tensor, grid: tuple[int, ...], full: bool) -> None:
        self.symbol, self._inverse, self.grid, self._full = symbol, inverse, grid, full

    @property
    def shape(self) -> tuple[int, ...]:
        """``(controls, *grid)``."""
        return (self.symbol.shape[1], *self.grid)

    @property
    def full(self) -> bool:
        """Whether all matrices have an inverse."""
        return self._full

    def forward(self, w: Tensor) -> Tensor:
        """Multiplies in Fourier space."""
        return self._filter(self.symbol, w)

    def transpose(self, x: Tensor) -> Tensor:
        """Multiplies by the conjugate transpose in Fourier space."""
        return self._filter(self.symbol.transpose(0, 1).conj(), x)

    def inverse(self, x: Tensor) -> Tensor:
        """Multiplies by the pseudo-inverse in Fourier space."""
        return self._filter(self._inverse, x)

    def variance(self) -> Tensor:
        """The same for all points, by what the root makes of an impulse in each channel."""
        impulses = self.symbol.real.new_zeros(self.shape[0], *self.shape)
        for channel, impulse in enumerate(impulses):
            impulse[(channel, *([0] * len(self.grid)))] = 1
        response = self.forward(impulses).square().flatten(2).sum(dim=(0, 2))
        return response.reshape(-1, *([1] * len(self.grid))).expand(-1, *self.grid)

    def _filter(self, symbol: Tensor, x: Tensor) -> Tensor:
        """Multiplies the channels of fields by a matrix for each wave vector."""
        if not x.numel():
            # Transforms of nothing are refused.
            return x.new_zeros(*x.shape[: x.ndim - len(self.grid) - 1], len(symbol), *self.grid)
        axes = tuple(range(-len(self.grid), 0))
        transformed = torch.fft.rfftn(x, dim=axes).unsqueeze(-len(self.grid) - 2)
        return torch.fft.irfftn((symbol * transformed).sum(dim=-len(self.grid) - 1), s=self.grid, dim=axes)


def unseen_noise(root: Root, like: Tensor, *batch: int) -> Tensor:
    """Draws white noise in the directions of whitened vectors that no state depends on; zero if there are none.

    Args:
        root: The root.
        like: A tensor whose dtype and device it has.
        batch: The batch shape.

    Returns:
        The whitened vectors, with shape ``(*batch, *shape)``.
    """
    if root.full or not prod(batch):
        return like.new_zeros(*batch, *root.shape)
    w = white_noise(like, *batch, *root.shape)
    return w - root.inverse(root.forward(w))
