"""Expected coverage of credible regions against their credibility."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import PosterityError
from .drawing import style
from .drawing.labels import columns
from .drawing.panels import judged, methods_of

#: The ranks of the truth that give curves, and the names of their regions.
RANKS: Mapping[str, str] = {"hpd_rank": "regions of highest density", "tarp_rank": "balls about random points (TARP)"}

#: The levels at which curves and bands are drawn.
LEVELS = np.linspace(0, 1, 101)


class Curve(NamedTuple):
    """A method's coverage, the credibilities of its regions, and the number of cases."""

    levels: np.ndarray
    coverage: np.ndarray
    cases: int


@style.styled
def expected_coverage(metrics: xr.Dataset, window: int, cycles: int = 1, burn_in: int = 0) -> Figure:
    r"""Draws how often credible regions hold the truth, against how often they should.

    A calibrated method lies on the diagonal, and below it if it is overconfident. The band is where 95 % of the
    curves of calibrated methods lie at each level, :math:`\alpha \pm 1.96 (\alpha (1 - \alpha) / n)^{1/2}` for
    :math:`n` cases. Central intervals are those of every entry of the state, at the window's end (or over a cycling
    record after its burn-in): for them the band is too wide, unless all entries of a case move together.

    Args:
        metrics: The metrics of all methods, with some of ``hpd_rank``, ``tarp_rank`` and ``coverage``.
        window: The number of assimilated states.
        cycles: The number of windows that they are made of.
        burn_in: The number of windows that averages over several leave out.

    Returns:
        The figure: a panel for each kind of region.

    Raises:
        PosterityError: If there was no truth to compare with.
    """
    panels = {
        title: {method: _ranked(metrics[name].sel({"method": method}).values) for method in methods_of(metrics)}
        for name, title in RANKS.items()
        if name in metrics
    }
    if "coverage" in metrics:
        panels["central intervals of each entry"] = _central(
            metrics["coverage"].isel(time=judged(window, cycles, burn_in))
        )
    panels = {title: {name: c for name, c in own.items() if c.cases} for title, own in panels.items()}
    panels = {title: own for title, own in panels.items() if own}
    if not panels:
        raise PosterityError("figure 'expected_coverage': there is no coverage to draw; it needs a truth: leave it out")
    looks = style.looks(methods_of(metrics))
    shown = [method for method in looks if any(method in own for own in panels.values())]
    names = [*shown, "95 % if calibrated"]
    entries = columns(names, style.WIDTH)
    figure = style.canvas(2.45 + 0.15 * -(-len(names) // entries))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (title, curves) in zip(axes, panels.items(), strict=True):
        _panel(panel, curves, looks)
        panel.set_title(title)
    axes[0].set_ylabel("expected coverage (fraction)")
    lines = {label: line for panel in axes for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend([lines[name] for name in names], names, loc="outside lower center", ncols=entries)
    return figure


def _ranked(ranks: np.ndarray) -> Curve:
    """The share of cases whose rank is at most each level."""
    known = np.sort(ranks[np.isfinite(ranks)])
    return Curve(LEVELS, np.searchsorted(known, LEVELS, side="right") / max(1, len(known)), len(known))


def _central(coverage: xr.DataArray) -> dict[str, Curve]:
    """The mean coverage of central intervals over times and cases, of each method."""
    levels = coverage["level"].values
    known = coverage.notnull().any(["time", "level"]).sum("case")
    average = coverage.mean(["time", "case"]).transpose("method", "level")
    return {
        str(method): Curve(levels, own, int(cases))
        for method, own, cases in zip(coverage["method"].values, average.values, known.values, strict=True)
    }


def _panel(axes: Axes, curves: Mapping[str, Curve], looks: Mapping[str, style.Look]) -> None:
    """Draws the curves of all methods that have them, over the band of the fewest cases."""
    error = 1.96 * np.sqrt(LEVELS * (1 - LEVELS) / min(curve.cases for curve in curves.values()))
    band = np.clip(LEVELS - error, 0, 1), np.clip(LEVELS + error, 0, 1)
    axes.fill_between(LEVELS, *band, color=style.REFERENCE_FILL, alpha=0.7, linewidth=0, label="95 % if calibrated")
    axes.plot([0, 1], [0, 1], color="0.5", linewidth=0.6)
    for index, (method, curve) in enumerate(curves.items()):
        look = looks[method]
        line = axes.plot(curve.levels, curve.coverage, color=look.colour, linestyle=look.line, label=method)[0]
        # Markers of different methods stand at different levels.
        every = max(1, len(curve.levels) // 5)
        line.set(linewidth=0.9, marker=look.marker, markerfacecolor=look.face, markevery=(3 * index % every, every))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="credibility (fraction)")
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
