"""Spectra of the draws of each method against that of the truth."""

from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ...metrics import axes_of, length, resolved
from ..drawing import style
from ..drawing.labels import wrapped
from ..drawing.panels import judged, methods_of, name_row
from .plane import note

#: The most fields that are shown, and the height of a row, in inches.
FIELDS, ROW = 3, 1.0

#: The ratios that the last column shows, and the decades below the highest power that the others do.
RATIOS, DECADES = (0.1, 10.0), 7

#: The dashes of the error of the mean, and the grey of the reference.
ERROR: Literal[":"] = ":"
GREY = "0.55"


@style.styled
def spectra(spectra: xr.Dataset, window: int, cycles: int = 1, burn_in: int = 0) -> Figure:
    """Draws spectra of the draws of each method, with that of the truth, at the window's end or over a cycling record.

    Each is the mean over cases, and over the times of a record after its burn-in; the band is where, on average over
    cases, nine in ten draws lie. The dotted line is the spectrum of the error of the mean: where it meets that of the
    truth, nothing is known of a scale. The last column has the ratio of draws and truth, of the first field. In the
    plane, spectra of a velocity are those of its energy and its enstrophy, over shells of waves that are whole.

    Args:
        spectra: The metrics of all methods, with ``spectrum`` and its like; what they lack is not drawn.
        window: The number of assimilated states.
        cycles: The number of windows that they are made of.
        burn_in: The number of windows that averages over several leave out.

    Returns:
        The figure: a row for each method, a column for each field; a line of text if states have no grid.
    """
    if "spectrum" not in spectra:
        return note("states have no grid, and there are no spectra of them")
    metrics, methods = averaged(spectra, judged(window, cycles, burn_in)), methods_of(spectra)
    fields = [str(name) for name in metrics["field"].values][:FIELDS]
    ratio = "truth_spectrum" in metrics
    row = min(ROW, (style.HEIGHT - 0.9) / len(methods))
    figure = style.canvas(0.9 + row * len(methods))
    axes = figure.subplots(len(methods), len(fields) + ratio, sharex=True, sharey="col", squeeze=False)
    looks = style.looks(methods)
    for panels, method in zip(axes, methods, strict=True):
        own = metrics.sel({"method": method})
        for panel, field in zip(panels, fields, strict=False):
            _panel(panel, own.sel(field=field), looks[method].colour)
        if ratio:
            _ratio(panels[-1], own.sel(field=fields[0]), looks[method].colour)
        name_row(panels[0], wrapped(method, 0.9))
    for panel, field in zip(axes[0], fields, strict=False):
        panel.set_title(f"{field} ({_units(field, spectra['mean'])})")
    if ratio:
        axes[0, -1].set_title(f"{fields[0]}, draws / truth")
    for panel, field in zip(axes[0], fields, strict=False):
        _logarithmic(panel, _ends(metrics.sel(field=field)))
    if ratio:
        _logarithmic(axes[0, -1], RATIOS)
    figure.supxlabel("wave number (waves across the domain)", fontsize=7)
    _legend(figure, metrics)
    return figure


def averaged(metrics: xr.Dataset, times: slice, over: tuple[str, ...] = ("time", "case")) -> xr.Dataset:
    """Spectra at some times, as means over these and over the cases that have them.

    Args:
        metrics: The metrics of all methods.
        times: The times.
        over: What means are taken over.

    Returns:
        The spectra from the longest wave on, over shells that are whole.
    """
    mean = metrics["mean"]
    axes = axes_of(mean)
    whole = resolved({name: mean.sizes[name] for name in axes}, {name: length(mean, name) for name in axes})
    names = [str(name) for name in metrics.data_vars if "spectrum" in str(name)]
    found = metrics[names].isel(time=times, wavenumber=slice(1, whole))
    return found.mean(over).load()


def _units(field: str, mean: xr.DataArray) -> str:
    """The units of the power of a field."""
    units = str(mean.attrs.get("units", "1"))
    if units == "1":
        return "dimensionless"
    return f"({units})$^2$" + " per squared length" * field.startswith("enstrophy")


def _panel(axes: Axes, own: xr.Dataset, colour: str) -> None:
    """Draws the spectra of one method and field."""
    waves = own["wavenumber"].values
    low, high = own["spectrum_quantile"].transpose("quantile", ...).values
    axes.fill_between(waves, low, high, color=colour, alpha=0.25, linewidth=0)
    if "reference_spectrum" in own:
        axes.plot(waves, own["reference_spectrum"].values, color=GREY, linewidth=2.0)
    if "truth_spectrum" in own:
        axes.plot(waves, own["truth_spectrum"].values, color=style.TRUTH, linewidth=0.8)
    axes.plot(waves, own["spectrum"].values, color=colour, marker="o" if len(waves) == 1 else None)
    if "error_spectrum" in own:
        axes.plot(waves, own["error_spectrum"].values, color=colour, linestyle=ERROR)


def _ends(metrics: xr.Dataset) -> tuple[float, float]:
    """The ends of the power of a field: those of truth and draws, and as many decades below as one can tell apart."""
    names = ("spectrum", "truth_spectrum", "reference_spectrum")
    values = np.concatenate([metrics[name].values.ravel() for name in names if name in metrics])
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return 0.1, 10.0
    return max(values.min() / 30, values.max() * 10.0**-DECADES), 3 * values.max()


def _ratio(axes: Axes, own: xr.Dataset, colour: str) -> None:
    """Draws the spectrum of one method over that of the truth."""
    truth = own["truth_spectrum"].where(own["truth_spectrum"] > 0)
    waves = own["wavenumber"].values
    low, high = (own["spectrum_quantile"] / truth).transpose("quantile", ...).values
    axes.axhline(1, color=style.TRUTH, linewidth=0.8)
    axes.fill_between(waves, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(waves, (own["spectrum"] / truth).values, color=colour, marker="o" if len(waves) == 1 else None)


def _logarithmic(axes: Axes, ends: tuple[float, float]) -> None:
    """Makes both axes logarithmic, with few labels."""
    axes.set(xscale="log", yscale="log", ylim=ends)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    if ends == RATIOS:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, metrics: xr.Dataset) -> None:
    """One legend for all panels, above them; methods are told apart by their rows."""
    grey = "0.4"
    entries = {
        "truth": Line2D([], [], color=style.TRUTH, linewidth=0.8) if "truth_spectrum" in metrics else None,
        style.REFERENCE: Line2D([], [], color=GREY, linewidth=2.0) if "reference_spectrum" in metrics else None,
        "draws": Line2D([], [], color=grey),
        "nine in ten draws": Patch(color=grey, alpha=0.25, linewidth=0),
        "error of the mean": Line2D([], [], color=grey, linestyle=ERROR) if "error_spectrum" in metrics else None,
    }
    known = {name: handle for name, handle in entries.items() if handle is not None}
    figure.legend(list(known.values()), list(known), loc="outside upper center", ncols=len(known))
