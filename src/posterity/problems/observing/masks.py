"""Masks of observed entries. Several apply together: an entry must pass all of them."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...tensors import append_dims
from .axes import per_axis, sized
from .operators import check_channels


class Mask(abc.ABC):
    """Abstract mask, which chooses the observed entries of a window."""

    def check(self, window: int, shape: Sequence[int]) -> None:  # noqa: B027  (most masks suit all observations)
        """Raises a ValueError where the mask does not suit the observations of a problem; most suit all.

        Args:
            window: The number of times :math:`T`.
            shape: The event shape of an observation.
        """

    @abc.abstractmethod
    def __call__(self, batch: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
        """Draws masks.

        Args:
            batch: The batch shape.
            window: The number of times :math:`T`.
            shape: The event shape of an observation.

        Returns:
            Booleans that broadcast against ``(*batch, window, *shape)``, true where observed.
        """


@dataclass(frozen=True)
class RandomMask(Mask):
    """Random mask, which keeps each entry with the same probability, drawn anew for each case.

    Args:
        fraction: The probability, between 0 and 1.
    """

    fraction: float = 0.5

    def __post_init__(self) -> None:
        """Checks that the fraction is a probability."""
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction: must lie between 0 and 1, not {self.fraction}")

    def __call__(self, batch: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
        """Draws masks of shape ``(*batch, window, *shape)``."""
        return torch.rand(*batch, window, *shape) < self.fraction


@dataclass(frozen=True)
class TimeMask(Mask):
    """Regular mask in time, which keeps every k-th time.

    Args:
        every: The number of steps :math:`k` from one observation time to the next.
        start: The first observation time, in steps from the start of the window.
    """

    every: int = 1
    start: int = 0

    def __post_init__(self) -> None:
        """Checks spacing and start."""
        check_lattice(self.every, self.start)

    def check(self, window: int, shape: Sequence[int]) -> None:
        """Checks that the first observation time lies in the window."""
        if self.start >= window:
            raise ValueError(f"start: {self.start} lies behind the window, whose times are 0 to {window - 1}")

    def __call__(self, batch: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
        """The same mask for all, of shape ``(window, 1, …)``."""
        kept = torch.zeros((window, *([1] * len(shape))), dtype=torch.bool)
        kept[self.start :: self.every] = True
        return kept


@dataclass(frozen=True)
class GridMask(Mask):
    """Regular mask in space, which keeps every k-th site along each grid dimension.

    Args:
        every: The number of sites :math:`k` from one observed site to the next, one for all dimensions or one for each.
        start: The first observed site, likewise.
    """

    every: int | Sequence[int] = 2
    start: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        """Checks spacing and start."""
        everies, starts = ([part] if isinstance(part, int) else part for part in (self.every, self.start))
        for every in everies:
            for start in starts:
                check_lattice(every, start)

    def check(self, window: int, shape: Sequence[int]) -> None:
        """Checks that there is a grid, and that the first observed site lies on it."""
        check_grid(shape)
        grid = shape[1:]
        per_axis("every", self.every, grid)
        if any(start >= size for start, size in zip(per_axis("start", self.start, grid), grid, strict=True)):
            raise ValueError(f"start: {self.start} lies behind a grid of {sized(grid)} sites")

    def __call__(self, batch: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
        """The same mask for all, of shape ``(1, 1, *grid)``."""
        self.check(window, shape)
        grid = shape[1:]
        kept = torch.zeros((1, 1, *grid), dtype=torch.bool)
        axes = zip(per_axis("start", self.start, grid), per_axis("every", self.every, grid), strict=True)
        kept[:, :, *(slice(start, None, every) for start, every in axes)] = True
        return kept


@dataclass(frozen=True)
class TrackMask(Mask):
    r"""Moving mask, the swath of a satellite: at time :math:`t` of the window it keeps the sites

    .. math:: (i_a + s\, j - p - v t) \bmod n_a < w ,

    with :math:`i_a` the number of the site along axis :math:`a` of :math:`n_a` sites, and :math:`j` that along the
    other one. In one dimension that is a window which moves around the ring; in two a band across the grid.

    Args:
        width: The width :math:`w` of the swath along its axis, in sites.
        speed: The sites :math:`v` that it moves along its axis in a step; backwards if negative.
        axis: The axis :math:`a` that it moves along, of those of the grid, from 0.
        slope: The sites :math:`s` that it is sheared by along its axis, for each site of the other one. A band is
            continuous across the periodic edge of the other axis if this takes it around its own axis a whole number
            of times.
        start: Its first site :math:`p` at the start of the window; null draws it anew for each case.
    """

    width: int
    speed: float = 1.0
    axis: int = 0
    slope: float = 0.0
    start: float | None = None

    def __post_init__(self) -> None:
        """Checks that the swath has a width and an axis."""
        if self.width < 1:
            raise ValueError(f"width: must be at least 1 site, not {self.width}")
        if self.axis not in (0, 1):
            raise ValueError(f"axis: must be 0 or 1, not {self.axis}")

    def check(self, window: int, shape: Sequence[int]) -> None:
        """Checks that there is a grid with the axis, that the swath fits it, and is sheared in two dimensions alone."""
        check_grid(shape)
        grid = shape[1:]
        if self.axis >= len(grid):
            raise ValueError(f"axis: {self.axis} is none of a grid of {sized(grid)} sites; choose 0")
        if self.width > grid[self.axis]:
            raise ValueError(f"width: {self.width} is more than the {grid[self.axis]} sites of axis {self.axis}")
        if self.slope and len(grid) == 1:
            raise ValueError(f"slope: a window on a ring has none, not {self.slope}; remove it")

    def __call__(self, batch: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
        """Draws masks of shape ``(*batch, window, 1, *grid)``, or ``(window, 1, *grid)`` from a given start."""
        self.check(window, shape)
        grid = shape[1:]
        size = grid[self.axis]
        along = torch.arange(size, dtype=torch.float64)
        if len(grid) == 2:
            across = self.slope * torch.arange(grid[1 - self.axis], dtype=torch.float64)
            along = along[:, None] + across if self.axis == 0 else along + across[:, None]
        first = self._first(batch, size).unsqueeze(-1) + self.speed * torch.arange(window, dtype=torch.float64)
        # Rounded, or errors of rounding would decide what lies on an edge.
        ahead = (along - append_dims(first, 1 + len(grid))).round(decimals=9)
        return ahead.remainder(size) < self.width

    def _first(self, batch: Sequence[int], size: int) -> Tensor:
        """The first sites at the start of the window, with shape ``(*batch,)``, or one for all."""
        if self.start is not None:
            return torch.tensor(self.start, dtype=torch.float64)
        return size * torch.rand(tuple(batch), dtype=torch.float64)


@dataclass(frozen=True)
class RingMask(Mask):
    r"""Ring on a periodic plane, which keeps the sites at a distance :math:`|d - r| < w / 2` from its centre.

    Args:
        radius: The radius :math:`r`, in sites.
        width: The width :math:`w`, in sites.
        centre: The row and the column of its centre, in sites; null for the middle of the grid.
    """

    radius: float
    width: float = 2.0
    centre: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Checks radius and width."""
        if self.radius < 0 or self.width <= 0:
            raise ValueError(
                f"radius, width: must not be negative, and the width not zero, not {self.radius:g} and {self.width:g}"
            )

    def check(self, window: int, shape: Sequence[int]) -> None:
        """Checks that there is a grid of two axes, and that the ring has sites on it."""
        grid = shape[1:]
        if len(grid) != 2:
            raise ValueError(f"observations of shape {tuple(shape)} have no plane for a ring; choose another mask")
        if not self._kept(grid).any():
            raise ValueError(
                f"radius: no site of {sized(grid)} lies on a ring of radius {self.radius:g} and width {self.width:g}; "
                "make it wider"
            )

    def __call__(self, batch: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
        """The same mask for all, of shape ``(1, 1, *grid)``."""
        self.check(window, shape)
        return self._kept(shape[1:]).view(1, 1, *shape[1:])

    def _kept(self, grid: Sequence[int]) -> Tensor:
        """The sites of the ring, with the shape of the grid."""
        centre = per_axis("centre", [size / 2 for size in grid] if self.centre is None else self.centre, grid)
        away = []
        for size, middle in zip(grid, centre, strict=True):
            apart = (torch.arange(size, dtype=torch.float64) - middle).remainder(size)
            away.append(torch.minimum(apart, size - apart))
        return (torch.hypot(away[0][:, None], away[1]) - self.radius).abs() < self.width / 2


@dataclass(frozen=True)
class ChannelMask(Mask):
    """Mask of channels, which keeps some of the observations' channels; the others are missing at all times.

    Args:
        channels: The channels, by their numbers from 0; in experiment files also by their names.
    """

    channels: Sequence[int] | Sequence[str]

    def check(self, window: int, shape: Sequence[int]) -> None:
        """Checks that observations have the channels."""
        check_channels(self.channels, shape)

    def __call__(self, batch: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
        """The same mask for all, of shape ``(1, channel, 1, …)``."""
        kept = torch.zeros((1, shape[0], *([1] * len(shape[1:]))), dtype=torch.bool)
        kept[:, list(check_channels(self.channels, shape))] = True
        return kept


def check_lattice(every: int, start: int) -> None:
    """Checks that a lattice has a positive spacing, and starts at its first entry or later."""
    if every < 1 or start < 0:
        raise ValueError(f"every: {every} from start: {start} is no lattice; needs every >= 1 and start >= 0")


def check_grid(shape: Sequence[int]) -> None:
    """Checks that observations of an event shape are on a grid."""
    if not shape[1:]:
        raise ValueError(
            f"observations of shape {tuple(shape)} have no grid; choose the mask 'channels', or the operator"
        )
