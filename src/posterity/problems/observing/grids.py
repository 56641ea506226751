"""Operators from the grid of the state to a smaller one, in one dimension and in two."""

import abc
from collections.abc import Sequence
from math import prod
from types import EllipsisType

import torch
from torch import Tensor

from .axes import per_axis, sized
from .operators import Operator


class Coarsen(Operator):
    """Averages over blocks of neighbouring sites, as instruments of a coarser resolution see them.

    An observation stands at the centre of its block, of an even one at the cell behind the centre.

    Args:
        shape: The event shape of what it observes, ``(channel, *grid)``.
        factor: The number of sites of a block along each axis, one for all axes or one for each.
    """

    def __init__(self, shape: Sequence[int], factor: int | Sequence[int] = 2) -> None:
        super().__init__(shape)
        grid = self.shape[1:]
        self.factor = per_axis("factor", factor, grid)
        for size, block in zip(grid, self.factor, strict=True):
            if block < 1 or size % block:
                raise ValueError(
                    f"factor: {size} sites do not make blocks of {block}; choose a divisor of {size}, or crop first"
                )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(channel, *grid)``, the grid by the factors smaller."""
        return (self.shape[0], *(size // block for size, block in zip(self.shape[1:], self.factor, strict=True)))

    @property
    def sites(self) -> Tensor:
        """The sites in the middle of the blocks."""
        return _sites(self.shape[1:], [slice(block // 2, None, block) for block in self.factor])

    def __call__(self, x: Tensor) -> Tensor:
        """Averages over blocks of states of shape ``(*batch, channel, *grid)``."""
        # Backwards, and from the end, so that the axes in front keep their numbers.
        for axis, block in enumerate(reversed(self.factor)):
            x = x.unflatten(-1 - axis, (-1, block)).mean(dim=-1 - axis)
        return x


class _Slices(Operator, abc.ABC):
    """Abstract operator that sees the sites of one slice along each axis."""

    @property
    @abc.abstractmethod
    def slices(self) -> tuple[slice, ...]:
        """The slice of each axis."""

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(channel, *grid)`` of what is seen."""
        axes = zip(self.shape[1:], self.slices, strict=True)
        return (self.shape[0], *(len(range(*part.indices(size))) for size, part in axes))

    @property
    def sites(self) -> Tensor:
        """The sites that are seen."""
        return _sites(self.shape[1:], self.slices)

    def __call__(self, x: Tensor) -> Tensor:
        """Chooses the sites of states of shape ``(*batch, channel, *grid)``."""
        index: tuple[slice | EllipsisType, ...] = (..., *self.slices)
        return x[index]


class Strided(_Slices):
    """Every k-th site along each axis, as a grid of their own; the mask ``grid`` leaves them on the whole one.

    Args:
        shape: The event shape of what it observes, ``(channel, *grid)``.
        every: The number of sites from one observed site to the next, one for all axes or one for each.
        start: The first observed site, likewise.
    """

    def __init__(self, shape: Sequence[int], every: int | Sequence[int] = 2, start: int | Sequence[int] = 0) -> None:
        super().__init__(shape)
        grid = self.shape[1:]
        self.every, self.start = per_axis("every", every, grid), per_axis("start", start, grid)
        if min(self.every) < 1:
            raise ValueError(f"every: must be at least 1, not {every}")
        if not all(0 <= first < size for first, size in zip(self.start, grid, strict=True)):
            raise ValueError(f"start: {start} does not lie on a grid of {sized(grid)} sites, numbered from 0")

    @property
    def slices(self) -> tuple[slice, ...]:
        """Every k-th site from the first."""
        return tuple(slice(first, None, step) for first, step in zip(self.start, self.every, strict=True))


class Crop(_Slices):
    """A box of neighbouring sites, as a grid of their own; it does not continue across a periodic edge.

    Args:
        shape: The event shape of what it observes, ``(channel, *grid)``.
        size: The number of sites of the box along each axis, one for all axes or one for each.
        start: The first site of the box, likewise.
    """

    def __init__(self, shape: Sequence[int], size: int | Sequence[int], start: int | Sequence[int] = 0) -> None:
        super().__init__(shape)
        grid = self.shape[1:]
        self.size, self.start = per_axis("size", size, grid), per_axis("start", start, grid)
        for sites, box, first in zip(grid, self.size, self.start, strict=True):
            if box < 1 or first < 0 or first + box > sites:
                raise ValueError(
                    f"size: {box} sites from start: {first} on do not fit an axis of {sites}; needs size >= 1, start "
                    f">= 0, and start + size <= {sites}"
                )

    @property
    def slices(self) -> tuple[slice, ...]:
        """The sites of the box."""
        return tuple(slice(first, first + box) for first, box in zip(self.start, self.size, strict=True))


class Truncation(Operator):
    r"""Spectral truncation of periodic fields, the waves :math:`|k_a| \leq c_a` along each axis, on a smaller grid.

    That grid begins at the same point. Each observation is of the whole field, and stands at no site of its grid.

    Args:
        shape: The event shape of what it observes, ``(channel, *grid)``.
        cutoff: The highest wave number :math:`c` that is kept, in waves per domain, one for all axes or one for each.
        size: The number of sites of the smaller grid, likewise; by default :math:`2 c + 1`, which just holds the waves.
    """

    def __init__(
        self, shape: Sequence[int], cutoff: int | Sequence[int], size: int | Sequence[int] | None = None
    ) -> None:
        super().__init__(shape)
        grid = self.shape[1:]
        self.cutoff = per_axis("cutoff", cutoff, grid)
        self.size = tuple(2 * wave + 1 for wave in self.cutoff) if size is None else per_axis("size", size, grid)
        for sites, wave, kept in zip(grid, self.cutoff, self.size, strict=True):
            if not 0 <= wave <= (sites - 1) // 2:
                raise ValueError(f"cutoff: {wave} is no wave of {sites} sites; choose 0 to {(sites - 1) // 2}")
            if not 2 * wave + 1 <= kept <= sites:
                raise ValueError(
                    f"size: {kept} sites do not hold waves up to {wave}, or are more than the state's {sites}; choose "
                    f"{2 * wave + 1} to {sites}"
                )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(channel, *size)``."""
        return (self.shape[0], *self.size)

    @property
    def sites(self) -> Tensor:
        """None; raises."""
        raise ValueError(
            "operator: Truncation sees waves, which stand at no sites of the grid; choose 'coarsen' or 'strided' for "
            "methods that ask for sites"
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Truncates states of shape ``(*batch, channel, *grid)``."""
        for axis, (wave, kept) in enumerate(zip(self.cutoff, self.size, strict=True), start=-len(self.size)):
            waves = torch.fft.rfft(x, dim=axis, norm="forward").narrow(axis, 0, wave + 1)
            x = torch.fft.irfft(waves, n=kept, dim=axis, norm="forward")
        return x


def _sites(grid: Sequence[int], slices: Sequence[slice]) -> Tensor:
    """The sites of a slice along each axis, on the flattened grid."""
    return torch.arange(prod(grid), device="cpu").view(tuple(grid))[tuple(slices)].flatten()
