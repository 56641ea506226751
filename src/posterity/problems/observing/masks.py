"""Masks of observed entries. Several apply together: an entry must pass all of them."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
        every: The number of sites :math:`k` from one observed site to the next.
        start: The first observed site.
    """

    every: int = 2
    start: int = 0

    def __post_init__(self) -> None:
        """Checks spacing and start."""
        check_lattice(self.every, self.start)

    def check(self, window: int, shape: Sequence[int]) -> None:
        """Checks that there is a grid, and that the first observed site lies on it."""
        if not shape[1:]:
            raise ValueError(
                f"observations of shape {tuple(shape)} have no grid; choose the mask 'channels', or the operator"
            )
        if self.start >= min(shape[1:]):
            raise ValueError(f"start: {self.start} lies behind a grid of {' × '.join(map(str, shape[1:]))} sites")

    def __call__(self, batch: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
        """The same mask for all, of shape ``(1, 1, *grid)``."""
        self.check(window, shape)
        grid = shape[1:]
        kept = torch.zeros((1, 1, *grid), dtype=torch.bool)
        kept[:, :, *[slice(self.start, None, self.every)] * len(grid)] = True
        return kept


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
