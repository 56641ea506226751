"""Accuracy against cost: every method is a point."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..metrics import standard_error
from .drawing import style
from .drawing.labels import put_labels
from .drawing.panels import counted, judged, methods_of, need

#: Height of the panels and of the labels below, and the width left of each, in inches.
PANEL, FOOT, LEFT = 2.6, 0.42, 0.64

#: The ratio of the worst score to the best above which scores are drawn on a logarithmic scale.
RANGE = 5.0

#: Longer labels of the vertical axis take two lines.
LONG = 45


@style.styled
def accuracy_cost(metrics: xr.Dataset, window: int, cycles: int = 1, burn_in: int = 0) -> Figure:
    """Draws the CRPS of each method, and its distance to the reference if there is one, against its time per case.

    Scores are those at the window's end, or over a cycling record after its burn-in, with bars of one standard error
    over cases. The grey line joins the methods that no other beats in both: the Pareto front. The dotted one is the
    distance between runs of the reference; below it methods cannot be told from it. A method that is scored in some
    cases only has their number beside its name.

    Args:
        metrics: The metrics of all methods, with ``info_seconds``, ``crps`` (or ``spread`` without a truth) and, if
            there is a reference, ``sliced_wasserstein`` and ``sliced_wasserstein_floor``.
        window: The number of assimilated states.
        cycles: The number of windows that they are made of.
        burn_in: The number of windows that averages over several leave out.

    Returns:
        The figure.

    Raises:
        PosterityError: If there are neither scores nor costs.
    """
    need(metrics, ("info_seconds", "spread"), "accuracy_cost", "draw and evaluate the methods again")
    names = {"crps": "CRPS", "sliced_wasserstein": "sliced Wasserstein distance"}
    shown = {name: label for name, label in names.items() if name in metrics} or {"spread": "spread"}
    times = judged(window, cycles, burn_in)
    seconds = metrics["info_seconds"].transpose("method", "case").mean("case").values
    methods, height = methods_of(metrics), PANEL + FOOT + 0.1
    figure = Figure(figsize=(style.WIDTH, height))
    width = min((style.WIDTH - 0.05) / len(shown), 5.0) - LEFT
    for place, (name, label) in enumerate(shown.items()):
        start = LEFT + place * (width + LEFT) + (style.WIDTH - len(shown) * (width + LEFT)) / 2
        left, below = start / style.WIDTH, FOOT / height
        axes = figure.add_axes((left, below, (width - 0.05) / style.WIDTH, PANEL / height))
        score = metrics[name].isel(time=times).mean("time").transpose("method", "case")
        if f"{name}_floor" in metrics:
            floor = float(metrics[f"{name}_floor"].isel(time=times).mean())
            axes.axhline(floor, color="0.5", linewidth=0.8, linestyle=":", zorder=0)
            label = f"{label}, dotted: between runs"
        _panel(axes, methods, seconds, style.quantity(label, metrics[name]), score)
    return figure


def _panel(axes: Axes, methods: Sequence[str], seconds: np.ndarray, label: str, score: xr.DataArray) -> None:
    """Draws one score ``(method, case)`` of all methods that have it, with errors of its means over cases."""
    means, errors = score.mean("case").values, standard_error(score).values
    known = np.isfinite(means) & np.isfinite(seconds) & (seconds > 0)
    at = np.flatnonzero(known).tolist()
    front = pareto(seconds[known], means[known])
    axes.plot(seconds[known][front], means[known][front], color="0.75", linewidth=3, zorder=0)
    looks = list(style.looks(methods).values())
    for index in at:
        axes.errorbar(
            seconds[index],
            means[index],
            errors[index] if np.isfinite(errors[index]) else None,
            color=looks[index].colour,
            marker=looks[index].marker,
            markerfacecolor=looks[index].face,
            markersize=4,
            elinewidth=0.7,
        )
    axes.set_xlabel("time per case, without training (s)")
    axes.set_ylabel(label if len(label) < LONG else label.replace(" (", "\n("))
    axes.margins(0.12)
    style.logarithmic(axes, "x")
    if known.any() and means[known].max() > RANGE * means[known].min() > 0:
        style.logarithmic(axes, "y")
    points = np.column_stack([seconds[known], means[known]])
    names = list(counted(score).values())
    put_labels(axes, points, errors[known], [names[index] for index in at], [looks[index].colour for index in at])


def pareto(costs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The methods that no other beats in both cost and score, from the cheapest on.

    Args:
        costs: The cost of each method, with shape ``(method,)``.
        scores: Its score, the less the better, with the same shape.

    Returns:
        Their indices, with shape ``(kept,)``.
    """
    order = np.lexsort((scores, costs))
    best = np.minimum.accumulate(scores[order])
    first = np.r_[True, best[1:] < best[:-1]][: len(order)]
    return order[first]
