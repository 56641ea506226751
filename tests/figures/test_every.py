"""What holds for every figure."""

from collections.abc import Mapping
from inspect import signature
from itertools import combinations
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from posterity.experiment import catalog
from posterity.figures.drawing import style
from posterity.figures.drawing.film import Film
from posterity.metrics import summarize

FIGURES = sorted(catalog.CATALOG["figure"])
#: Those of states in the plane, and those of states on a grid.
MAPS, SPECTRA = ("animation", "maps"), ("error_spectrum", "spectra")
#: The studies, each with figures that apply to it: all of them of many methods, and others where they look different.
APPLY = {
    "ring": [
        "accuracy_cost",
        "corner",
        "covariance",
        "expected_coverage",
        "parameters",
        "ranks",
        "reference",
        "roc",
        "table",
        "training",
    ],
    "point": sorted(set(FIGURES) - {"corner", "cycle", "parameters", "reference", "roc", *MAPS, *SPECTRA}),
    "many": [name for name in FIGURES if name not in ("cycle", *MAPS)],
    "record": ["accuracy_cost", "cycle", "data", "hovmoller", "ranks", "scores", "trajectories", *SPECTRA],
    "plane": ["corner", "covariance", "data", "hovmoller", "reference", "trajectories", *MAPS, *SPECTRA],
    "crowded": ["covariance", "hovmoller", *MAPS, *SPECTRA],
}
EVERY = [(study, name) for study, names in APPLY.items() for name in names]


def draw(name: str, study: Any) -> Figure:
    """Draws a figure of a study."""
    function = catalog.resolve("figure", name)
    parameters = signature(function).parameters
    sources: Mapping[str, Any] = {
        "twin": study.twin.isel(case=0),
        "plane": study.twin.isel(case=0),
        "twins": study.twin,
        "metrics": study.metrics,
        "summary": summarize(study.metrics, study.window) if "summary" in parameters else None,
        "posteriors": [posterior.isel(case=0) for posterior in study.posteriors],
        "reference": None if study.reference is None else study.reference.isel(case=0),
        "standard": None if study.reference is None else study.reference.isel(case=0),
        "classifiers": study.metrics,
        "spectra": study.metrics,
        "histories": study.histories,
        "window": study.window,
        "cycles": study.cycles,
        "burn_in": study.burn_in,
        "parameters": study.parameters,
        "observes_state": "x" in study.twin.dims,
        "sites": None,
        "times": None,
        "quantity": None,
        "frames": 3,
    }
    drawn = function(**{parameter: sources[parameter] for parameter in parameters})
    return drawn.figure if isinstance(drawn, Film) else drawn


@pytest.fixture(scope="module")
def drawn(request: pytest.FixtureRequest) -> Mapping[tuple[str, str], Figure]:
    """Every figure of every study, laid out."""
    found = {}
    for study, name in EVERY:
        found[study, name] = figure = draw(name, request.getfixturevalue(study))
        with style.context():
            FigureCanvasAgg(figure).draw()
    return found


def texts(figure: Figure) -> list[Text]:
    """All texts that are seen, tick labels left out: those of a shared axis may be hidden by their place alone."""
    ticks = {label for axis in figure.findobj(Axis) for label in axis.get_ticklabels(which="both")}
    hidden = {
        text
        for axes in figure.axes
        if not axes.axison
        for axis in (axes.xaxis, axes.yaxis)
        for text in axis.findobj(Text)
    }
    seen = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in seen if text not in ticks and text not in hidden]


@pytest.mark.parametrize(
    ("study", "name"), [(study, name) for study in ("point", "plane") for name in sorted({*APPLY[study], "coverage"})]
)
def test_a_record_of_one_state_has_every_figure(request, study, name):
    whole = request.getfixturevalue(study)
    end = whole.twin["time"].values[[whole.window - 1]]
    cut = {field: getattr(whole, field) for field in ("twin", "metrics", "reference")}
    cut = {field: None if data is None else data.sel(time=end) for field, data in cut.items()}
    posteriors = [posterior.sel(time=end) for posterior in whole.posteriors]
    assert draw(name, whole._replace(window=1, posteriors=posteriors, **cut)).axes


@pytest.mark.slow
@pytest.mark.parametrize(("study", "name"), EVERY)
def test_texts_lie_inside_apart_and_can_be_read(drawn, name, study):
    figure = drawn[study, name]
    # Of an annotation the text alone, without the line that leads to it.
    found = [(text, Text.get_window_extent(text)) for text in texts(figure)]
    assert found
    for text, box in found:
        assert text.get_fontsize() >= 7, text
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.width + 1, text
        assert box.y1 <= figure.bbox.height + 1, text
    for (one, first), (other, second) in combinations(found, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across < 1 or along < 2, (one, other)


@pytest.mark.slow
@pytest.mark.parametrize(("study", "name"), EVERY)
def test_figures_fit_a_page(drawn, name, study):
    width, height = drawn[study, name].get_size_inches()
    assert height <= style.HEIGHT
    assert width <= style.WIDTH if name != "table" else 1.1 * style.WIDTH


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "name"), [("many", n) for n in sorted({*APPLY["many"]} - {"data"})] + [("crowded", n) for n in MAPS]
)
def test_every_method_is_named(drawn, request, study, name):
    # Two spaces stand between a name and its numbers.
    shown = "\n".join(text.get_text() for text in texts(drawn[study, name])).replace("  ", "\n").split("\n")
    only = {"optimisation": "info_objective", "parameters": "parameter_mean", "roc": "auc"}.get(name, "spread")
    own = request.getfixturevalue(study).metrics[only]
    assert set(own["method"].values[own.notnull().any([*set(own.dims) - {"method"}])]) <= set(shown)


@pytest.mark.slow
@pytest.mark.parametrize(("study", "name"), EVERY)
def test_units_are_said(drawn, study, name):
    shown = " ".join(text.get_text() for text in texts(drawn[study, name]))
    fractions = dict.fromkeys(("coverage", "expected_coverage", "ranks", "roc"), "fraction")
    units = {**fractions, "error_spectrum": "ratio", "optimisation": "", "parameters": "forcing", "training": "(s)"}
    assert units.get(name, "dimensionless") in shown
    if name in ("cycle", "data", "hovmoller", "reference", "scores", "trajectories", "error_spectrum", *MAPS):
        assert "time (model time units)" in shown


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*APPLY["many"]} - {"coverage", "expected_coverage", "ranks"}))
def test_figures_do_without_truth(ring, without_truth, name):
    with style.context():
        FigureCanvasAgg(draw(name, without_truth(ring))).draw()


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLY["plane"])
def test_figures_of_the_plane_do_without_truth(plane, without_truth, name):
    with style.context():
        FigureCanvasAgg(draw(name, without_truth(plane))).draw()


@pytest.mark.parametrize(
    ("study", "name"), [*(("ring", name) for name in MAPS), *(("point", name) for name in SPECTRA)]
)
def test_of_other_grids_figures_say_that_they_have_nothing_to_show(request, study, name):
    (line,) = texts(draw(name, request.getfixturevalue(study)))
    assert "no grid" in line.get_text() or "no truth" in line.get_text()


@pytest.mark.slow
def test_the_surroundings_change_nothing(ring):
    usual = draw("scores", ring)
    with mpl.rc_context({"font.size": 20, "axes.labelsize": 30, "lines.linewidth": 9}):
        other = draw("scores", ring)
        assert mpl.rcParams["font.size"] == 20
    assert other.axes[0].xaxis.label.get_fontsize() == usual.axes[0].xaxis.label.get_fontsize() == 7
    assert other.axes[0].lines[0].get_linewidth() == usual.axes[0].lines[0].get_linewidth()
