"""Labels beside points, placed so that they overlap neither each other nor the points."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

#: Height and mean width of a character, and the distance from a point, in points.
HEIGHT, WIDTH, AWAY = 8.5, 4.4, 4.5

#: Directions in which a label may stand from its point, the best first.
DIRECTIONS = ((1, 0), (-1, 0), (0.7, 1), (0.7, -1), (-0.7, 1), (-0.7, -1), (0, 1), (0, -1))

#: Distances that are tried, nearest first.
STEPS = (1.0, 2.2, 3.6, 5.0, 6.5, 8.5, 11.0, 14.0)


def put_labels(
    axes: Axes, points: np.ndarray, errors: np.ndarray, names: Sequence[str], colours: Sequence[str]
) -> None:
    """Puts a label beside each point, with a thin line to it if it is far away.

    Each label takes, in order, the place with the least overlap with the points and their bars, the labels before it
    and the border.

    Args:
        axes: The panel, with its scales set; its limits are fixed.
        points: The points, in data coordinates, with shape ``(point, 2)``.
        errors: The half-lengths of their vertical bars, with shape ``(point,)``; NaN where there is none.
        names: Their names.
        colours: Their colours.
    """
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    scale = 72 / axes.figure.dpi
    places = axes.transData.transform(points) * scale
    lengths = np.outer(np.nan_to_num(errors), (0, 1))
    frame = axes.get_window_extent().get_points().ravel() * scale
    # On a logarithmic axis, bars may reach to minus infinity.
    ends = [axes.transData.transform(points + sign * lengths) * scale for sign in (-1, 1)]
    bars = np.hstack([np.clip(end, frame[:2], frame[2:]) for end in ends])
    taken = [np.r_[place - AWAY / 2, place + AWAY / 2] for place in places]
    taken += list(bars + np.array([-1, 0, 1, 0]))
    for point, place, name, colour in zip(points, places, names, colours, strict=True):
        size = np.array([WIDTH * len(name), HEIGHT])
        boxes = [_box(place, size, np.array(direction), step) for step in STEPS for direction in DIRECTIONS]
        costs = [sum(_overlap(box, other) for other in taken) + 4 * _outside(box, frame) for box in boxes]
        # Farther places cost more.
        chosen = boxes[int(np.argmin([cost + 2.0 * (i // len(DIRECTIONS)) for i, cost in enumerate(costs)]))]
        taken.append(chosen)
        middle = (chosen[:2] + chosen[2:]) / 2 - place
        far = np.abs(middle).max() > AWAY * 2 + size[0] / 2
        axes.annotate(
            name,
            point,
            middle,
            textcoords="offset points",
            ha="center",
            va="center",
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
            if far
            else None,
        )


def _box(place: np.ndarray, size: np.ndarray, direction: np.ndarray, step: float) -> np.ndarray:
    """The box of a label in a direction from its point: left, bottom, right, top."""
    middle = place + direction * (AWAY * step + size / 2)
    return np.r_[middle - size / 2, middle + size / 2]


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
    """The area that two boxes share."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)))


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    """The area of a box outside the axes."""
    return float(np.prod(box[2:] - box[:2])) - _overlap(box, frame)
