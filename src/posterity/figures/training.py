"""Loss curves of all trainings."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import PosterityError
from .drawing import style

#: Groups beside each other, and the height of each, in inches.
ACROSS, HEIGHT = 2, 1.3

#: Losses above this quantile are cut: those of the first epochs would flatten all that follow.
CUT = 0.97

#: The longest training whose time axis is in seconds, and in minutes; both in seconds.
SECONDS, MINUTES = 600.0, 36000.0


class Clock(NamedTuple):
    """A unit of time: its name and its length in seconds."""

    unit: str
    seconds: float


@style.styled
def training(histories: xr.Dataset) -> Figure:
    """Draws the training and the validation loss of each trained method against epoch and against wall time.

    Methods of one group share two panels, one thin line for each seed. Losses of different groups are different
    quantities: each has a scale of its own. The first epochs may be cut off above.

    Args:
        histories: ``train_loss``, ``valid_loss`` and ``seconds`` (those of each epoch) with dimensions
            ``(method, epoch)``, NaN behind the end of shorter trainings, and the coordinates ``epoch``, from one on,
            ``group(method)`` and, if it is known, ``unit(method)``, that of the loss. The attribute ``methods`` names
            all methods of the experiment, among which these have their colours.

    Returns:
        The figure: two panels for each group.

    Raises:
        PosterityError: If nothing was trained.
    """
    names = list(dict.fromkeys(histories["group"].values.tolist()))
    if not names:
        raise PosterityError("figure 'training': there is no history of a training to draw; give --history FILES")
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    figure = style.canvas(0.45 + (HEIGHT if across > 1 else 2.0) * down)
    pairs = figure.subplots(down, 2 * across, squeeze=False).reshape(-1, 2)
    clock = _clock(float(histories["seconds"].sum("epoch").max()))
    looks = style.looks(histories.attrs.get("methods", names))
    for index, (panels, name) in enumerate(zip(pairs, names, strict=False)):
        own = histories.isel(method=np.flatnonzero(histories["group"].values == name))
        _group(panels, own, looks[name].colour, clock)
        panels[0].set_title(name, loc="left", color=looks[name].colour)
        if index + across >= len(names):
            panels[0].set_xlabel("epoch")
            panels[1].set_xlabel(f"wall time ({clock.unit})")
    figure.align_ylabels(pairs[:, 0])
    for panel in pairs[len(names) :].flat:
        panel.set_axis_off()
    lines = {
        "training loss": Line2D([], [], color="0.3", linestyle=":", linewidth=0.9),
        "validation loss": Line2D([], [], color="0.3", linewidth=0.9),
        "best epoch": Line2D([], [], color="0.3", linestyle="", marker="o", markersize=3.5),
    }
    figure.legend(list(lines.values()), list(lines), loc="outside upper center", ncols=len(lines))
    return figure


def _clock(seconds: float) -> Clock:
    """The unit of the time axis for a training of some seconds."""
    if seconds <= SECONDS:
        return Clock("s", 1.0)
    return Clock("min", 60.0) if seconds <= MINUTES else Clock("h", 3600.0)


def _group(panels: np.ndarray, histories: xr.Dataset, colour: str, clock: Clock) -> None:
    """Draws the trainings of one group, against epoch on the left and against time on the right."""
    epoch = histories["epoch"].values
    losses = [histories[name].transpose("method", "epoch").values for name in ("train_loss", "valid_loss")]
    times = np.cumsum(histories["seconds"].transpose("method", "epoch").values, axis=1) / clock.seconds
    for training, valid, time in zip(*losses, times, strict=True):
        for panel, at in zip(panels, (epoch, time), strict=True):
            _curves(panel, at, training, valid, colour)
    for panel in panels:
        panel.set_ylim(*_limits(np.concatenate(losses)))
        panel.locator_params(nbins=4)
    panels[0].locator_params(axis="x", integer=True)
    unit = str(histories["unit"].values[0]) if "unit" in histories.coords else ""
    panels[0].set_ylabel(f"loss ({unit})".replace("(1)", "(dimensionless)") if unit else "loss")
    panels[1].tick_params(labelleft=False)


def _curves(axes: Axes, at: np.ndarray, training: np.ndarray, valid: np.ndarray, colour: str) -> None:
    """Draws the losses of one training, and where it was best."""
    axes.plot(at, training, color=colour, linestyle=":", linewidth=0.7)
    axes.plot(at, valid, color=colour, linewidth=0.7)
    if np.isfinite(valid).any():
        best = int(np.nanargmin(valid))
        # A training that is best at its end has its marker on the border.
        axes.plot(at[best], valid[best], "o", color=colour, markersize=3, clip_on=False)


def _limits(losses: np.ndarray) -> tuple[float, float]:
    """The ends of the axis of losses."""
    known = losses[np.isfinite(losses)]
    if not known.size:
        return (0.0, 1.0)
    low, high = float(known.min()), float(np.quantile(known, CUT))
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin
