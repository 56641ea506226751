"""Draws a figure."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import Parameter, signature
from io import BytesIO
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from ..data import SCORES, atomic, read
from ..data.artifacts import DESCRIPTION, check_intact, description
from ..data.times import Clock, on_steps, readable
from ..errors import DataError, PosterityError
from ..experiment import Experiment, catalog
from ..figures.drawing import style
from ..figures.drawing.film import Film
from ..inference.drawing import CURVES, draw, observes_state, of_case
from ..inference.drawing import histories as side_by_side
from ..inference.drawing import one_case as one_case_of
from ..inference.progress import track
from ..metrics import summarize
from .files.provenance import dependency_text

log = logging.getLogger("posterity")

#: Suffix, the key of the description, and metadata of each format; without a date and the version of what drew it,
#: equal data give equal bytes.
FORMATS: Mapping[str, tuple[str, Mapping[str, None]]] = {
    ".svg": ("Description", {"Date": None, "Creator": None}),
    ".png": ("Description", {"Software": None}),
    ".pdf": ("Subject", {"CreationDate": None, "Creator": None, "Producer": None}),
}

#: The formats that are written together, for a target of either suffix or of none.
PAIR = (".svg", ".png")

#: The suffix of animations, their pictures per second, dots per inch, and number of colours: what makes them a few MB.
MOVING, RATE, DPI, COLOURS = ".gif", 6, 100, 96


def plot(
    experiment: Experiment,
    figure: str,
    twin: Path,
    metrics: Path | None,
    posteriors: Sequence[Path],
    output: Path,
    reference: Path | None = None,
    histories: Sequence[Path] = (),
) -> None:
    """Draws a figure, into the files of :func:`formats`.

    Times since a date are drawn as times since the first state. A figure names what it draws by its parameters:
    ``twin``, ``posteriors``, ``reference`` and ``standard`` of one case, ``twins``, ``metrics``, ``classifiers`` and
    ``summary`` of all, ``histories`` of trainings, ``window`` (of all cycles together), ``cycles``, ``burn_in``,
    ``sites``, ``times``, ``quantity``, ``frames``, ``parameters``, ``observes_state``. Nothing else is read. One that
    asks for ``plane`` is drawn of states in the plane, and is given their ``twin``; one that asks for ``spectra``, of
    states on a grid, and is given the ``metrics``. Of the methods of a group ``metrics`` and ``classifiers`` hold the
    first, and so should ``posteriors``. An animation is written beside its figure, as GIF.

    Args:
        experiment: The experiment, which says the drawn case and sites, and how figures name methods.
        figure: Its name in the catalogue.
        twin: The ``twin`` file; the attribute ``of_state`` of its observations, or else of the metrics, or else of the
            draws, says whether they are of the state itself.
        metrics: The aggregated ``metrics`` file; None for a figure of draws alone.
        posteriors: The ``posterior`` files, in the order of the experiment; a method may have
            several, for different cases.
        output: The target, see :func:`formats`.
        reference: The ``posterior`` file of the reference, if there is one; for the standard of a figure, that of any
            method.
        histories: The histories of the trainings, each in the folder of its method.

    Raises:
        PosterityError: If there is no such figure, case or format, or the files lack what it draws.
    """
    formats(output)
    function = catalog.resolve("figure", figure)
    names = {name: method.label or name for name, method in experiment.methods.items()}
    groups = experiment.groups()
    wanted = signature(function).parameters

    @cache
    def joined() -> xr.Dataset:
        """The scores of all methods."""
        if metrics is None:
            raise PosterityError(
                f"figure '{figure}': draws scores; give --metrics FILE, as `posterity aggregate` writes"
            )
        return read(metrics, "comparison", SCORES)

    @cache
    def drawn_from() -> xr.Dataset:
        """What says how the twins were read: the scores, or else the draws."""
        return read(posteriors[0], "posterior") if metrics is None and posteriors else joined()

    @cache
    def observed() -> xr.Dataset:
        """The twins, on the times of scores or draws if they have none of the model."""
        dataset = read(twin, "twin")
        if (clock := Clock.of(dataset) or Clock.of(drawn_from())) is not None:
            dataset = on_steps(dataset, clock, experiment.time_tolerance, str(twin))
        return readable(dataset)

    @cache
    def one_case() -> xr.Dataset:
        """The twin's case."""
        return one_case_of(observed(), experiment.figures.case, str(twin), "figures.case")

    @cache
    def cycles() -> int:
        """The number of windows of the record."""
        scored = {"metrics", "summary"} & set(wanted)
        return experiment.cycles_in((joined() if scored else observed()).sizes["time"])

    sources: Mapping[str, Callable[[], Any]] = {
        "twin": lambda: one_case().load(),
        "plane": lambda: one_case().load(),
        "twins": observed,
        "metrics": lambda: _metrics(joined(), names, groups),
        "classifiers": lambda: _metrics(joined(), names, groups),
        "spectra": lambda: _metrics(joined(), names, groups),
        "summary": lambda: summarize(_metrics(joined(), names), experiment.window, cycles(), experiment.burn_in),
        "posteriors": lambda: _posteriors(posteriors, one_case()["case"].item(), names),
        "reference": lambda: _reference(reference, one_case()["case"].item(), names),
        "standard": lambda: _reference(reference, one_case()["case"].item(), names),
        "histories": lambda: _histories(histories, names, groups),
        "window": lambda: experiment.window * cycles(),
        "cycles": cycles,
        "burn_in": lambda: experiment.burn_in,
        "parameters": lambda: list(experiment.parameters),
        "sites": lambda: experiment.figures.sites,
        "times": lambda: experiment.figures.times,
        "quantity": lambda: experiment.figures.quantity,
        "frames": lambda: experiment.figures.frames,
        "observes_state": lambda: observes_state(one_case(), drawn_from),
    }
    needed = {name for name, parameter in wanted.items() if parameter.default is Parameter.empty}
    if reference is None and needed & {"reference", "standard"}:
        raise PosterityError(f"figure '{figure}': draws the reference, and there is none; give --reference FILE")
    drawn = draw(figure, sources)
    save(drawn.figure if isinstance(drawn, Film) else drawn, output, dependency_text("plot", experiment, figure))
    if isinstance(drawn, Film):
        save_film(drawn, output.with_suffix(MOVING), figure)


def save(figure: Figure, output: Path, description: str) -> None:
    """Writes a figure into the files of :func:`formats`, each atomically, and says so.

    Args:
        figure: The figure.
        output: The target.
        description: What it is made by, for the metadata.
    """
    for path in formats(output):
        key, metadata = FORMATS[path.suffix]
        with style.context(), atomic(path) as temporary:
            figure.savefig(temporary, format=path.suffix.removeprefix("."), metadata={**metadata, key: description})
            if path.suffix == ".svg":
                temporary.write_text(_renumbered(temporary.read_text(encoding="utf-8")), encoding="utf-8")
            # What was laid out stays where it is: doing it again takes longer than the drawing.
            figure.set_layout_engine(None)
        log.info("%s: written", path)


def save_film(film: Film, output: Path, name: str) -> None:
    """Writes an animation as GIF, atomically, and says so; on a terminal it shows how far it is.

    Args:
        film: The animation.
        output: The file.
        name: The name of the figure.
    """
    # One palette for all pictures, of which the first has every colour: in its colour bar.
    palette = _picture(film.figure).quantize(COLOURS, dither=Image.Dither.NONE)
    pictures = []
    for frame in track(range(film.frames), f"plot {name}", film.frames):
        film.show(frame)
        pictures.append(_picture(film.figure).quantize(palette=palette, dither=Image.Dither.NONE))
    with atomic(output) as temporary:
        pictures[0].save(temporary, "GIF", save_all=True, append_images=pictures[1:], duration=1000 // RATE, loop=0)
    log.info("%s: written", output)


def _picture(figure: Figure) -> Image.Image:
    """A figure as it is."""
    with style.context(), BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=DPI)
        return Image.open(buffer).convert("RGB")


def formats(output: Path) -> list[Path]:
    """The files that a figure is written into.

    Args:
        output: The target: ``.pdf`` is written as it is; ``.svg``, ``.png`` or no suffix mean a vector file and a
            raster file beside each other.

    Returns:
        The files.

    Raises:
        PosterityError: If figures are not written in that format.
    """
    if output.suffix and output.suffix not in FORMATS:
        raise PosterityError(f"{output}: figures are written as {', '.join(FORMATS)}; give a path with such a suffix")
    return [output.with_suffix(suffix) for suffix in PAIR] if output.suffix in ("", *PAIR) else [output]


def _renumbered(svg: str) -> str:
    """Numbers the names of clip paths, hatches and markers: matplotlib derives some from addresses in memory."""
    numbers: dict[str, str] = {}

    def renamed(found: re.Match[str]) -> str:
        """The definition or the use of a name."""
        before, name = found.groups()
        return before + numbers.setdefault(name, f"{name[0]}{len(numbers)}")

    return re.sub(r'(id="|#)([a-z][0-9a-f]{10})(?=["\)])', renamed, svg)


def _metrics(dataset: xr.Dataset, labels: Mapping[str, str], groups: Mapping[str, str] | None = None) -> xr.Dataset:
    """The metrics of all methods, or of the first of each group, lazily, under the names that figures give them."""
    dataset = readable(dataset)
    names = [str(name) for name in dataset["method"].values]
    if groups is not None:
        found = [groups.get(name, name) for name in names]
        first = [place for place, group in enumerate(found) if group not in found[:place]]
        dataset, names = dataset.isel(method=first), [names[place] for place in first]
    return dataset.assign_coords(method=[labels.get(name, name) for name in names])


def _posteriors(paths: Sequence[Path], case: int, labels: Mapping[str, str]) -> list[xr.Dataset]:
    """One case of the draws of each method, lazily, from the one of its files that has it."""
    methods: dict[str, xr.Dataset | None] = {}
    for path in paths:
        dataset = readable(read(path, "posterior"))
        method = str(dataset.attrs.get("method", path.stem))
        methods[method] = methods.get(method) or of_case(dataset, case)
    found = [draws.assign_attrs(method=labels.get(name, name)) for name, draws in methods.items() if draws]
    if len(found) < len(methods):
        missing = ", ".join(name for name, draws in methods.items() if not draws)
        raise PosterityError(
            f"there are no draws of {missing} for case {case}; name the file that has them, or change 'figures.case'"
        )
    return found


def _reference(path: Path | None, case: int, labels: Mapping[str, str]) -> xr.Dataset | None:
    """One case of the draws of the reference (or of a method), lazily and under its name; None if there is none."""
    if path is None:
        return None
    dataset = readable(read(path, "posterior"))
    found = of_case(dataset, case)
    if found is None:
        raise PosterityError(f"{path}: there is no case {case}; name the file that has it, or change 'figures.case'")
    method = str(dataset.attrs.get("method", path.stem))
    return found.assign_attrs(method=style.REFERENCE if "run" in dataset else labels.get(method, method))


def _histories(paths: Sequence[Path], labels: Mapping[str, str], groups: Mapping[str, str]) -> xr.Dataset:
    """The histories of all trainings; methods are named by their folders."""
    names = [path.parent.name for path in paths]
    records = {labels.get(name, name): _history(path) for name, path in zip(names, paths, strict=True)}
    units = [_loss_units(path.parent / DESCRIPTION) for path in paths]
    joined = side_by_side(records, [groups.get(name, name) for name in names], units)
    return joined.assign_attrs(methods=list(dict.fromkeys(groups.values())))


def _history(path: Path) -> list[dict[str, float]]:
    """The history of one training, by epoch."""
    check_intact(path)
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{name: record[name] for name in ("epoch", *CURVES)} for record in records]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: cannot be read as a history ({error}); train the estimator again") from error


def _loss_units(path: Path) -> str:
    """The units of a training's loss; empty if it has no description."""
    return str(description(path.parent, ["loss_units"])["loss_units"]) if path.exists() else ""
