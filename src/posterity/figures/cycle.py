"""Error and spread along a cycling record."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import style
from .drawing.panels import counted, judged, methods_of, need

#: Running means are taken over the record's length divided by this number.
RUNNING = 40

#: The ratio of the largest value to the least above which a record is drawn on a logarithmic scale.
RANGE = 5.0


@style.styled
def cycle(metrics: xr.Dataset, window: int, cycles: int, burn_in: int = 0) -> Figure:
    """Draws error and spread along a cycling record, as running means of the mean over cases.

    The legend gives their averages over time after the burn-in, the first windows, which are shaded.

    Args:
        metrics: The metrics of all methods, with ``spread`` and, if there was a truth, ``rmse``.
        window: The number of assimilated states, of all windows together.
        cycles: The number of windows that they are made of.
        burn_in: The number of windows that averages leave out.

    Returns:
        The figure: error above, spread below.

    Raises:
        PosterityError: If there is no spread.
    """
    need(metrics, ("spread",), "cycle", "evaluate the methods again")
    panels = {"rmse": "RMSE", "spread": "spread"}
    shown = [name for name in panels if name in metrics]
    methods, kept = methods_of(metrics), judged(window, cycles, burn_in)
    part = metrics[shown].isel(time=slice(window)).mean("case").transpose("method", "time").load()
    time, width = part["time"].values, max(1, window // RUNNING)
    # A table of averages stands below: a head and a line for each method, in as many columns as fit.
    figure = style.canvas(0.35 + 1.75 * len(shown) + 0.15 * (1 + -(-len(methods) // 3)))
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    labels = counted(metrics[shown[0]])
    for panel, name in zip(axes, shown, strict=True):
        for index, (method, look) in enumerate(style.looks(methods).items()):
            averages = " / ".join(_average(part[each].values[index, kept]) for each in shown)
            panel.plot(
                time,
                running_mean(part[name].values[index], width),
                color=look.colour,
                linestyle=look.line,
                linewidth=0.9,
                label=f"{labels[method]}  {averages}",
            )
        if kept.start:
            panel.axvspan(time[0], time[kept.start], color=style.MISSING, linewidth=0)
        panel.set_ylabel(style.quantity(panels[name], metrics["mean"]))
        panel.margins(x=0)
        _scale(panel)
    smoothed = f"; running means over {width} times" if width > 1 else ""
    axes[-1].set_xlabel(style.time_label(metrics) + smoothed)
    title = f"averages over time: {' / '.join(panels[name] for name in shown)}"
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title=title)
    return figure


def _average(values: np.ndarray) -> str:
    """The average over the times that have a value, in three digits; a dash if none has."""
    return f"{np.nanmean(values):#.3g}" if np.isfinite(values).any() else "–"


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The running mean over the times about each one that have a value.

    Args:
        values: The values, with shape ``(time,)``; NaN where there is none.
        width: The number of times; fewer at both ends.

    Returns:
        The means, with the same shape; NaN where there is no value.
    """
    known = np.isfinite(values)
    window = np.ones(width)
    sums = np.convolve(np.where(known, values, 0), window, mode="same")
    counts = np.convolve(known, window, mode="same")
    found: np.ndarray = np.where(known, sums / np.maximum(counts, 1), np.nan)
    return found


def _scale(axes: Axes) -> None:
    """Makes the vertical axis logarithmic if the values span a wide range."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > RANGE * values.min():
        style.logarithmic(axes, "y")
