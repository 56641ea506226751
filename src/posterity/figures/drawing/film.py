"""A figure that moves."""

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure


class Film(NamedTuple):
    """A figure that moves: as it is, it shows the picture that stands for all.

    Args:
        figure: The figure.
        frames: The number of pictures.
        show: Makes the figure show one of them, by its number.
    """

    figure: Figure
    frames: int
    show: Callable[[int], None]
