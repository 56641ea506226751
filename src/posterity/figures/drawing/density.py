"""Densities of draws along one coordinate: kernel estimates, their intervals and panels."""

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from math import ceil, floor, log10

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import style

#: The fewest distinct draws for which the density of a reference is drawn.
DISTINCT = 10

#: The number of places at which densities are evaluated.
PLACES = 160

#: The probability left out at each end of an axis.
TAIL = 0.002

#: The fewest draws for which the robust scale allows for several modes.
MANY = 200

#: The height at which peaks are cut, over that of the reference.
TALLEST = 2.0

#: The number of characters that fit below a small panel, and the leading digits of steps between ticks.
ROOM, DIGITS = 8, (1, 0.5, 0.4, 0.3, 0.2, 0.15)

#: The dashes of lines that mark the truth.
TRUTH_LINE = (0, (3, 1.5))


def scale(draws: np.ndarray) -> float:
    r"""A robust standard deviation that several modes do not inflate.

    The lesser of the standard deviation and :math:`s / 0.771`, for the shortest interval :math:`s` that holds three
    tenths of the draws, which up to three modes of equal weight do not widen; for fewer than 200 draws,
    :math:`s / 1.349` for half of them. Both are the standard deviation for a Gaussian.

    Args:
        draws: Finite draws, with shape ``(sample,)``.

    Returns:
        The scale; zero if all draws are equal.

    References:
        | After a robust scale estimator based on the shortest half (Rousseeuw & Leroy, 1988),
          https://doi.org/10.1111/j.1467-9574.1988.tb01224.x
    """
    # The shortest of many intervals is short by chance: of few draws, a larger part is safer.
    part, width = (3 * len(draws) // 10, 0.771) if len(draws) >= MANY else (len(draws) // 2, 1.349)
    ordered = np.sort(draws)
    shortest = float((ordered[part:] - ordered[: len(draws) - part]).min()) / width
    std = float(draws.std())
    return min(std, shortest) if shortest > 0 else std


def density(draws: np.ndarray, places: np.ndarray) -> np.ndarray:
    r"""A Gaussian kernel estimate with bandwidth :math:`0.9\,\sigma n^{-1/5}`, for the :func:`scale` :math:`\sigma`.

    Args:
        draws: Finite draws, not all equal, with shape ``(sample,)``.
        places: The places at which to evaluate it.

    Returns:
        The density, in inverse units of the draws.

    References:
        | Density Estimation for Statistics and Data Analysis (Silverman, 1986), equation 3.31.
    """
    width = 0.9 * scale(draws) * len(draws) ** -0.2
    kernels = np.exp(-0.5 * ((places[:, None] - draws) / width) ** 2)
    found: np.ndarray = kernels.mean(axis=1) / (width * np.sqrt(2 * np.pi))
    return found


def extent(draws: Sequence[np.ndarray], truth: float) -> tuple[float, float]:
    """The interval over which densities are drawn, wide enough for the reference, the truth and most methods.

    Args:
        draws: The draws of the reference, then those of each method; NaN is left out.
        truth: The true value; NaN if there is none.

    Returns:
        Its ends.
    """
    known = [values[np.isfinite(values)] for values in draws]
    known = [values for values in known if values.size]
    if not known:
        return (-1.0, 1.0) if np.isnan(truth) else (truth - 1, truth + 1)
    ends = np.array([np.quantile(values, (TAIL, 1 - TAIL)) for values in known])
    # One poor method must not squeeze all others into a line.
    low, high = min(ends[0, 0], np.median(ends[:, 0])), max(ends[0, 1], np.median(ends[:, 1]))
    # A truth of NaN changes nothing.
    low, high = np.fmin(low, truth), np.fmax(high, truth)
    margin = 0.08 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def equal(draws: np.ndarray, ends: tuple[float, float]) -> bool:
    """Whether the spread of finite draws is too small to be seen on an interval."""
    return scale(draws) < 1e-3 * (ends[1] - ends[0])


def draw_density(axes: Axes, draws: np.ndarray, ends: tuple[float, float], colour: str, line: str = "-") -> None:
    """Draws the density of a method: a curve, or a line where all draws are equal. Nothing where there are none.

    Args:
        axes: The panel.
        draws: The draws; NaN is left out.
        ends: The interval.
        colour: The colour of the method.
        line: Its line style.
    """
    draws = draws[np.isfinite(draws)]
    if not draws.size:
        return
    if equal(draws, ends):
        axes.axvline(draws[0], color=colour, linestyle=line)
        return
    places = np.linspace(*ends, PLACES)
    axes.plot(places, density(draws, places), color=colour, linestyle=line, linewidth=1.0)


def draw_reference(axes: Axes, draws: np.ndarray, ends: tuple[float, float]) -> None:
    """Draws the density of the reference as a grey area, and ends the vertical axis above it.

    Methods with higher peaks are cut there, since areas are compared, not peaks. A few draws, repeated, have no
    density: their spike would flatten every method.

    Args:
        axes: The panel.
        draws: The draws; NaN is left out.
        ends: The interval.
    """
    draws = draws[np.isfinite(draws)]
    if np.unique(draws).size < DISTINCT or equal(draws, ends):
        return
    places = np.linspace(*ends, PLACES)
    heights = density(draws, places)
    axes.fill_between(places, heights, color=style.REFERENCE_FILL, linewidth=0)
    axes.set_ylim(0, TALLEST * heights.max())


def draw_truth(line: Callable[..., Line2D], truth: float) -> None:
    """Marks the truth, if it is known, by ``axvline`` or ``axhline`` of a panel."""
    if np.isfinite(truth):
        line(truth, color=style.TRUTH, linewidth=0.8, linestyle=TRUTH_LINE)


def handles(truth: bool, reference: str = style.REFERENCE) -> dict[str, Artist]:
    """The entries of a legend, since methods are told apart by their places: reference, any method, truth if known."""
    entries: dict[str, Artist] = {
        reference: Patch(color=style.REFERENCE_FILL, linewidth=0),
        "method": Line2D([], [], color=style.looks(["any"])["any"].colour, linewidth=1.0),
    }
    if truth:
        entries["truth"] = Line2D([], [], color=style.TRUTH, linewidth=0.8, linestyle=TRUTH_LINE)
    return entries


def bare(axes: Axes, ends: tuple[float, float], below: bool) -> None:
    """Removes all borders of a density's panel but the lower one, which has tick labels if it is the lowest panel."""
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.set_xlim(*ends)
    axes.set_xticks(*ticks(ends))
    axes.tick_params(labelbottom=below, length=1.5, pad=1.5)


def ticks(ends: tuple[float, float], upright: bool = False) -> tuple[list[float], list[str]]:
    """Two or three round numbers in a panel too small for more, whose labels overlap neither each other nor neighbours.

    Args:
        ends: The interval of the panel.
        upright: Whether it is that of a vertical axis, along which all labels are two characters high.

    Returns:
        The numbers and their labels; a single one if there is no room for two.
    """
    character = (ends[1] - ends[0]) / ROOM
    largest = 10 ** ceil(log10(ends[1] - ends[0]))
    single: dict[float, str] = {}
    steps = [digit * largest / 10**power for power in range(3) for digit in DIGITS]
    # Labels inside the panel, or else a little beyond it.
    for margin, step in product((0.5, 0.35), steps):
        places = [round(k * step, 12) for k in range(ceil(ends[0] / step), floor(ends[1] / step) + 1)]
        names = {place: f"{place + 0:.6g}".replace("-", "−") for place in places}
        # A minus is wider than a digit, and a point narrower.
        widths = {p: len(name) + 0.3 * name.count("−") - 0.5 * name.count(".") for p, name in names.items()}
        sizes = dict.fromkeys(places, 2.0) if upright else widths
        fitting = [p for p in places if min(p - ends[0], ends[1] - p) > margin * sizes[p] * character]
        # Of numbers that are too close, the first and the last.
        for chosen in (fitting, fitting[:: max(1, len(fitting) - 1)]):
            apart = [((sizes[p] + sizes[q]) / 2 + 0.3) * character for p, q in pairwise(chosen)]
            if apart and (np.diff(chosen) > apart).all():
                return chosen, [names[p] for p in chosen]
        single = single or {p: names[p] for p in fitting[:1]}
    return list(single), list(single.values())


def hatch(axes: Axes) -> None:
    """Marks a panel for which a method has no draws."""
    axes.set_facecolor(style.MISSING)
    axes.patch.set_hatch("//////")
