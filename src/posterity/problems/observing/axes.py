"""Options of the axes of a grid: one number for all of them, or one for each."""

from collections.abc import Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)


def per_axis(name: str, value: Number | Sequence[Number], grid: Sequence[int]) -> tuple[Number, ...]:
    """The values of an option along the axes of a grid.

    Args:
        name: The name of the option, for messages.
        value: A number for all axes, or one for each.
        grid: The numbers of sites along the axes.

    Raises:
        ValueError: If there is no grid, or there are not as many numbers as axes.
    """
    if not grid:
        raise ValueError(f"{name}: there is no grid, only channels; choose 'channels', for operators and masks")
    values = (value,) * len(grid) if isinstance(value, int | float) else tuple(value)
    if len(values) != len(grid):
        raise ValueError(
            f"{name}: needs a number, or one for each of the {len(grid)} axes of a grid of {sized(grid)} sites, not "
            f"{list(values)}"
        )
    return values


def sized(grid: Sequence[int]) -> str:
    """The size of a grid, in words."""
    return " × ".join(map(str, grid))
