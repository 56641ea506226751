"""The data of one case: truth, observations, background."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from .drawing import style
from .drawing.panels import field, row_label, row_ticks, rows, stretch, window_line
from .fields.data import data_in_plane
from .fields.plane import is_plane


@style.styled
def data(twin: xr.Dataset, window: int, observes_state: bool) -> Figure:
    """Draws the data of one case: the background, and truth and observations over time and site.

    In the plane, truth and observations are maps at some times, a row for each channel (see
    :func:`posterity.figures.fields.data.data_in_plane`). Entries that are not observed are hatched. Truth and
    background are left out where there are none. Of long records the end of the window is shown (see
    :func:`panels.stretch`).

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``.
        window: The number of assimilated states.
        observes_state: Whether observations are of the state itself, and so take the colours of the truth.

    Returns:
        The figure.

    Raises:
        PosterityError: If the grid has two dimensions.
    """
    panels = [name for name in ("state", "observation") if name in twin]
    background = "background" in twin
    if is_plane(twin):
        return data_in_plane(twin, window, observes_state)
    figure = style.canvas(2.3)
    shown = stretch(twin.sizes["time"], window)
    part = twin.isel(time=shown)
    grid = figure.subplots(1, len(panels) + background, width_ratios=[1.0] * background + [2.2] * len(panels))
    axes = list(np.atleast_1d(grid))
    if background:
        _background(axes.pop(0), twin)
    for panel, name in zip(axes, panels, strict=True):
        scale = panels[0] if observes_state else name
        _field(figure, panel, part, name, _norm(part[scale].values), window - shown.start)
    return figure


def _norm(values: np.ndarray) -> Normalize:
    """The colour scale of a field, over its range."""
    return Normalize(np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else Normalize(0, 1)


def _field(figure: Figure, axes: Axes, twin: xr.Dataset, name: str, norm: Normalize, window: int) -> None:
    """Draws truth or observations, with a colour bar."""
    variable = twin[name]
    values = rows(variable).transpose("time", "row").values
    time = twin["time"].values
    mesh = field(axes, time, values, style.STATE, norm)
    window_line(axes, time, window, cells=True)
    axes.set_xlabel(style.time_label(twin))
    if name == "state":
        axes.set_title("truth")
        axes.set_ylabel(row_label(variable))
        row_ticks(axes, variable)
    else:
        seen = np.isfinite(values[:window]).mean()
        axes.set_title(f"observations ({seen:.0%} of the window)")
        axes.set_ylabel("observed site" if "obs_x" in variable.dims else "observed channel")
        axes.locator_params(axis="y", nbins=3, integer=True)
    extend = style.extend([values], norm)
    figure.colorbar(mesh, ax=axes, pad=0.02, label=style.quantity(name, variable), extend=extend)


def _background(axes: Axes, twin: xr.Dataset) -> None:
    """Draws the background with its standard deviation, and the true first state."""
    background = rows(twin["background"]).values
    std = rows(twin["background_std"]).values
    row = np.arange(len(background))
    axes.errorbar(
        background,
        row,
        xerr=std,
        fmt="o",
        markersize=2,
        elinewidth=0.7,
        color=style.OBSERVATION,
        label="background ± one std",
    )
    if "state" in twin:
        first = rows(twin["state"].isel(time=0)).values
        axes.plot(first, row, "x", color="#D55E00", markersize=3, label="truth")
    axes.set_title("background")
    axes.set_xlabel(style.quantity("first state", twin["background"]))
    axes.set_ylim(-0.5, len(row) - 0.5)
    axes.set_ylabel(row_label(twin["background"]))
    row_ticks(axes, twin["background"])
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
