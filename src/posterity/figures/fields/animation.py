"""An animation of truth, mean and draws of each method, side by side."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...errors import PosterityError
from ...metrics import quantity as quantity_of
from ..drawing import style
from ..drawing.film import Film
from ..drawing.labels import wrapped
from ..drawing.panels import same_times, stretch
from .plane import colour_bar, draw_field, is_plane, note, panel_at, scale_of, sides

#: The number of draws that are shown.
DRAWS = 2

#: The largest side of a panel, the area of all of them, which bounds the size of files, and room for names, between
#: panels, above them and below, in inches and square inches.
LARGE, AREA, LEFT, GAP, HEAD, FOOT = 1.5, 20.0, 0.9, 0.05, 0.42, 0.5


class Moving(NamedTuple):
    """A panel's image, and its fields at all times that are shown, ``(frame, y, x)``."""

    image: AxesImage
    fields: np.ndarray


@style.styled
def animation(
    plane: xr.Dataset, posteriors: Sequence[xr.Dataset], window: int, frames: int, quantity: str | None = None
) -> Film:
    """Draws a quantity in the plane as it moves: truth, mean and two draws of each method, a row for each.

    All share their colours, those of :func:`posterity.figures.fields.maps.maps`. Of more times than frames, or of long
    records (see :func:`panels.stretch`), some are left out. What a method does not cover is hatched.

    Args:
        plane: One case of a ``twin`` dataset in the plane, without the dimension ``case``.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``.
        window: The number of assimilated states.
        frames: The most frames.
        quantity: What is drawn, see :func:`posterity.metrics.quantity`.

    Returns:
        The animation, which stands at the window's end; a line of text if states are not in the plane.

    Raises:
        PosterityError: If there is no such quantity, or nothing to draw.
    """
    if not is_plane(plane):
        return Film(note("states have no grid of two axes, and there is no animation of them"), 1, lambda _: None)
    if not posteriors:
        raise PosterityError("figure 'animation': there is no posterior to draw; name at least one posterior file")
    times = _times(plane.sizes["time"], window, frames)
    when, like = plane["time"].values[times], posteriors[0]["state"]
    truth = _truth(plane.isel(time=times), like, quantity)
    shown = [_of_method(posterior, when, quantity) for posterior in posteriors]
    rows = [fields if truth is None else [truth, *fields] for fields in shown]
    scale = scale_of([fields[0] for fields in (rows[:1] if truth is not None else rows)])
    extent = sides(like)
    ratio, titles = extent[1] / extent[0], ["truth"] * (truth is not None) + ["mean", "draw 1", "draw 2"]
    tall = (style.HEIGHT - HEAD - FOOT) / len(rows) - GAP
    wide = (style.WIDTH - LEFT - 0.05) / len(titles) - GAP
    width = min(LARGE, wide, tall / ratio, (AREA / ratio / len(titles) / len(rows)) ** 0.5)
    height = width * ratio
    figure = Figure(figsize=(LEFT + len(titles) * (width + GAP) + 0.05, HEAD + len(rows) * (height + GAP) + FOOT))
    moving = []
    for row, (fields, posterior) in enumerate(zip(rows, posteriors, strict=True)):
        bottom = FOOT + (len(rows) - 1 - row) * (height + GAP)
        for column, values in enumerate(fields):
            axes = panel_at(figure, (LEFT + column * (width + GAP), bottom, width, height))
            moving.append(Moving(draw_field(axes, values[0], extent, scale), values))
            if not row:
                axes.set_title(titles[column])
        place = (LEFT - 0.06) / figure.get_figwidth(), (bottom + height / 2) / figure.get_figheight()
        figure.text(*place, wrapped(str(posterior.attrs["method"]), LEFT - 0.1), ha="right", va="center")
    across = len(titles) * (width + GAP)
    ends = style.extend([fields for _, fields in moving], scale.norm)
    colour_bar(figure, (LEFT + 0.25 * across, FOOT - 0.13, 0.5 * across, 0.07), scale, ends)
    name = quantity_of(like.isel(sample=slice(1), time=slice(1)), quantity)
    middle = (LEFT + across / 2) / figure.get_figwidth()
    figure.text(middle, 0.08 / figure.get_figheight(), style.quantity(str(name.name), name), ha="center")
    title = figure.text(middle, 1 - 0.16 / figure.get_figheight(), "", ha="center", fontsize=8)
    behind = np.asarray(times) >= window

    def show(frame: int) -> None:
        """Shows the fields of a frame."""
        for image, fields in moving:
            image.set_data(np.ma.masked_invalid(fields[frame]))
        title.set_text(f"{style.time_label(plane)}: {when[frame]:.3g}{', forecast' * bool(behind[frame])}")

    show(int(np.flatnonzero(~behind)[-1]))
    return Film(figure, len(times), show)


def _times(count: int, window: int, frames: int) -> list[int]:
    """The times that are shown."""
    part = stretch(count, window)
    whole = part.stop - part.start
    return np.unique(np.linspace(part.start, part.stop - 1, min(frames, whole)).round().astype(int)).tolist()


def _truth(twin: xr.Dataset, like: xr.DataArray, quantity: str | None) -> np.ndarray | None:
    """The truth at the shown times, if there is one."""
    if "state" not in twin:
        return None
    # Methods see entries by their places; their names are those of the draws.
    state = twin["state"].assign_coords({axis: like[axis] for axis in ("channel", "y", "x") if axis in like.coords})
    found: np.ndarray = quantity_of(state, quantity).transpose("time", "y", "x").values
    return found


def _of_method(posterior: xr.Dataset, times: np.ndarray, quantity: str | None) -> list[np.ndarray]:
    """Mean and draws of a method at some times, ``(time, y, x)``; NaN at those that it does not cover."""
    same = same_times(posterior["time"].values, times)
    covered = same.any(axis=0)
    field = quantity_of(posterior["state"].isel(time=same[:, covered].argmax(axis=0)), quantity)
    draws = (field.isel(sample=number) for number in range(min(DRAWS, field.sizes["sample"])))
    found = np.full((1 + DRAWS, len(times), field.sizes["y"], field.sizes["x"]), np.nan, np.float32)
    for place, part in enumerate((field.mean("sample", dtype=np.float64), *draws)):
        found[place, covered] = part.transpose("time", "y", "x").values
    return list(found)
