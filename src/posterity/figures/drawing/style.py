"""The style of all figures: sizes for print, colours that colour-blind readers can tell apart, labels with units."""

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

Parameters = ParamSpec("Parameters")
Drawn = TypeVar("Drawn")

#: Width of the text on a printed page, in inches; figures are made for it, so that seven points stay seven points.
WIDTH = 6.9

#: The tallest figure that fits a page, in inches.
HEIGHT = 9.4

#: Colour maps: of states, of errors and covariances (symmetric about zero), and of standard deviations.
STATE: Colormap = cm.batlow
SIGNED: Colormap = cm.vik
POSITIVE: Colormap = cm.lapaz_r

#: The label of the reference, and the colour of its fill.
REFERENCE, REFERENCE_FILL = "reference", "0.78"

#: Colours of the truth, of observations, of the end of the window, and of missing values.
TRUTH = "black"
OBSERVATION = "0.35"
WINDOW_END = "0.25"
MISSING = "0.93"

#: Settings of matplotlib: letters of seven points, thin lines, and nothing in a file that changes from run to run.
SETTINGS: dict[Any, Any] = {
    "axes.formatter.useoffset": False,
    "axes.grid": False,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 7,
    "axes.titlepad": 3,
    "figure.titlesize": 8,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "hatch.color": "0.8",
    "hatch.linewidth": 0.4,
    "image.aspect": "auto",
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.title_fontsize": 7,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "svg.hashsalt": "posterity",
    "xtick.labelsize": 7,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}


#: Okabe and Ito's colours without black, which is the truth's, and yellow, which drowns in white paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS, LINES = ("o", "s", "^", "D", "v", "P", "X"), ("-", "--", "-.", ":")

#: Methods that look the same in all experiments, by their usual names: a row of them has a colour each.
KNOWN = (
    *("prior", "4dvar", "vi-mean-field", "vi-full", "ensemble-4dvar", "importance"),
    *("etkf", "particle-filter", "abc", "prior-importance", "npe", "npe-importance"),
    *("fmpe", "nre", "guided-score", "amortised-vi", "npe-hmc", "nse"),
    *("vi-flow", "enkf", "ienks", "letkf", "smc", "vi-low-rank"),
    *("hmc", "3dvar", "climatology", "exact", "npe-multiscale", "amortised-vi-importance"),
    *("npe-multiscale-importance", "vi", "enks", "particle-smoother", "vi-block-tridiagonal", "lagged-4dvar"),
    *("free-run", "lenks"),
)


class Look(NamedTuple):
    """The look of a method, the same in every figure: its colour, its marker and what fills it, its line."""

    colour: str
    marker: str
    line: str
    face: str


def context() -> AbstractContextManager[None]:
    """A context with the settings of all figures over matplotlib's defaults, for drawing and for saving.

    A user's own ``matplotlibrc`` must not change the bytes of a figure.
    """
    return mpl.rc_context({**mpl.rcParamsDefault, **SETTINGS, "backend": mpl.rcParams["backend"]})


def styled(function: Callable[Parameters, Drawn]) -> Callable[Parameters, Drawn]:
    """Decorates a function to draw with the settings of all figures, whatever those around it."""

    @functools.wraps(function)
    def drawn(*args: Parameters.args, **options: Parameters.kwargs) -> Drawn:
        with context():
            return function(*args, **options)

    return drawn


def canvas(height: float) -> Figure:
    """An empty figure as wide as the page.

    Args:
        height: Its height in inches, at most that of a page.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, min(height, HEIGHT)))
    figure.set_layout_engine("constrained", h_pad=0.025, w_pad=0.03)
    return figure


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Colour, marker and line of each method: those of its name, or of its place among the names that are not known.

    Colours come again after six, with other markers, which are hollow every second time.

    Args:
        methods: The methods' names, in the order of the experiment; up to 168 can be told apart.

    Returns:
        The looks, by name.

    References:
        | Color Universal Design (Okabe & Ito, 2008), https://jfly.uni-koeln.de/color/
    """
    # Trainings of one method with several seeds are named `method (seed)`, and look alike.
    groups = {method: method.partition(" (")[0] for method in methods}
    others = [group for group in dict.fromkeys(groups.values()) if group not in KNOWN]
    places = {group: place for place, group in enumerate((*KNOWN, *others))}
    return {method: _look(places[group]) for method, group in groups.items()}


def _look(place: int) -> Look:
    """The look with some number."""
    colour, again = COLOURS[place % len(COLOURS)], place // len(COLOURS)
    face = "white" if again % 2 else colour
    return Look(colour, MARKERS[place % len(MARKERS)], LINES[again % len(LINES)], face)


def quantity(name: str, variable: xr.DataArray, power: int = 1) -> str:
    """The label of a quantity with its units, those of a variable or a power of them.

    Args:
        name: The name of the quantity.
        variable: The variable that it has the units of.
        power: The power to which the units are raised, for variances.

    Returns:
        ``name (units)``; quantities without dimension and without stated units say so.
    """
    units = str(variable.attrs.get("units", "no units given"))
    if units == "1":
        units = "dimensionless"
    elif power != 1 and "units" in variable.attrs:
        units = f"({units})$^{power}$"
    return f"{name} ({units})"


def time_label(dataset: xr.Dataset) -> str:
    """The label of the time axis; without a coordinate, times are steps."""
    if "time" not in dataset.coords:
        return "time (steps)"
    return f"time ({dataset['time'].attrs.get('units', 'model time units')})"


def logarithmic(axes: Axes, name: Literal["x", "y"]) -> None:
    """Makes an axis logarithmic, with plain numbers at 1, 2 and 5, or at powers of ten if it spans many."""
    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    subs = (1, 2, 5) if high < 100 * low else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def limit(fields: Iterable[np.ndarray]) -> float:
    """The magnitude at which a colour scale shared by several methods ends.

    It is the median over methods of the 99th percentile of each one's magnitudes, so that neither a single entry nor a
    poor method sets the scale of all.

    Args:
        fields: The fields of each method, of any shape; NaN is left out.

    Returns:
        The magnitude; 1 if there is nothing to draw.
    """
    finite = [np.abs(field[np.isfinite(field)]) for field in fields]
    ends = [np.quantile(values, 0.99) for values in finite if values.size]
    return float(np.median(ends)) if ends and np.median(ends) > 0 else 1.0


def symmetric(fields: Iterable[np.ndarray]) -> Normalize:
    """A linear colour scale that is symmetric about zero, up to the :func:`limit` of the fields."""
    bound = limit(fields)
    return Normalize(-bound, bound)


def extend(fields: Iterable[np.ndarray], norm: Normalize) -> str:
    """The ends of a colour bar beyond which values lie, for its arrows: ``min``, ``max``, ``both``, ``neither``."""
    values = np.concatenate([field[np.isfinite(field)] for field in fields])
    below, above = bool((values < norm.vmin).any()), bool((values > norm.vmax).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
