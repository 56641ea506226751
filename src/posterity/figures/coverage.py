"""Calibration: coverage of central intervals, and rank histograms."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import style
from .drawing.labels import columns
from .drawing.panels import counted, end_at, methods_of, moments, need

#: Rank histograms beside each other; more are wrapped.
ACROSS = 5

#: The frequency, over the expected one, at which histograms end; higher bars are labelled with their height.
TOP = 3.0

#: The moments in the rank histograms.
MOMENTS = {"start": ("#440154", "-"), "window end": ("#21908c", "--"), "forecast end": ("#e08a00", "-.")}


@style.styled
def coverage(metrics: xr.Dataset, window: int) -> Figure:
    """Draws nominal against observed coverage at up to three moments, and the rank histogram of each method.

    A calibrated method lies on the diagonal, and its histogram on the line at one; below the diagonal, or with a
    histogram shaped like a U, it is overconfident.

    Args:
        metrics: The metrics of all methods, with ``coverage`` and ``rank_histogram``.
        window: The number of assimilated states.

    Returns:
        The figure.

    Raises:
        PosterityError: If there was no truth to compare with.
    """
    remedy = "leave this figure out: calibration needs a truth"
    need(metrics, ("coverage", "rank_histogram"), "coverage", remedy)
    methods, found = methods_of(metrics), moments(metrics.sizes["time"], window)
    labels = counted(metrics["coverage"])
    entries = columns(list(labels.values()), style.WIDTH)
    across, key = min(len(methods), ACROSS), 0.17 * -(-len(methods) // entries)
    down = -(-len(methods) // across)
    heights = [2.35 + key, 0.5 + 0.85 * down]
    figure = style.canvas(sum(heights))
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    panels = upper.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    observed = metrics["coverage"].isel(time=list(found.values())).mean("case").load()
    lowest = max(0.0, min(float(observed.min()), float(observed["level"].min())) - 0.05)
    for place, (panel, moment) in enumerate(zip(panels, found, strict=True)):
        _reliability(panel, observed.isel(time=place), labels)
        panel.set(title=moment, xlim=(lowest, 1.02), ylim=(lowest, 1.02))
    panels[0].set_ylabel("observed coverage (fraction)")
    upper.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=entries)
    histograms = lower.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for panel in histograms.flat[len(methods) :]:
        panel.set_axis_off()
    for index, (panel, method) in enumerate(zip(histograms.flat, methods, strict=False)):
        _ranks(panel, metrics["rank_histogram"].isel(method=index).sum("case", min_count=1), found)
        panel.set_title(method)
    lower.supxlabel("rank of the truth among the draws (fraction)", fontsize=7)
    lower.supylabel("frequency / expected", fontsize=7)
    lower.legend(*histograms[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(found) + 1)
    return figure


def _reliability(axes: Axes, observed: xr.DataArray, labels: Mapping[str, str]) -> None:
    """Draws the coverage of every method at one moment, against the nominal one."""
    nominal = observed["level"].values
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.6)
    for index, (method, look) in enumerate(style.looks(list(labels)).items()):
        values = observed.isel(method=index).values
        line = axes.plot(nominal, values, color=look.colour, linestyle=look.line, label=labels[method])[0]
        line.set(marker=look.marker, markerfacecolor=look.face)
    axes.set_xlabel("nominal coverage (fraction)")
    axes.locator_params(nbins=4)


def _ranks(axes: Axes, counts: xr.DataArray, found: Mapping[str, int]) -> None:
    """Draws the rank histogram of one method at each moment, over the count of a calibrated one."""
    axes.axhline(1, color="0.6", linewidth=0.6, linestyle=":", label="expected")
    heights = []
    for moment, time in found.items():
        values = counts.isel(time=time).values
        # Methods with fewer draws than others may have fewer bins, and NaN behind them.
        values = values[np.isfinite(values)]
        colour, line = MOMENTS[moment]
        if values.sum():
            bins = np.linspace(0, 1, len(values) + 1)
            heights.append(values / values.mean())
            axes.stairs(heights[-1], bins, color=colour, linestyle=line, linewidth=0.8, label=moment)
    axes.set(xlim=(0, 1), yticks=(0, 1, 2, 3))
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    end_at(axes, TOP, heights)
