"""Posteriors of unknown parameters: of one case, and of all cases against the truth."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import PosterityError
from .drawing import style
from .drawing.density import bare, draw_density, draw_reference, draw_truth, extent, handles
from .drawing.panels import methods_of, name_row, need

#: The most cases whose estimates are drawn; more cannot be distinguished.
CASES = 100


@style.styled
def parameters(
    twin: xr.Dataset,
    twins: xr.Dataset,
    metrics: xr.Dataset,
    posteriors: Sequence[xr.Dataset],
    parameters: Sequence[str],
    reference: xr.Dataset | None = None,
) -> Figure:
    """Draws posteriors of unknown parameters: densities of the shown case, and estimates of all cases against truth.

    Estimates are posterior means with bars of one standard deviation, for up to a hundred cases; a perfect one lies
    on the diagonal. Methods that do not estimate parameters are left out.

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``.
        twins: All cases of it.
        metrics: The metrics of all methods, with ``parameter_mean`` and ``parameter_std``.
        posteriors: The case of ``twin`` of the ``posterior`` dataset of each method, named by the attribute
            ``method``.
        parameters: The names of the parameters.
        reference: The same case of the reference, if there is one.

    Returns:
        The figure: a row for each method, two columns for each parameter.

    Raises:
        PosterityError: If no method estimates parameters.
    """
    need(metrics, ("parameter_mean", "parameter_std"), "parameters", "evaluate the methods again")
    shown = {str(draws.attrs["method"]): draws for draws in posteriors if "theta" in draws}
    if not shown:
        raise PosterityError("figure 'parameters': no method has draws of parameters; leave this figure out")
    looks = style.looks(methods_of(metrics))
    figure = style.canvas(0.75 + 0.72 * len(shown))
    truth = "theta" in twins
    axes = figure.subplots(len(shown), (1 + truth) * len(parameters), sharex="col", squeeze=False)
    for place, name in enumerate(parameters):
        panels = axes[:, (1 + truth) * place]
        _densities(panels, name, shown, twin, reference, looks)
        panels[0].set_title(f"{name}, one case")
        panels[-1].set_xlabel(name)
        if truth:
            panels = axes[:, 2 * place + 1]
            _estimates(panels, name, list(shown), twins, metrics, looks)
            panels[0].set_title(f"{name}, all cases")
            panels[-1].set_xlabel(f"true {name}")
    for panel, method in zip(axes[:, 0], shown, strict=True):
        name_row(panel, method)
    entries = handles(truth)
    if reference is None or "theta" not in reference:
        del entries[style.REFERENCE]
    if truth:
        entries["mean ± one std"] = Line2D(
            [], [], color=style.looks(["any"])["any"].colour, marker="o", markersize=1.5, linewidth=0.4
        )
        entries["mean = truth"] = Line2D([], [], color="0.6", linewidth=0.6)
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=len(entries))
    return figure


def _densities(
    panels: np.ndarray,
    name: str,
    posteriors: dict[str, xr.Dataset],
    twin: xr.Dataset,
    reference: xr.Dataset | None,
    looks: dict[str, style.Look],
) -> None:
    """Draws the densities of one parameter in one case, a panel for each method."""
    truth = float(twin["theta"].sel(parameter=name)) if "theta" in twin else np.nan
    draws = {method: posterior["theta"].sel(parameter=name).values for method, posterior in posteriors.items()}
    known = None if reference is None or "theta" not in reference else reference["theta"].sel(parameter=name).values
    ends = extent([*([] if known is None else [known]), *draws.values()], truth)
    for index, (panel, (method, values)) in enumerate(zip(panels, draws.items(), strict=True)):
        bare(panel, ends, below=index == len(panels) - 1)
        if known is not None:
            draw_reference(panel, known, ends)
        draw_density(panel, values, ends, looks[method].colour)
        draw_truth(panel.axvline, truth)


def _estimates(
    panels: np.ndarray,
    name: str,
    methods: Sequence[str],
    twins: xr.Dataset,
    metrics: xr.Dataset,
    looks: dict[str, style.Look],
) -> None:
    """Draws the estimates of one parameter against its true values, a panel for each method."""
    cases = np.intersect1d(metrics["case"].values, twins["case"].values)[:CASES]
    own = metrics[["parameter_mean", "parameter_std"]].sel(parameter=name, case=cases)
    truth = twins["theta"].sel(parameter=name, case=cases).values
    means = own["parameter_mean"].sel({"method": list(methods)}).transpose("method", "case").values
    stds = own["parameter_std"].sel({"method": list(methods)}).transpose("method", "case").values
    low, high = extent([truth, *means], np.nan)
    for panel, method, mean, std in zip(panels, methods, means, stds, strict=True):
        panel.plot((low, high), (low, high), color="0.6", linewidth=0.6)
        panel.errorbar(
            truth, mean, std, fmt="o", markersize=1.5, elinewidth=0.4, color=looks[method].colour, linestyle="none"
        )
        panel.set(xlim=(low, high), ylim=(low, high))
        panel.locator_params(nbins=3)
