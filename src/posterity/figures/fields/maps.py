"""Maps of truth, observations, mean, draws, error and spread of each method, at chosen times."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ...errors import PosterityError
from ...metrics import quantity as quantity_of
from ..drawing import style
from ..drawing.density import hatch
from ..drawing.labels import wrapped
from .plane import (
    Scale,
    bare,
    colour_bar,
    draw_field,
    draw_observed,
    draws_at,
    has_places,
    is_plane,
    note,
    panel_at,
    places_of,
    scale_of,
    sides,
)

#: The number of draws that are shown, and the most channels of observations.
DRAWS, OBSERVED = 2, 3

#: The width of a panel, in inches, below which fewer times are shown, where none are chosen; and the largest.
SMALL, LARGE = 0.75, 1.15

#: Room for names, between panels, above the rows that have titles, behind a time, and for colour bars, in inches.
LEFT, GAP, HEAD, BETWEEN, FOOT = 0.9, 0.05, 0.17, 0.08, 0.52


class Panels(NamedTuple):
    """Panels of a method at one time: its mean, draws ``(draw, y, x)``, error if there is a truth, and spread."""

    mean: np.ndarray
    draws: np.ndarray
    error: np.ndarray | None
    spread: np.ndarray


class Data(NamedTuple):
    """What is known at one time: its title, the truth if there is one, and channels of observations by their names."""

    title: str
    truth: np.ndarray | None
    observed: dict[str, xr.DataArray]

    @property
    def known(self) -> bool:
        """Whether there is anything: of a forecast there is not, without a truth."""
        return self.truth is not None or bool(self.observed)


class Page(NamedTuple):
    """A page of panels: its height, the place of its left column, and the sides of a panel, in inches; its methods.

    Then, of each time, whether there is a row of data.
    """

    height: float
    left: float
    side: tuple[float, float]
    methods: int
    known: tuple[bool, ...]

    def place(self, block: int, row: int, column: int, wide: int = 1) -> tuple[float, float, float, float]:
        """The place of panels beside each other: left, bottom, width, height; the first row of a time has the data."""
        width, height = self.side
        above = sum(self.of_time(height, self.methods, known) for known in self.known[:block])
        top = above + (row + self.known[block]) * (height + GAP) + HEAD * (1 + (row > 0))
        return self.left + column * (width + GAP), self.height - top, wide * (width + GAP) - GAP, height

    @staticmethod
    def of_time(height: float, methods: int, known: bool = True) -> float:
        """The height of all that is drawn of one time, for panels of some height, with data or without."""
        return (known + methods) * (height + GAP) + 2 * HEAD + BETWEEN


@style.styled
def maps(
    plane: xr.Dataset,
    posteriors: Sequence[xr.Dataset],
    window: int,
    observes_state: bool,
    times: Sequence[int] | None = None,
    quantity: str | None = None,
) -> Figure:
    """Draws a quantity in the plane at chosen times: truth and observations, and below them each method.

    Of a method these are the mean, two draws, the error of the mean and the spread. Truth, means and draws share their
    colours, at all times; errors, mean − truth, and spreads have a scale each, for all methods (see
    :func:`style.limit`). Quantities that lie on both sides of zero have colours about zero. Observations are drawn
    where they stand; of another quantity than is shown, in colours of their own. What a method does not cover is
    hatched.

    Args:
        plane: One case of a ``twin`` dataset in the plane, without the dimension ``case``.
        posteriors: The same case of the ``posterior`` dataset of each method, named by the attribute ``method``.
        window: The number of assimilated states.
        observes_state: Whether observations are of the state itself.
        times: The numbers of the states that are drawn. Start, window end and forecast end if omitted, or as many of
            these as there is room for.
        quantity: What is drawn, see :func:`posterity.metrics.quantity`.

    Returns:
        The figure; a line of text if states are not in the plane.

    Raises:
        PosterityError: If there is no such time or quantity, or nothing to draw.
    """
    if not is_plane(plane):
        return note("states have no grid of two axes, and there are no maps of them")
    if not posteriors:
        raise PosterityError("figure 'maps': there is no posterior to draw; name at least one posterior file")
    like = posteriors[0]["state"]
    extent, columns = sides(like), DRAWS + 2 + ("state" in plane)
    named = places_of(times, plane.sizes["time"], window, "maps")
    every = {place: _data(plane.isel(time=place), name, like, quantity) for place, name in named.items()}
    page, places = _page(named, every, len(posteriors), columns, extent, fixed=times is not None)
    data = [every[place] for place in places]
    panels = _panels(plane["time"].values[places], posteriors, [each.truth for each in data], quantity)
    shown = quantity_of(like.isel(sample=slice(1), time=slice(1)), quantity)
    known = [each.truth for each in data if each.truth is not None]
    field = scale_of(known or [own.mean for own in panels.values()])
    seen = _observed_scale(data, field, same=observes_state and shown.name in like["channel"].values)
    figure = Figure(figsize=(style.WIDTH, page.height))
    for block, each in enumerate(data):
        _draw_data(figure, page, block, each, like, (field, seen))
    errors = [own.error for own in panels.values() if own.error is not None]
    spreads = [own.spread for own in panels.values()]
    error = Scale(style.SIGNED, style.symmetric(errors))
    spread = Scale(style.POSITIVE, style.symmetric(spreads))
    spread.norm.vmin = 0
    scales = [field] * (1 + DRAWS) + [error] * bool(errors) + [spread]
    titles = ["mean", *(f"draw {n + 1}" for n in range(DRAWS)), *["mean − truth"] * bool(errors), "spread"]
    for block in range(len(places)):
        for row, posterior in enumerate(posteriors, start=1):
            own = panels.get((block, row - 1))
            fields = [None] * len(scales) if own is None else [own.mean, *own.draws, *_some(own.error), own.spread]
            for column, (values, scale) in enumerate(zip(fields, scales, strict=True)):
                axes = panel_at(figure, page.place(block, row, column))
                if values is None:
                    bare(axes, extent)
                    hatch(axes)
                else:
                    draw_field(axes, values, extent, scale)
                if row == 1:
                    axes.set_title(titles[column])
            _name(figure, page.place(block, row, 0), wrapped(str(posterior.attrs["method"]), LEFT - 0.1))
    _bars(figure, page, (field, error if errors else None, spread), panels)
    width, height = (f"{side:.3g}" for side in extent)
    text = f"{style.quantity(str(shown.name), shown)} on {width} × {height}; t: {style.time_label(plane)}"
    if seen is not field:
        text += f"; observed: {style.quantity('another quantity', plane['observation'])}"
    figure.text(0.5, 0.1 / page.height, text, ha="center")
    return figure


def _some(field: np.ndarray | None) -> list[np.ndarray]:
    """A field, if there is one."""
    return [] if field is None else [field]


def _page(
    named: Mapping[int, str],
    data: Mapping[int, Data],
    methods: int,
    columns: int,
    extent: tuple[float, float],
    fixed: bool,
) -> tuple[Page, list[int]]:
    """The page and the places of times on it, all of them if they are fixed, else as many as leave room for panels."""
    wanted = [list(named)]
    if not fixed:
        # The window's end says most, the start least.
        wanted += [[place for place, name in named.items() if name != "start"]]
        wanted += [[place for place, name in named.items() if name == "window end"]]
    broadest = min(LARGE, (style.WIDTH - LEFT - 0.05) / columns - GAP)
    ratio = extent[1] / extent[0]
    for places in (places for places in wanted if places):
        room = (style.HEIGHT - FOOT) / len(places) - Page.of_time(0, methods)
        width = min(broadest, room / (1 + methods) / ratio)
        side = (width, width * ratio)
        if width >= min(SMALL, broadest):
            break
    known = tuple(data[place].known for place in places)
    height = sum(Page.of_time(side[1], methods, row) for row in known) + FOOT
    spare = style.WIDTH - LEFT - columns * (side[0] + GAP)
    return Page(height, LEFT + spare / 2, side, methods, known), places


def _data(twin: xr.Dataset, name: str, like: xr.DataArray, quantity: str | None) -> Data:
    """What is known at one time."""
    title = f"{name}\nt = {float(twin['time']):.3g}".strip()
    truth = None
    if "state" in twin:
        # Methods see entries by their places; their names are those of the draws.
        own = twin["state"].assign_coords({axis: like[axis] for axis in ("channel", "y", "x") if axis in like.coords})
        truth = quantity_of(own, quantity).transpose("y", "x").values
    observed = {}
    if has_places(twin["observation"]):
        names = [str(channel) for channel in twin["observation"]["obs_channel"].values]
        if twin["observation"].sizes["obs_channel"] == like.sizes["channel"] and "obs_channel" not in twin.coords:
            names = [str(channel) for channel in like["channel"].values]
        for place, channel in enumerate(names[:OBSERVED]):
            values = twin["observation"].isel(obs_channel=place)
            if values.notnull().any():
                observed[f"obs. {channel}" if len(names) > 1 else "observed"] = values
    return Data(title, truth, observed)


def _panels(
    times: np.ndarray, posteriors: Sequence[xr.Dataset], truths: Sequence[np.ndarray | None], quantity: str | None
) -> dict[tuple[int, int], Panels]:
    """What is drawn of each method, by the places of time and method, of the times that it covers."""
    found = {}
    for method, posterior in enumerate(posteriors):
        for time, draws in draws_at(posterior, times, quantity):
            mean, truth = draws.mean(axis=0, dtype=np.float64), truths[time]
            spread = np.std(draws, axis=0, ddof=1, dtype=np.float64) if len(draws) > 1 else np.full_like(mean, np.nan)
            few = np.full((DRAWS, *mean.shape), np.nan)
            few[: len(draws)] = draws[:DRAWS]
            found[time, method] = Panels(mean, few, None if truth is None else mean - truth, spread)
    return found


def _observed_scale(data: Sequence[Data], field: Scale, same: bool) -> Scale:
    """The colours of observations: those of the field if they are of the same quantity."""
    values = [each.values for one in data for each in one.observed.values()]
    return field if same or not values else scale_of(values)


def _draw_data(
    figure: Figure, page: Page, block: int, data: Data, like: xr.DataArray, scales: tuple[Scale, Scale]
) -> None:
    """Draws truth and observations of one time, with the colours of the latter beside them if they are their own."""
    if not data.known:
        # Above the first method, whose own name is beside the middle of its row.
        left, bottom, _, tall = page.place(block, 1, 0)
        _name(figure, (left, bottom + tall + 0.02, 0.0, 0.0), data.title, "bottom")
        return
    _name(figure, page.place(block, 0, 0), data.title)
    column = 0
    if data.truth is not None:
        axes = panel_at(figure, page.place(block, 0, 0))
        draw_field(axes, data.truth, sides(like), scales[0])
        axes.set_title("truth")
        column = 1
    for title, values in data.observed.items():
        axes = panel_at(figure, page.place(block, 0, column))
        draw_observed(axes, values, like, scales[1])
        axes.set_title(title)
        column += 1
    if data.observed and scales[1] is not scales[0]:
        left, bottom, width, height = page.place(block, 0, column)
        fields = [values.values for values in data.observed.values()]
        place = (left + 0.03, bottom + 0.05 * height, min(0.07, 0.1 * width), 0.9 * height)
        colour_bar(figure, place, scales[1], style.extend(fields, scales[1].norm), upright=True)


def _bars(
    figure: Figure,
    page: Page,
    scales: tuple[Scale, Scale | None, Scale],
    panels: Mapping[tuple[int, int], Panels],
) -> None:
    """Draws the colour bars below the columns that they belong to, whose titles say what they are of."""
    field, error, spread = scales
    every = list(panels.values())
    bars = [(0, 1 + DRAWS, field, [own.mean for own in every])]
    if error is not None:
        bars.append((1 + DRAWS, 1, error, [each for own in every for each in _some(own.error)]))
    bars.append((1 + DRAWS + (error is not None), 1, spread, [own.spread for own in every]))
    for column, wide, scale, fields in bars:
        left, _, width, _ = page.place(0, 0, column, wide)
        inset = 0.15 * width if wide > 1 else 0.04
        place = (left + inset, FOOT - 0.13, width - 2 * inset, 0.07)
        colour_bar(figure, place, scale, style.extend(fields, scale.norm))


def _name(figure: Figure, place: tuple[float, float, float, float], name: str, stands: str = "center") -> None:
    """A name left of the first panel of a row; in its middle, or above its lower end."""
    width, height = figure.get_size_inches()
    left, bottom, _, tall = place
    figure.text((left - 0.06) / width, (bottom + tall / 2) / height, name, ha="right", va=stands)
