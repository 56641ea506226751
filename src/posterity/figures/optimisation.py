"""The objective of each method that has one, against iteration."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from ..errors import PosterityError
from .drawing import style
from .drawing.panels import methods_of

#: Panels beside each other; more are wrapped.
ACROSS = 4


@style.styled
def optimisation(metrics: xr.Dataset) -> Figure:
    r"""Draws the objective against iteration: the cost :math:`J` of 4DVAR, minus the evidence bound of VI.

    The objective of each case is drawn relative to its end, the mean of the last twentieth of the iterations, since
    the ends of different cases differ by more than an optimiser has left to gain. The scale is linear up to the power
    of ten, one nat at least, that bounds the last quarter, and logarithmic beyond.
    A quasi-static minimisation starts below zero: its first costs count the first observations only.

    Args:
        metrics: The metrics of all methods, with ``info_objective``; NaN behind the end of shorter runs.

    Returns:
        The figure: the median over cases and the band between the quartiles, a panel for each method, whose title
        gives the median of the ends; a line of text if no method keeps the values of an objective.

    Raises:
        PosterityError: If methods have objectives, and all of them are NaN.
    """
    if "info_objective" not in metrics:
        return _nothing()
    curves = {method: _curve(metrics["info_objective"].isel(method=i)) for i, method in enumerate(methods_of(metrics))}
    curves = {method: curve for method, curve in curves.items() if curve.size}
    if not curves:
        raise PosterityError("figure 'optimisation': every objective is NaN; look at the logs of the methods")
    looks = style.looks(methods_of(metrics))
    across = min(len(curves), ACROSS)
    down = -(-len(curves) // across)
    figure = style.canvas(0.5 + 1.6 * down)
    axes = figure.subplots(down, across, squeeze=False)
    for panel, (method, curve) in zip(axes.flat, curves.items(), strict=False):
        _draw(panel, curve, looks[method].colour)
        panel.set_title(f"{method}\nends at {np.median(_end(curve)):.4g} nat", loc="left")
    for panel in axes.flat[len(curves) :]:
        panel.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel("objective above its end (nat)")
    return figure


def _nothing() -> Figure:
    """The figure of an experiment without methods that minimise an objective."""
    figure = style.canvas(0.6)
    figure.text(0.5, 0.5, "no method of this experiment keeps the values of an objective", ha="center", va="center")
    return figure


def _curve(objective: xr.DataArray) -> np.ndarray:
    """The objective of the cases that have one, ``(case, iteration)``, up to the method's last iteration."""
    values = objective.transpose("case", "iteration").values
    known = np.isfinite(values)
    if not known.any():
        return np.empty((0, 0))
    # A run that ended early keeps its last value.
    latest = np.maximum.accumulate(np.where(known, np.arange(values.shape[1]), 0), axis=1)
    filled = np.take_along_axis(values, latest, axis=1)[:, : known.any(axis=0).nonzero()[0][-1] + 1]
    return filled[np.isfinite(filled).all(axis=1)]


def _end(curve: np.ndarray) -> np.ndarray:
    """The end of each case: the mean of the last twentieth, since stochastic objectives fluctuate."""
    return curve[:, -max(1, curve.shape[1] // 20) :].mean(axis=1)


def _draw(axes: Axes, curve: np.ndarray, colour: str) -> None:
    """Draws median and quartiles over the cases."""
    low, median, high = np.quantile(curve - _end(curve)[:, None], (0.25, 0.5, 0.75), axis=0)
    iteration = np.arange(1, len(median) + 1)
    axes.axhline(0, color="0.6", linewidth=0.6, linestyle=":")
    axes.fill_between(iteration, low, high, color=colour, alpha=0.3, linewidth=0)
    axes.plot(iteration, median, color=colour)
    settled = max(1.0, np.abs(median[-max(1, len(median) // 4) :]).max())
    if max(-low.min(), high.max()) > 2 * settled:
        axes.set_yscale("symlog", linthresh=10 ** np.ceil(np.log10(settled)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("iteration")
    axes.locator_params(axis="x", nbins=4, integer=True)
