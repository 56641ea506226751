"""Covariance matrices of the draws at the start, the window's end and the forecast's end."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..errors import PosterityError
from .drawing import style
from .drawing.density import hatch
from .drawing.labels import wrapped
from .drawing.panels import moments, name_row, row_label, row_ticks, rows, time_place

#: Methods beside each other; more are wrapped.
ACROSS = 8


@style.styled
def covariance(
    twin: xr.Dataset, posteriors: Sequence[xr.Dataset], window: int, reference: xr.Dataset | None = None
) -> Figure:
    r"""Draws the covariance of the draws of each method, :math:`C = \mathrm{Cov}(x_t | y)`, at up to three moments.

    Moments that a method does not cover are hatched. Each moment has one colour scale for all methods, symmetric about
    zero, whose end is that of the reference or, without one, of most methods (see :func:`style.limit`): a prior's
    variances are orders of magnitude above those of a posterior.

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``, for the times of the moments.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``.
        window: The number of assimilated states.
        reference: The same case of the reference, if there is one; drawn first.

    Returns:
        The figure: a row for each moment, a column for each method.

    Raises:
        PosterityError: If there is nothing to draw, or the grid has two dimensions.
    """
    if not posteriors:
        raise PosterityError("figure 'covariance': there is no posterior to draw; name at least one posterior file")
    found = moments(twin.sizes["time"], window)
    if reference is not None:
        posteriors = [reference.assign_attrs(method=style.REFERENCE), *posteriors]
    across = min(len(posteriors), ACROSS)
    bands = -(-len(posteriors) // across)
    side = min(1.3, (style.WIDTH - 2.1) / across)
    figure = style.canvas(0.35 + bands * (len(found) * (side + 0.12) + 0.25))
    # Matrices are square: columns move together until they touch.
    figure.set_layout_engine("compressed")
    # A band of methods is a group of rows, one for each moment.
    axes = figure.subplots(bands * len(found), across, squeeze=False).reshape(bands, len(found), across)
    for panel in axes.flat:
        panel.set_axis_off()
    for place, (moment, time) in enumerate(found.items()):
        matrices = [_covariance(posterior, twin["time"].values[time]) for posterior in posteriors]
        norm = style.symmetric(matrices if reference is None else matrices[:1])
        for index, (matrix, posterior) in enumerate(zip(matrices, posteriors, strict=True)):
            mesh = _panel(axes[index // across, place, index % across], matrix, norm)
            if not place:
                axes[index // across, 0, index % across].set_title(wrapped(str(posterior.attrs["method"]), side + 0.1))
        for band in axes[:, place]:
            figure.colorbar(mesh, ax=list(band), aspect=12, pad=0.01, extend=style.extend(matrices, norm))
            row_ticks(band[0], posteriors[0]["state"])
            band[0].tick_params(labelleft=True)
            name_row(band[0], moment.replace(" ", "\n"))
    label, units = row_label(posteriors[0]["state"]), style.quantity("covariance", posteriors[0]["state"], power=2)
    figure.supxlabel(f"{label} × {label}; colours: {units}", fontsize=7)
    return figure


def _panel(axes: Axes, matrix: np.ndarray, norm: Normalize) -> AxesImage:
    """Draws one matrix, first entry at the bottom left as in figures over site."""
    axes.set_axis_on()
    hatch(axes)
    axes.spines[:].set_visible(True)
    axes.tick_params(labelleft=False, labelbottom=False, length=1.5)
    axes.locator_params(nbins=3, integer=True)
    return axes.imshow(np.ma.masked_invalid(matrix), cmap=style.SIGNED, norm=norm, origin="lower", aspect="equal")


def _covariance(posterior: xr.Dataset, time: float) -> np.ndarray:
    """The covariance of the draws at one time; NaN where they do not cover it."""
    draws = rows(posterior["state"], "covariance")
    at = time_place(posterior, time)
    if at is None:
        return np.full((draws.sizes["row"],) * 2, np.nan)
    return np.atleast_2d(np.cov(draws.isel(time=at).transpose("row", "sample").values))
