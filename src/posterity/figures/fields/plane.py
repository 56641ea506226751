"""Panels of the plane: fields and observations where they stand, their colours, and the times that are drawn."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...errors import PosterityError
from ...metrics import length, quantity
from ..drawing import style
from ..drawing.panels import moments, same_times

#: The part of the largest magnitude that a field reaches on both sides of zero to be drawn about zero.
SIGNED = 0.1

#: The coordinate of observations at sites of the states' grid.
SITE = "obs_site"

#: The share of sites below which observations of some of them are drawn as dots: lone cells are hard to see.
SPARSE = 0.3


class Scale(NamedTuple):
    """The colours of a field."""

    cmap: Colormap
    norm: Normalize


def is_plane(twin: xr.Dataset) -> bool:
    """Whether the states of a twin, or its observations where it has none, are on a grid of two axes."""
    return bool({"y", "obs_y"} & set(twin.dims))


def note(text: str) -> Figure:
    """A figure of one line, in place of one that has nothing to show."""
    figure = style.canvas(0.6)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def scale_of(fields: Sequence[np.ndarray]) -> Scale:
    """The colours that fields share: about zero if they lie on both sides of it, else over their range."""
    values = np.concatenate([field[np.isfinite(field)] for field in fields])
    if not values.size:
        return Scale(style.SIGNED, Normalize(-1, 1))
    low, high = np.quantile(values, (0.005, 0.995))
    if min(-low, high) > SIGNED * max(-low, high) or low == high:
        return Scale(style.SIGNED, style.symmetric(fields))
    return Scale(style.STATE, Normalize(low, high))


def sides(field: xr.DataArray) -> tuple[float, float]:
    """The lengths of the plane along x and y."""
    return length(field, "x"), length(field, "y")


def draw_field(axes: Axes, values: np.ndarray, extent: tuple[float, float], scale: Scale) -> AxesImage:
    """Draws a field, x across and y upwards, hatched where there is no value.

    Args:
        axes: The panel.
        values: The field, with shape ``(y, x)``.
        extent: The lengths of the plane along x and y.
        scale: Its colours.

    Returns:
        The image.
    """
    bare(axes, extent)
    axes.set_facecolor(style.MISSING)
    axes.patch.set_hatch("//////")
    return axes.imshow(
        np.ma.masked_invalid(values),
        cmap=scale.cmap,
        norm=scale.norm,
        extent=(0, extent[0], 0, extent[1]),
        origin="lower",
        interpolation="nearest",
        aspect="equal",
    )


def has_places(observation: xr.DataArray) -> bool:
    """Whether one knows where in the plane observations stand: on a grid of their own, or at sites of the states'."""
    return {"obs_y", "obs_x"} <= set(observation.dims) or SITE in observation.coords


def draw_observed(axes: Axes, values: xr.DataArray, like: xr.DataArray, scale: Scale) -> None:
    """Draws observations at one time where they stand: as blocks that fill the plane, or as dots.

    Dots are those that stand at sites of the states' grid that are not the middles of such blocks (coordinate
    ``obs_site``, the number of the site row by row), those with places of their own (coordinates ``obs_y`` and
    ``obs_x``, in the units of those of the state), and those of blocks of which few are observed.

    Args:
        axes: The panel.
        values: The observations, with dimensions ``(obs_y, obs_x)``, or ``obs_x`` at sites; NaN where there is none.
        like: A field of the state, for the plane.
        scale: Their colours.
    """
    found = values.transpose(..., "obs_x").values
    known, (x, y) = np.isfinite(found), _places(values, like)
    if known.mean() >= SPARSE and _fills(values, like, x, y):
        draw_field(axes, found, sides(like), scale)
        axes.patch.set_hatch("")
        return
    bare(axes, sides(like))
    axes.set_facecolor(style.MISSING)
    # As large as dots may be that do not touch, in a panel of an inch.
    size = float(np.clip(72**2 / (6 * max(known.sum(), 1)), 0.8, 14))
    dots = axes.scatter(x[known], y[known], size, found[known], cmap=scale.cmap, norm=scale.norm)
    dots.set(linewidth=0.2, edgecolor="0.3")


def _places(values: xr.DataArray, like: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """The places of observations along x and y, with the shape of these: sites, their own, or the middles of blocks."""
    width, height = sides(like)
    if SITE in values.coords:
        site = values[SITE].transpose(..., "obs_x").values
        rows, columns = np.divmod(site, like.sizes["x"])
        return (columns + 0.5) * width / like.sizes["x"], (rows + 0.5) * height / like.sizes["y"]
    return tuple(np.meshgrid(_along(values, "obs_x", like), _along(values, "obs_y", like)))


def _along(values: xr.DataArray, name: str, like: xr.DataArray) -> np.ndarray:
    """The places of observations along an axis, their own or the middles of blocks."""
    axis, size = name.removeprefix("obs_"), values.sizes[name]
    side, sites = length(like, axis), like[axis].values
    if name not in values.coords:
        middle: np.ndarray = (np.arange(size) + 0.5) * side / size
        return middle
    step = (sites[-1] - sites[0]) / max(len(sites) - 1, 1)
    own: np.ndarray = ((values[name].values - sites[0]) / step + 0.5) * side / len(sites)
    return own


def _fills(values: xr.DataArray, like: xr.DataArray, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether observations stand in the middles of blocks that fill the plane, or in the sites behind them."""
    if "obs_y" not in values.dims or any(name in values.coords for name in ("obs_y", "obs_x")):
        return False
    found = []
    for places, name, axis in ((x[0], "obs_x", "x"), (y[:, 0], "obs_y", "y")):
        side, size = length(like, axis), values.sizes[name]
        behind = places - (np.arange(size) + 0.5) * side / size
        found.append(bool((np.abs(behind - 0.25 * side / like.sizes[axis]) < 0.3 * side / like.sizes[axis]).all()))
    return all(found)


def bare(axes: Axes, extent: tuple[float, float]) -> None:
    """Makes a panel a map: a frame without ticks."""
    axes.set(xlim=(0, extent[0]), ylim=(0, extent[1]), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_linewidth(0.4)


def colour_bar(
    figure: Figure,
    place: tuple[float, float, float, float],
    scale: Scale,
    extend: str,
    upright: bool = False,
) -> None:
    """Draws a colour bar at a place in inches: left, bottom, width, height."""
    axes = panel_at(figure, place)
    lying = "vertical" if upright else "horizontal"
    mappable = ScalarMappable(scale.norm, scale.cmap)
    bar = figure.colorbar(mappable, cax=axes, orientation=lying, extend=extend)
    bar.ax.locator_params(nbins=5 if max(place[2:]) > 1.5 else 2)
    bar.ax.tick_params(pad=1.5)


def panel_at(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    """A panel at a place in inches: left, bottom, width, height."""
    width, height = figure.get_size_inches()
    return figure.add_axes((place[0] / width, place[1] / height, place[2] / width, place[3] / height))


def places_of(times: Sequence[int] | None, count: int, window: int, figure: str) -> Mapping[int, str]:
    """The times that are drawn, with their names.

    Args:
        times: The chosen ones, as places among all; None: start, window end and forecast end.
        count: How many there are.
        window: The number of assimilated states.
        figure: The figure's name, for messages.

    Returns:
        The names by places, in order; empty for those that have none.

    Raises:
        PosterityError: If there is no such time.
    """
    named = {place: name for name, place in moments(count, window).items()}
    if times is None:
        return named
    for time in times:
        if time >= count:
            raise PosterityError(
                f"figure '{figure}': there is no state {time}: there are states 0 to {count - 1}; "
                "change 'figures.times' in the experiment"
            )
    return {time: named.get(time, "") for time in sorted(set(times))}


def draws_at(posterior: xr.Dataset, times: np.ndarray, name: str | None) -> Iterator[tuple[int, np.ndarray]]:
    """The draws of a quantity at those of some times that a posterior covers, one time after another.

    Args:
        posterior: One case of a ``posterior`` dataset.
        times: The times.
        name: The quantity, see :func:`posterity.metrics.quantity`.

    Yields:
        The place of a time, and draws with shape ``(sample, y, x)``.
    """
    same = same_times(posterior["time"].values, times)
    for place in np.flatnonzero(same.any(axis=0)).tolist():
        state = posterior["state"].isel(time=int(same[:, place].argmax())).load()
        yield place, quantity(state, name).transpose("sample", "y", "x").values
