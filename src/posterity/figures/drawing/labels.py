"""Labels beside points, placed so that they overlap neither each other nor the points; names in several lines."""

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

#: Height and mean width of a character, and the distance from a point, in points.
HEIGHT, WIDTH, AWAY = 8.5, 4.4, 4.5

#: The width of the sample of a line beside a name in a legend, with the gaps around it, in points.
SAMPLE = 32.0

#: Directions in which a label may stand from its point, the best first.
DIRECTIONS = (
    *((1, 0), (-1, 0), (0.7, 1), (0.7, -1), (-0.7, 1), (-0.7, -1), (0, 1), (0, -1)),
    *((1, 0.7), (1, -0.7), (-1, 0.7), (-1, -0.7), (0.3, 1), (0.3, -1), (-0.3, 1), (-0.3, -1)),
)

#: Distances that are tried, nearest first.
STEPS = (1.0, 2.2, 3.6, 5.0, 6.5, 8.5, 11.0, 14.0)

#: How often all labels are placed, and the cost of a line across another label or point, as that of an overlap.
SWEEPS, CROSSING = 3, 60.0

#: Half the side of the squares that stand for the lines of other labels.
DOT = 3.0

#: The cost of an overlap with a point, as that of one with another label: a point that is hidden cannot be read at all.
HIDDEN = 10.0


def wrapped(name: str, width: float) -> str:
    """A name, broken at hyphens and spaces into lines that fit a panel of some width in inches."""
    lines = [""]
    for part in re.split(r"(?<=[- ])", name):
        fits = not lines[-1] or WIDTH * len((lines[-1] + part).rstrip()) <= 72 * width
        lines[-1:] = [lines[-1] + part] if fits else [lines[-1], part]
    return "\n".join(line.rstrip() for line in lines)


def columns(names: Sequence[str], width: float) -> int:
    """The most columns, up to six, of a legend of some width in inches that has room for the longest of some names."""
    widest = (WIDTH * max(map(len, names)) + SAMPLE) / 72
    return max(1, min(len(names), 6, int(width / widest)))


def put_labels(
    axes: Axes, points: np.ndarray, errors: np.ndarray, names: Sequence[str], colours: Sequence[str]
) -> None:
    """Puts a label beside each point, with a thin line to it if it is far away.

    Each label takes, in turn, the place with the least overlap with the points and their bars, the other labels and the
    border; a second turn makes use of what others have left.

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
    sizes = [np.array([WIDTH * len(name), HEIGHT]) for name in names]
    boxes: list[np.ndarray] = []
    for _ in range(SWEEPS):
        for index, (place, size) in enumerate(zip(places, sizes, strict=True)):
            others = [number for number in range(len(boxes)) if number != index]
            dots = [dot for number in others for dot in _leader(places[number], boxes[number])]
            here = [*taken, *(boxes[number] for number in others), *(np.r_[dot - DOT, dot + DOT] for dot in dots)]
            weights = np.where(np.arange(len(here)) < len(places), HIDDEN, 1.0)
            boxes[index : index + 1] = [_best(place, size, np.array(here), weights, frame)]
    for point, place, box, name, colour in zip(points, places, boxes, names, colours, strict=True):
        near = np.clip(place, box[:2], box[2:])
        # A line leads to the nearest edge of all labels but those beside their points.
        far = np.abs(near - place).max() > 1.5 * AWAY
        corner = tuple((near - box[:2]) / (box[2:] - box[:2]))
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2, "relpos": corner}
        text = axes.annotate(
            name,
            point,
            (box[:2] + box[2:]) / 2 - place,
            textcoords="offset points",
            ha="center",
            va="center",
            color=colour,
            arrowprops=arrow if far else None,
        )
        text.set_path_effects([withStroke(linewidth=1.5, foreground="white")])


def _best(place: np.ndarray, size: np.ndarray, taken: np.ndarray, weights: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The box of a label that overlaps the least with what is there, itself and the line that leads to it."""
    boxes = [_box(place, size, np.array(direction), step) for step in STEPS for direction in DIRECTIONS]
    costs = []
    for index, box in enumerate(boxes):
        # Farther places cost more.
        cost = 4 * _outside(box, frame) + 4.0 * (index // len(DIRECTIONS)) + weights @ _overlap(box, taken)
        line = _leader(place, box)[:, None]
        crossed = ((line > taken[:, :2]) & (line < taken[:, 2:])).all(axis=2).any(axis=0).sum()
        costs.append(cost + CROSSING * crossed)
    return boxes[int(np.argmin(costs))]


def _leader(place: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Points of the line from a point to the nearest edge of its label, those at the point itself left out."""
    line = place + np.linspace(0, 1, 16)[1:, None] * (np.clip(place, box[:2], box[2:]) - place)
    found: np.ndarray = line[np.abs(line - place).max(axis=1) > AWAY]
    return found


def _box(place: np.ndarray, size: np.ndarray, direction: np.ndarray, step: float) -> np.ndarray:
    """The box of a label in a direction from its point: left, bottom, right, top."""
    middle = place + direction * (AWAY * step + size / 2)
    return np.r_[middle - size / 2, middle + size / 2]


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The areas that a box shares with others, with shape ``(other,)``."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    areas: np.ndarray = np.maximum(sides, 0).prod(axis=1)
    return areas


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    """The area of a box outside the axes."""
    return float(np.prod(box[2:] - box[:2]) - _overlap(box, frame[None])[0])
