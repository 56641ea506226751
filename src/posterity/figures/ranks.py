"""Rank histograms of each method, with the band in which those of calibrated methods lie."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..errors import PosterityError
from .drawing import style
from .drawing.panels import end_at, judged, methods_of, need

#: Panels beside each other; more are wrapped.
ACROSS = 6

#: The frequency, over the expected one, at which panels end; higher bars are labelled with their height.
TOP = 3.0

#: The number of groups of counts whose scatter is estimated, and the fewest times of a group.
GROUPS, SHORTEST = 20, 10

#: The most bins of the ranks of parameters, and the cases that each of them should hold.
BINS, FILLED = 20, 5


class Histogram(NamedTuple):
    """A rank histogram over that of a calibrated method, and the half-width of the band about one."""

    heights: np.ndarray
    band: float


#: The histograms of each method, by the name of the ranked quantity.
Block = dict[str, dict[str, Histogram]]

#: Line styles of parameters.
LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


@style.styled
def ranks(metrics: xr.Dataset, window: int, cycles: int = 1, burn_in: int = 0) -> Figure:
    r"""Draws rank histograms of the states, and of parameters if there are any, with the 95 % band of uniform ones.

    States are judged at the window's end, or over a cycling record after its burn-in. Their entries and times depend
    on each other, so that their effective number is below the count :math:`n`: the band is
    :math:`\pm 1.96\,(d (k - 1) / n)^{1/2}` about one, for :math:`k` bins and the mean design effect :math:`d`, which
    is estimated from the scatter among cases (and blocks of a cycling record).

    Args:
        metrics: The metrics of all methods, with ``rank_histogram`` and, of parameters, ``parameter_rank``.
        window: The number of assimilated states.
        cycles: The number of windows that they are made of.
        burn_in: The number of windows that averages over several leave out.

    Returns:
        The figure: a panel of the states for each method, and one of the parameters.

    Raises:
        PosterityError: If there was no truth to compare with.

    References:
        | The analysis of categorical data from complex sample surveys (Rao & Scott, 1981),
          https://doi.org/10.1080/01621459.1981.10477633
    """
    need(metrics, ("rank_histogram",), "ranks", "leave this figure out: ranks need a truth")
    looks = style.looks(methods_of(metrics))
    blocks = [_of_states(metrics["rank_histogram"].isel(time=judged(window, cycles, burn_in)))]
    if "parameter_rank" in metrics:
        blocks.append(_of_parameters(metrics["parameter_rank"]))
    blocks = [block for block in blocks if block]
    if not blocks:
        raise PosterityError("figure 'ranks': every rank is NaN; look at the logs of the methods")
    across = min(max(map(len, blocks)), ACROSS)
    heights = [0.4 + 0.8 * -(-len(block) // across) for block in blocks]
    figure = style.canvas(0.3 + sum(heights))
    parts = np.atleast_1d(np.asarray(figure.subfigures(len(blocks), 1, height_ratios=heights)))
    for part, block in zip(parts, blocks, strict=True):
        _draw(part, block, across, looks)
    figure.supxlabel("rank of the truth among the draws (fraction)", fontsize=7)
    figure.supylabel("frequency / expected", fontsize=7)
    return figure


def _of_states(counts: xr.DataArray) -> Block:
    """The histograms of the states, of the methods that have them."""
    values = counts.transpose("method", "case", "time", "bin").values
    found = {method: _states(own) for method, own in zip(methods_of(counts.to_dataset()), values, strict=True)}
    return {method: {"states": histogram} for method, histogram in found.items() if histogram is not None}


def _of_parameters(ranks: xr.DataArray) -> Block:
    """The histograms of all parameters, of the methods that estimate them."""
    names = [str(name) for name in ranks["parameter"].values]
    values = ranks.transpose("method", "parameter", "case").values
    return {
        method: {name: _parameter(row) for name, row in zip(names, own, strict=True)}
        for method, own in zip(methods_of(ranks.to_dataset()), values, strict=True)
        if np.isfinite(own).any()
    }


def _states(counts: np.ndarray) -> Histogram | None:
    """The histogram of counts ``(case, time, bin)``, with the band that the scatter among groups of them gives."""
    # Methods with fewer draws than others have fewer bins, and NaN behind them.
    counts = counts[..., np.isfinite(counts).any(axis=(0, 1))]
    if not counts.size:
        return None
    cases, times, bins = counts.shape
    blocks = max(1, min(-(-GROUPS // cases), times // SHORTEST))
    groups = np.concatenate([part.sum(axis=1) for part in np.array_split(np.nan_to_num(counts), blocks, axis=1)])
    groups = groups[groups.sum(axis=1) > 0]
    total = groups.sum()
    share = groups.sum(axis=0) / total
    return Histogram(bins * share, 1.96 * np.sqrt(_design(groups, share) * (bins - 1) / total))


def _design(groups: np.ndarray, share: np.ndarray) -> float:
    """The mean design effect over bins: the variance of shares over that of independent counts."""
    count, sizes = len(groups), groups.sum(axis=1)
    largest = sizes.mean()
    if count < 3 or (share == 1).any():
        return float(largest)
    residuals = groups - sizes[:, None] * share
    variance = count / (count - 1) * (residuals**2).sum() / sizes.sum() ** 2
    independent = (share * (1 - share)).sum() / sizes.sum()
    # Entries that all move together count once; fewer than that, or more than all, is noise of the estimate.
    return float(np.clip(variance / independent, 1, largest))


def _parameter(ranks: np.ndarray) -> Histogram:
    """The histogram of the ranks of a parameter, a fraction of the draws for each case; cases are independent."""
    known = ranks[np.isfinite(ranks)]
    bins = int(np.clip(len(known) // FILLED, 2, BINS))
    heights = np.histogram(known, bins, (0, 1))[0] * bins / max(1, len(known))
    return Histogram(heights, 1.96 * float(np.sqrt((bins - 1) / max(1, len(known)))))


def _draw(part: SubFigure, block: Block, across: int, looks: Mapping[str, style.Look]) -> None:
    """Draws a panel for each method, with a legend of the ranked quantities and the band."""
    panels = part.subplots(-(-len(block) // across), across, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(block) :]:
        panel.set_axis_off()
    for index, (panel, (method, histograms)) in enumerate(zip(panels.flat, block.items(), strict=False)):
        panel.set_title(method)
        panel.tick_params(labelbottom=index + across >= len(block))
        _panel(panel, histograms, looks[method].colour)
    names = list(next(iter(block.values())))
    lines = [Line2D([], [], color="0.3", linestyle=line, linewidth=1.0) for line in LINES[: len(names)]]
    band = Patch(color=style.REFERENCE_FILL, linewidth=0)
    part.legend([*lines, band], [*names, "95 % if calibrated"], loc="outside upper center", ncols=len(names) + 1)


def _panel(axes: Axes, histograms: Mapping[str, Histogram], colour: str) -> None:
    """Draws the histograms of one method, over the band of calibrated ones."""
    band = max(histogram.band for histogram in histograms.values())
    axes.axhspan(1 - band, 1 + band, color=style.REFERENCE_FILL, alpha=0.7, linewidth=0)
    axes.axhline(1, color="0.4", linewidth=0.6, linestyle=":")
    for histogram, line in zip(histograms.values(), LINES, strict=False):
        edges = np.linspace(0, 1, len(histogram.heights) + 1)
        axes.stairs(histogram.heights, edges, color=colour, linestyle=line, linewidth=1.0)
    axes.set(xlim=(0, 1), yticks=(0, 1, 2, 3))
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    end_at(axes, TOP, [histogram.heights for histogram in histograms.values()])
