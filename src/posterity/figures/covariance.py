"""Covariance matrices of the draws at the start, the window's end and the forecast's end."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..errors import PosterityError
from ..metrics import quantity as quantity_of
from .drawing import style
from .drawing.density import hatch
from .drawing.labels import wrapped
from .drawing.panels import moments, name_row, row_label, row_ticks, rows, time_place
from .fields.plane import draws_at

#: Methods beside each other; more are wrapped.
ACROSS = 8


@style.styled
def covariance(
    twin: xr.Dataset,
    posteriors: Sequence[xr.Dataset],
    window: int,
    reference: xr.Dataset | None = None,
    quantity: str | None = None,
) -> Figure:
    r"""Draws the covariance of the draws of each method, :math:`C = \mathrm{Cov}(x_t | y)`, at up to three moments.

    In the plane, where matrices are too large to be seen, it is the covariance of a quantity at the middle of the grid
    with that everywhere. Moments that a method does not cover are hatched. Each moment has one colour scale for all
    methods, symmetric about zero, whose end is that of the reference or, without one, of most methods (see
    :func:`style.limit`): a prior's variances are orders of magnitude above those of a posterior.

    Args:
        twin: One case of a ``twin`` dataset, without the dimension ``case``, for the times of the moments.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``.
        window: The number of assimilated states.
        reference: The same case of the reference, if there is one; drawn first.
        quantity: What is drawn in the plane, see :func:`posterity.metrics.quantity`.

    Returns:
        The figure: a row for each moment, a column for each method.

    Raises:
        PosterityError: If there is nothing to draw.
    """
    if not posteriors:
        raise PosterityError("figure 'covariance': there is no posterior to draw; name at least one posterior file")
    found, plane = moments(twin.sizes["time"], window), "y" in posteriors[0]["state"].dims
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
        matrices = [_covariance(posterior, twin["time"].values[time], quantity) for posterior in posteriors]
        norm = style.symmetric(matrices if reference is None else matrices[:1])
        for index, (matrix, posterior) in enumerate(zip(matrices, posteriors, strict=True)):
            mesh = _panel(axes[index // across, place, index % across], matrix, norm)
            if not place:
                axes[index // across, 0, index % across].set_title(wrapped(str(posterior.attrs["method"]), side + 0.1))
        for band in axes[:, place]:
            figure.colorbar(mesh, ax=list(band), aspect=12, pad=0.01, extend=style.extend(matrices, norm))
            if plane:
                for panel in band:
                    panel.set(xticks=[], yticks=[])
            else:
                row_ticks(band[0], posteriors[0]["state"])
            band[0].tick_params(labelleft=True)
            name_row(band[0], moment.replace(" ", "\n"))
    if plane:
        shown = quantity_of(posteriors[0]["state"].isel(sample=slice(1), time=slice(1)), quantity)
        text = f"{style.quantity('covariance', shown, power=2)} of {shown.name} with that at the middle"
    else:
        label = row_label(posteriors[0]["state"])
        text = f"{label} × {label}; colours: {style.quantity('covariance', posteriors[0]['state'], power=2)}"
    figure.supxlabel(text, fontsize=7)
    return figure


def _panel(axes: Axes, matrix: np.ndarray, norm: Normalize) -> AxesImage:
    """Draws one matrix, first entry at the bottom left as in figures over site."""
    axes.set_axis_on()
    hatch(axes)
    axes.spines[:].set_visible(True)
    axes.tick_params(labelleft=False, labelbottom=False, length=1.5)
    axes.locator_params(nbins=3, integer=True)
    return axes.imshow(np.ma.masked_invalid(matrix), cmap=style.SIGNED, norm=norm, origin="lower", aspect="equal")


def _covariance(posterior: xr.Dataset, time: float, quantity: str | None) -> np.ndarray:
    """The covariance of the draws at one time, in the plane that with the middle; NaN where they do not cover it."""
    if "y" in posterior["state"].dims:
        return _about_the_middle(posterior, time, quantity)
    draws = rows(posterior["state"])
    at = time_place(posterior, time)
    if at is None:
        return np.full((draws.sizes["row"],) * 2, np.nan)
    return np.atleast_2d(np.cov(draws.isel(time=at).transpose("row", "sample").values))


def _about_the_middle(posterior: xr.Dataset, time: float, quantity: str | None) -> np.ndarray:
    """The covariance of a quantity at the middle of the plane with that everywhere, ``(y, x)``."""
    sizes = posterior["state"].sizes["y"], posterior["state"].sizes["x"]
    draws = next((draws for _, draws in draws_at(posterior, np.array([time]), quantity)), np.full((2, *sizes), np.nan))
    apart = draws - draws.mean(axis=0, dtype=np.float64)
    found: np.ndarray = np.einsum("syx,s->yx", apart, apart[:, sizes[0] // 2, sizes[1] // 2]) / max(len(draws) - 1, 1)
    return found
