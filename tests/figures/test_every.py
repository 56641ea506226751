"""What holds for every figure."""

import subprocess
import sys
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from posterity import catalog
from posterity.figures import style
from posterity.metrics import summarize

FIGURES = sorted(catalog.CATALOG["figure"])
STUDIES = ("lorenz96", "lorenz63", "many")


def draw(name: str, study: Any) -> Figure:
    """Draws a figure of a study."""
    one = study.twin.isel(case=0)
    posteriors = [posterior.isel(case=0) for posterior in study.posteriors]
    identity = "x" in study.twin.dims
    function = catalog.resolve("figure", name)
    arguments: Mapping[str, tuple] = {
        "covariance": (one, posteriors, study.window),
        "coverage": (study.metrics, study.window),
        "data": (one, study.window, identity),
        "hovmoller": (one, study.metrics, study.window),
        "optimisation": (study.metrics,),
        "scores": (study.metrics, study.window),
        "table": (summarize(study.metrics, study.window),),
        "trajectories": (one, posteriors, study.window, identity),
    }
    return function(*arguments[name])


@pytest.fixture(scope="module")
def drawn(request: pytest.FixtureRequest) -> Mapping[tuple[str, str], Figure]:
    """Every figure of every study, laid out."""
    found = {}
    for study in STUDIES:
        for name in FIGURES:
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


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", FIGURES)
def test_texts_lie_inside_apart_and_can_be_read(drawn, name, study):
    figure = drawn[study, name]
    found = [(text, text.get_window_extent()) for text in texts(figure)]
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


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", FIGURES)
def test_figures_fit_a_page(drawn, name, study):
    width, height = drawn[study, name].get_size_inches()
    assert height <= style.HEIGHT
    assert width <= style.WIDTH if name != "table" else 1.1 * style.WIDTH


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"table", "data"}))
def test_every_method_is_named(drawn, many, name):
    shown = "\n".join(text.get_text() for text in texts(drawn["many", name])).split("\n")
    with_objective = np.isfinite(many.metrics["info_objective"]).any(["case", "iteration"])
    methods = many.metrics["method"].values[with_objective] if name == "optimisation" else many.metrics["method"].values
    assert set(methods) <= set(shown)


@pytest.mark.parametrize("name", FIGURES)
def test_units_are_said(drawn, name):
    shown = " ".join(text.get_text() for text in texts(drawn["lorenz96", name]))
    assert {"coverage": "fraction", "optimisation": "nat"}.get(name, "dimensionless") in shown
    if name in ("data", "hovmoller", "scores", "trajectories"):
        assert "time (model time units)" in shown


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"coverage"}))
def test_figures_do_without_truth(lorenz96, without_truth, name):
    with style.context():
        FigureCanvasAgg(draw(name, without_truth(lorenz96))).draw()


def test_the_surroundings_change_nothing(lorenz96):
    usual = draw("scores", lorenz96)
    with mpl.rc_context({"font.size": 20, "axes.labelsize": 30, "lines.linewidth": 9}):
        other = draw("scores", lorenz96)
        assert mpl.rcParams["font.size"] == 20
    assert other.axes[0].xaxis.label.get_fontsize() == usual.axes[0].xaxis.label.get_fontsize() == 7
    assert other.axes[0].lines[0].get_linewidth() == usual.axes[0].lines[0].get_linewidth()


def test_figures_import_no_torch():
    modules = ", ".join(target.partition(":")[0] for target in catalog.CATALOG["figure"].values())
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
