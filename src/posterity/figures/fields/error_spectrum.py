"""Error of each method over time and wave number, relative to the truth and to the spread."""

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ..drawing import style
from ..drawing.labels import wrapped
from ..drawing.panels import field, methods_of, name_row, stretch, window_line
from .plane import note
from .spectra import averaged

#: The ends of the scales: of error over truth, and of error over spread.
TRUTH, SPREAD = (1e-3, 1.0), (0.25, 4.0)

#: The height of a row, in inches.
ROW = 0.9


@style.styled
def error_spectrum(spectra: xr.Dataset, window: int) -> Figure:
    r"""Draws the spectrum of the error of the mean over time: over that of the truth, and over that of the spread,

    .. math:: \frac{S_{\bar x - x}(K)}{S_x(K)} , \qquad \frac{S_{\bar x - x}(K)}{(S + 1) / S \; S_\sigma(K)} ,

    each of means over cases, for the first field: of velocities in the plane their energy. The first is one where
    nothing is known of a scale, the second where a method knows its error. Of long records the end of the window is
    shown (see :func:`panels.stretch`). Times that a method does not cover are hatched.

    Args:
        spectra: The metrics of all methods, with ``error_spectrum``, ``truth_spectrum`` and ``spread_spectrum``.
        window: The number of assimilated states.

    Returns:
        The figure: a row for each method; a line of text if states have no grid, or there is no truth.
    """
    if "error_spectrum" not in spectra:
        return note("there is no truth on a grid, and no error of each of its waves")
    part, methods = stretch(spectra.sizes["time"], window), methods_of(spectra)
    samples = spectra["samples"].max("case")
    metrics = averaged(spectra, part, over=("case",)).isel(field=0)
    spread = (samples + 1) / samples * metrics["spread_spectrum"]
    columns = {
        "error / truth": (metrics["error_spectrum"] / metrics["truth_spectrum"], style.POSITIVE, LogNorm(*TRUTH), (1,)),
        "error / spread": (metrics["error_spectrum"] / spread, style.SIGNED, LogNorm(*SPREAD), (1, 2, 5)),
    }
    row = min(ROW, (style.HEIGHT - 0.9) / len(methods))
    figure = style.canvas(0.9 + row * len(methods))
    axes = figure.subplots(len(methods), len(columns), sharex=True, sharey=True, squeeze=False)
    time, waves = spectra["time"].values[part], metrics["wavenumber"].values
    for panels, (title, (ratio, cmap, norm, subs)) in zip(axes.T, columns.items(), strict=True):
        values = ratio.transpose("method", "time", "wavenumber").values
        values = np.where(np.isfinite(values), values, np.nan)
        for panel, own in zip(panels, values, strict=True):
            mesh = field(panel, time, own, cmap, norm, waves)
            window_line(panel, time, window - part.start, cells=True)
        panels[0].set_title(f"{metrics['field'].item()}, {title}")
        panels[-1].set_xlabel(style.time_label(spectra))
        ends = style.extend([values], norm)
        bar = figure.colorbar(mesh, ax=list(panels), location="bottom", aspect=30, pad=0.02, extend=ends)
        bar.set_label(f"{title} (ratio)")
        bar.ax.xaxis.set_major_locator(LogLocator(subs=subs))
        bar.ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        bar.ax.xaxis.set_minor_formatter(NullFormatter())
    for panel, method in zip(axes[:, 0], methods, strict=True):
        name_row(panel, wrapped(method, 0.9))
        panel.locator_params(axis="y", nbins=3, integer=True)
    figure.supylabel("wave number (waves across the domain)", fontsize=7)
    return figure
