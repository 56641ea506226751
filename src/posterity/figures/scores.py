"""Error and spread of all methods against time."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from .drawing import style
from .drawing.labels import columns
from .drawing.panels import counted, methods_of, need, stretch, window_line


@style.styled
def scores(metrics: xr.Dataset, window: int) -> Figure:
    """Draws root-mean-square error and spread against time, each the mean over the cases that have it.

    Of long records the end of the window is shown (see :func:`panels.stretch`).

    Args:
        metrics: The metrics of all methods, with ``spread`` and, if there was a truth, ``rmse``.
        window: The number of assimilated states.

    Returns:
        The figure: error on the left, spread on the right.

    Raises:
        PosterityError: If there is no spread.
    """
    need(metrics, ("spread",), "scores", "evaluate the methods again")
    panels = {"rmse": "RMSE of the mean", "spread": "spread"}
    shown = [name for name in panels if name in metrics]
    part = stretch(metrics.sizes["time"], window)
    methods, metrics = methods_of(metrics), metrics.isel(time=part)
    time = metrics["time"].values
    labels = counted(metrics[shown[0]])
    entries = columns(list(labels.values()), style.WIDTH)
    figure = style.canvas(2.5 + 0.14 * -(-len(methods) // entries))
    axes = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for panel, name in zip(axes, shown, strict=True):
        values = metrics[name].mean("case").transpose("method", "time").values
        for index, (method, look) in enumerate(style.looks(methods).items()):
            # A method may cover few times, at least one of which has a marker.
            known = np.isfinite(values[index])
            panel.plot(
                time[known],
                values[index, known],
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markerfacecolor=look.face,
                markevery=(min(index % 4, max(0, known.sum() - 1)), max(4, len(time) // 6)),
                label=labels[method],
            )
        window_line(panel, time, window - part.start)
        style.logarithmic(panel, "y")
        panel.set_xlabel(style.time_label(metrics))
        panel.set_ylabel(style.quantity(panels[name], metrics["mean"]))
        panel.yaxis.set_tick_params(labelleft=True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=entries)
    return figure
