"""The data of one case in the plane: background, and truth and observations at some times."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..drawing import style
from ..drawing.labels import wrapped
from ..drawing.panels import stretch
from .plane import Scale, colour_bar, draw_field, draw_observed, has_places, panel_at, scale_of, sides

#: The most times, and the most channels of states and of observations.
TIMES, CHANNELS = 5, 4

#: The largest panel, room for names, between panels, above them, for colour bars, and below, in inches.
LARGE, LEFT, GAP, HEAD, RIGHT, FOOT = 1.2, 0.8, 0.05, 0.22, 0.5, 0.28


class Row(NamedTuple):
    """A row of maps: its name, its fields by columns, their colours, and whether they are observations."""

    name: str
    fields: dict[int, xr.DataArray]
    scale: Scale
    observed: bool


def data_in_plane(twin: xr.Dataset, window: int, observes_state: bool) -> Figure:
    """Draws the background, and truth and observations at some times of the window, a row for each channel.

    The first and the last state of the window are among them, and states between at equal distances. Observations are
    drawn where they stand.

    Args:
        twin: One case of a ``twin`` dataset in the plane, without the dimension ``case``.
        window: The number of assimilated states.
        observes_state: Whether observations are of the state itself, and so take the colours of the truth.

    Returns:
        The figure.
    """
    first = stretch(twin.sizes["time"], window).start
    places = np.unique(np.linspace(first, window - 1, min(TIMES, window - first)).round().astype(int))
    part, like = twin.isel(time=places), _states(twin)
    rows = [*_truth(part), *_observed(part, like, observes_state)]
    columns = sorted({column for row in rows for column in row.fields})
    extent = sides(like)
    ratio = extent[1] / extent[0]
    wide = min(LARGE, (style.WIDTH - LEFT - RIGHT) / len(columns) - GAP)
    width = min(wide, ((style.HEIGHT - HEAD - FOOT) / len(rows) - GAP) / ratio)
    height = width * ratio
    figure = Figure(figsize=(style.WIDTH, HEAD + len(rows) * (height + GAP) + FOOT))
    tall, spare = figure.get_figheight(), style.WIDTH - LEFT - RIGHT - len(columns) * (width + GAP)
    for number, row in enumerate(rows):
        bottom = tall - HEAD - number * (height + GAP) - height
        for place, column in enumerate(columns):
            if column not in row.fields:
                continue
            axes = panel_at(figure, (LEFT + spare / 2 + place * (width + GAP), bottom, width, height))
            _draw(axes, row, column, like)
            if not any(column in above.fields for above in rows[:number]):
                axes.set_title("background" if column < 0 else f"t = {float(part['time'][column]):.3g}")
        start = LEFT + spare / 2
        name = wrapped(row.name.replace(" ", "-"), LEFT - 0.1).replace("-", " ")
        figure.text((start - 0.06) / style.WIDTH, (bottom + height / 2) / tall, name, ha="right", va="center")
        bar = (start + len(columns) * (width + GAP) + 0.03, bottom + 0.05 * height, 0.07, 0.9 * height)
        ends = style.extend([field.values for field in row.fields.values()], row.scale.norm)
        colour_bar(figure, bar, row.scale, ends, upright=True)
    seen = float(np.isfinite(twin["observation"].values[:window]).mean())
    units = style.quantity("states", like) + (
        "" if observes_state else f", {style.quantity('observations', twin['observation'])}"
    )
    text = f"{units}; {seen:.0%} of the window observed; t: {style.time_label(twin)}"
    figure.text(0.5, 0.09 / tall, text, ha="center")
    return figure


def _states(twin: xr.Dataset) -> xr.DataArray:
    """States, for their grid; where nothing is known of them, observations in their place."""
    known = next((twin[name] for name in ("state", "background") if name in twin), None)
    if known is not None:
        return known
    return twin["observation"].rename(obs_channel="channel", obs_y="y", obs_x="x")


def _truth(twin: xr.Dataset) -> Iterator[Row]:
    """The truth of each channel, behind its background; the background alone where there is no truth."""
    known = [name for name in ("background", "state") if name in twin and bool(twin[name].notnull().any())]
    if not known:
        return
    for place, channel in list(enumerate(twin[known[0]]["channel"].values))[:CHANNELS]:
        fields = {}
        if "background" in known:
            fields[-1] = twin["background"].isel(channel=place)
        if "state" in known:
            fields |= {time: twin["state"].isel(channel=place, time=time) for time in range(twin.sizes["time"])}
        name = f"true {channel}" if "state" in known else str(channel)
        yield Row(name, fields, scale_of([field.values for field in fields.values()]), observed=False)


def _observed(twin: xr.Dataset, like: xr.DataArray, observes_state: bool) -> Iterator[Row]:
    """The observations of each channel, at the times that have some; none if they are on no grid."""
    observation = twin["observation"]
    if not has_places(observation):
        return
    names = [str(name) for name in observation["obs_channel"].values]
    alike = len(names) == like.sizes["channel"] and "obs_channel" not in observation.coords
    same = observes_state and alike
    if alike:
        names = [str(name) for name in like["channel"].values]
    truth = list(_truth(twin)) if same else []
    for place, name in enumerate(names[:CHANNELS]):
        own = observation.isel(obs_channel=place)
        times = [time for time in range(twin.sizes["time"]) if bool(own.isel(time=time).notnull().any())]
        scale = truth[place].scale if truth else scale_of([own.values])
        name = f"observed {name}" if len(names) > 1 else "observed"
        yield Row(name, {time: own.isel(time=time) for time in times}, scale, observed=True)


def _draw(axes: Axes, row: Row, column: int, like: xr.DataArray) -> None:
    """Draws one map of a row."""
    if row.observed:
        draw_observed(axes, row.fields[column], like, row.scale)
    else:
        draw_field(axes, row.fields[column].transpose("y", "x").values, sides(like), row.scale)
