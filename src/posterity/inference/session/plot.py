"""The figures of the catalogue, drawn of datasets: ``plot.NAME(twin, {name: posterior}, …)``. Imports no torch."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from ...data import accept
from ...data.times import Clock, on_steps, readable
from ...errors import PosterityError, nearest
from ...experiment import catalog
from ...figures.drawing import style
from ..drawing import draw, histories, observes_state, of_case, one_case
from ..progress import in_notebook
from .comparison import TOLERANCE, Posteriors, comparison, named, summary_of

#: The most pictures of an animation.
FRAMES = 40


def __getattr__(name: str) -> Callable[..., Any]:
    """The function that draws a figure; the module has one for each of the catalogue."""
    known = catalog.names("figure")
    if name not in known:
        raise AttributeError(f"there is no figure '{name}'{nearest(name, known)}")
    wanted = signature(catalog.resolve("figure", name)).parameters
    if "histories" in wanted:
        return _of_trainings
    if "classifiers" in wanted:
        found: Callable[..., Any] = catalog.resolve("figure", name)
        return found

    def figure(
        twin: xr.Dataset,
        posteriors: Posteriors,
        reference: xr.Dataset | None = None,
        *,
        case: int = 0,
        **settings: Any,
    ) -> Any:
        return _of_draws(name, twin, posteriors, reference, case, settings)

    figure.__name__ = figure.__qualname__ = name
    figure.__doc__ = f"""{(catalog.resolve("figure", name).__doc__ or "").partition("    Args:")[0].strip()}

    Args:
        twin: A ``twin`` dataset.
        posteriors: A ``posterior`` dataset for each method, by the name that the figure shows; or one alone.
        reference: One of the reference, if there is one.
        case: The case, by its place, of figures that show one.
        settings: What else the figure may be given: {", ".join(_settings(wanted)) or "nothing"}.

    Returns:
        The figure; of ``animation`` a :class:`~posterity.figures.drawing.film.Film`.
    """
    return figure


def __dir__() -> list[str]:
    return sorted(catalog.names("figure"))


def _of_trainings(estimators: Mapping[str, Any]) -> Figure:
    """Draws the losses of trainings against epoch and wall time.

    Args:
        estimators: Estimators that were fitted, by the names that the figure shows.

    Returns:
        The figure.
    """
    units = [str(estimator.description.get("loss_units", "")) for estimator in estimators.values()]
    records = {name: estimator.history for name, estimator in estimators.items()}
    if empty := [name for name, history in records.items() if not history]:
        raise PosterityError(f"{empty[0]}: has no history of a training; call fit first")
    joined = histories(records, list(records), units).assign_attrs(methods=list(records))
    return _shown(draw("training", {"histories": lambda: joined}))


def _of_draws(
    figure: str,
    twin: xr.Dataset,
    posteriors: Posteriors,
    reference: xr.Dataset | None,
    case: int,
    settings: Mapping[str, Any],
) -> Any:
    """Draws a figure of draws, of their scores or of both; what it does not show is not computed."""
    wanted = signature(catalog.resolve("figure", figure)).parameters
    if unknown := [name for name in settings if name not in _settings(wanted)]:
        raise TypeError(f"{figure}: there is no setting '{unknown[0]}'{nearest(unknown[0], _settings(wanted))}")
    draws = {name: accept(each, "posterior", name).chunk() for name, each in named(posteriors).items()}
    held = None if reference is None else accept(reference, "posterior", "reference").chunk()
    first = next(iter(draws.values()))

    @cache
    def twins() -> xr.Dataset:
        """The twins, on the times of the draws."""
        found, clock = accept(twin, "twin", "twin"), Clock.of(first)
        return readable(found if clock is None else on_steps(found, clock, TOLERANCE, "twin"))

    @cache
    def single() -> xr.Dataset:
        """The case that is shown."""
        return one_case(twins(), case, "twin")

    @cache
    def scores() -> xr.Dataset:
        """The scores of all methods."""
        return readable(comparison(twin, draws, held))

    def chosen(name: str, each: xr.Dataset) -> xr.Dataset:
        """The draws of the case."""
        found = of_case(readable(each), single()["case"].item())
        if found is None:
            raise PosterityError(f"{name}: has no draws of case {single()['case'].item()}; choose another case")
        return found.assign_attrs(method=name)

    def standard() -> xr.Dataset:
        """The draws that others are held against: the reference, or those of the first method."""
        name, each = next(iter(draws.items())) if held is None else (style.REFERENCE, held)
        return chosen(name, each)

    lengths = {name: int(first.attrs.get(name, 0)) for name in ("window", "cycles")}
    sources: dict[str, Callable[[], Any]] = {
        "twin": lambda: single().load(),
        "plane": lambda: single().load(),
        "twins": twins,
        "metrics": scores,
        "spectra": scores,
        "summary": lambda: summary_of(scores()),
        "posteriors": lambda: [chosen(name, each) for name, each in draws.items()],
        "reference": lambda: None if held is None else chosen(style.REFERENCE, held),
        "standard": standard,
        "window": lambda: lengths["window"] * lengths["cycles"],
        "cycles": lambda: lengths["cycles"],
        "burn_in": lambda: 0,
        "parameters": lambda: [str(name) for name in first["parameter"].values] if "theta" in first else [],
        "observes_state": lambda: observes_state(single(), lambda: first),
        **{name: _constant(None) for name in ("sites", "times", "quantity")},
        "frames": _constant(FRAMES),
        **{name: _constant(value) for name, value in settings.items()},
    }
    if held is None and wanted.get("reference", _OPTIONAL).default is Parameter.empty:
        raise PosterityError(f"{figure}: draws the reference, and there is none; give one")
    if held is None and "standard" in wanted and len(draws) == 1:
        raise PosterityError(f"{figure}: holds methods against a reference, or the first of them; give it or another")
    return _shown(draw(figure, sources))


_OPTIONAL = Parameter("reference", Parameter.KEYWORD_ONLY, default=None)

#: What a caller may set of figures.
SETTINGS = ("sites", "times", "quantity", "frames", "burn_in")


def _settings(wanted: Mapping[str, Parameter]) -> list[str]:
    """The settings of a figure."""
    return [name for name in SETTINGS if name in wanted]


def _constant(value: Any) -> Callable[[], Any]:
    """A source of one value."""
    return lambda: value


def _shown(drawn: Any) -> Any:
    """A figure, which notebooks are told to show as a picture, as they do once pyplot has drawn one."""
    if in_notebook():
        shell = import_module("IPython").get_ipython()
        if Figure not in shell.display_formatter.formatters["image/png"].type_printers:
            import_module("IPython.core.pylabtools").select_figure_formats(shell, {"png"})
    return drawn
