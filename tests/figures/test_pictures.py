"""What a reader sees in figures: looks, marks, ticks and scales."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from posterity.figures.accuracy_cost import accuracy_cost
from posterity.figures.corner import corner
from posterity.figures.covariance import covariance
from posterity.figures.coverage import TOP, coverage
from posterity.figures.drawing import style
from posterity.figures.drawing.density import ticks
from posterity.figures.drawing.labels import AWAY, put_labels, wrapped
from posterity.figures.drawing.panels import counted
from posterity.figures.expected_coverage import expected_coverage
from posterity.figures.scores import scores
from posterity.figures.table import Column, _best, _draw, table
from posterity.figures.training import training
from posterity.figures.trajectories import trajectories
from posterity.metrics import summarize


def one_case(study) -> list[xr.Dataset]:
    """The first case of the draws of each method."""
    return [posterior.isel(case=0) for posterior in study.posteriors]


def test_a_known_method_looks_the_same_in_every_experiment() -> None:
    one, other = style.looks(["prior", "mine", "npe"]), style.looks(["letkf", "npe", "npe (2)"])
    assert one["npe"] == other["npe"] == other["npe (2)"]
    assert one["mine"] == style.looks(["mine", "letkf"])["mine"]
    every = style.looks([*style.KNOWN, *(f"method {i}" for i in range(132))])
    assert len({(look.colour, look.marker, look.line) for look in every.values()}) == 168
    demo = ("prior", "4dvar", "vi-mean-field", "vi-full", "ensemble-4dvar", "importance")
    assert len({every[name].colour for name in demo}) == len(style.COLOURS)


def test_methods_keep_their_colours_where_others_are_left_out(ring) -> None:
    """The first method is what others are held against, and has no corner."""
    standard, *others = one_case(ring)
    figure = corner(ring.twin.isel(case=0), [standard, *others], standard, ring.window)
    looks = style.looks([str(each.attrs["method"]) for each in ring.posteriors])
    named = {text.get_text(): text.get_color() for axes in figure.axes for text in axes.texts}
    assert named == {name: look.colour for name, look in looks.items() if name != "prior"}


def test_trainings_have_the_colours_of_the_experiment_and_their_losses_units(ring) -> None:
    histories = ring.histories.assign_coords(unit=("method", ["nat", "nat", "1", "1", "", "", "nat", "nat"]))
    histories.attrs["methods"] = ["mine", "another", *dict.fromkeys(histories["group"].values.tolist())]
    figure = training(histories)
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["loss (nat)", "loss (dimensionless)", "loss", "loss (nat)"]
    looks = style.looks(histories.attrs["methods"])
    for axes in figure.axes[::2]:
        assert axes.lines[0].get_color() == looks[axes.get_title(loc="left")].colour


def test_covariances_that_a_method_does_not_have_are_hatched(many) -> None:
    figure = covariance(many.twin.isel(case=0), one_case(many), many.window)
    panels = [axes for axes in figure.axes if axes.axison and axes.images]
    empty = [axes for axes in panels if np.ma.getmaskarray(axes.images[0].get_array()).all()]
    assert 0 < len(empty) < len(panels)
    assert all(axes.patch.get_hatch() for axes in empty)


def test_curves_of_coverage_have_markers(many) -> None:
    figure = expected_coverage(many.metrics, many.window)
    looks = style.looks([str(name) for name in many.metrics["method"].values])
    for panel in figure.axes:
        curves = [line for line in panel.lines if line.get_label() in looks]
        assert curves
        for line in curves:
            look = looks[line.get_label()]
            assert (line.get_marker(), line.get_color()) == (look.marker, look.colour)
            assert line.get_markevery()[0] < len(line.get_xdata())


@pytest.mark.parametrize("draw", [coverage, expected_coverage, scores])
def test_legends_of_long_names_fit_the_page(many, draw) -> None:
    names = [f"{name}, a method with a long label" for name in many.metrics["method"].values]
    figure = draw(many.metrics.assign_coords(method=names), many.window)
    figure.draw_without_rendering()
    legends = figure.findobj(Legend)
    assert legends
    for legend in legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


def test_bars_that_are_cut_have_their_height(ring) -> None:
    figure = coverage(ring.metrics, ring.window)
    panels = [axes for axes in figure.axes if axes.get_ylim()[1] == TOP]
    assert len(panels) == ring.metrics.sizes["method"]
    counts = ring.metrics["rank_histogram"].sum("case")
    heights = (counts / counts.mean("bin")).isel(time=[0, ring.window - 1, -1]).max("time")
    for panel, own in zip(panels, heights.transpose("method", "bin").values, strict=True):
        known = own[np.isfinite(own)]
        high = [f"{half.max():.1f}" for half in np.array_split(known, 2) if half.max() > TOP]
        assert [text.get_text() for text in panel.texts] == high


def test_the_best_of_a_column_and_what_errors_do_not_tell_from_it() -> None:
    values, errors = xr.DataArray([1.0, 1.2, 2.0, np.nan, np.inf]), xr.DataArray([0.1, 0.2, 0.2, np.nan, np.nan])
    assert _best(values, errors) == [True, True, False, False, False]
    assert _best(values, None) == [True, False, False, False, False]
    assert _best(values, errors, ideal=2.0) == [False, False, True, False, False]
    # Nothing is best where there is nothing else, or no difference.
    assert _best(values[3:], errors[3:]) == _best(values[:2], errors[:2]) == ()


def test_the_best_is_bold(ring) -> None:
    names, judged = Column("", "method", ["one", "two"]), Column("a", "b", ["1", "2"], [False, True])
    columns = [names, judged, Column("a", "c", ["3", "4"])]
    with style.context():
        texts = {text.get_text(): text.get_weight() for text in _draw(columns).axes[0].texts}
    assert [texts[name] for name in ("1", "2", "3", "4", "two")] == ["normal", "bold", "normal", "normal", "normal"]
    # A spread is not judged where there is no truth, while what is nearest to a half is the best classifier's area.
    summary = summarize(ring.metrics, ring.window)
    texts = table(summary).axes[0].texts
    areas = summary["auc"].sel(space="state")
    nearest = float(areas.values[np.abs(areas.values - 0.5).argmin()])
    assert any(text.get_weight() == "bold" and text.get_text().startswith(f"{nearest:.2f}") for text in texts)


def test_the_table_says_over_how_many_cases_methods_are_scored(ring) -> None:
    assert "cases" not in [text.get_text() for text in table(summarize(ring.metrics, ring.window)).axes[0].texts]
    failed = (ring.metrics["method"] == "4dvar") & (ring.metrics["case"] < 2)
    names = [name for name in ring.metrics.data_vars if "case" in ring.metrics[name].dims]
    metrics = ring.metrics.assign({name: ring.metrics[name].where(~failed) for name in names})
    texts = [text.get_text() for text in table(summarize(metrics, ring.window)).axes[0].texts]
    assert "cases" in texts
    assert texts.count("6") == 3
    assert texts.count("4") == 1
    labels = counted(metrics["crps"])
    assert labels["4dvar"] == "4dvar (4 of 6 cases)"
    assert labels["prior"] == "prior"
    assert labels["4dvar"] in [text.get_text() for text in accuracy_cost(metrics, ring.window).axes[0].texts]


def test_the_table_names_methods_that_failed(ring) -> None:
    summary = summarize(ring.metrics.assign_attrs(failed='{"smc": "logs/assimilate/smc/0.log"}'), ring.window)
    assert table(summary).axes[0].texts[-1].get_text().endswith("Failed, and left out: smc.")


@pytest.mark.parametrize("upright", [False, True])
def test_small_panels_have_two_ticks(upright) -> None:
    rng = np.random.default_rng(0)
    for low, width in zip(rng.uniform(-9, 9, 200), rng.uniform(0.8, 20, 200), strict=True):
        places, names = ticks((low, low + width), upright)
        assert len(places) == len(names) >= 2
        assert (np.diff(places) > 0.1 * width).all()


def test_narrow_bands_are_drawn_as_errors(ring) -> None:
    """Of a method whose draws hardly differ from each other beside what all of them do."""
    twin, (first, second, *_) = ring.twin.isel(case=0), one_case(ring)
    truth = twin["state"]
    wide = first.assign(state=truth + 2 * (first["state"] - truth))
    narrow = second.assign(state=truth + 0.05 + 0.01 * (second["state"] - truth)).transpose("sample", ...)
    figure = trajectories(twin, [wide.transpose("sample", ...), narrow], ring.window, observes_state=True, sites=[3])
    above, one, other = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["truth", "prior", "4dvar\n− truth"]
    expected = narrow["state"].median("sample").isel(channel=0).sel(x=3) - truth.isel(channel=0).sel(x=3)
    assert any(
        len(line.get_ydata()) == len(expected) and np.allclose(line.get_ydata(), expected, atol=1e-6)
        for line in other.lines
    )
    assert other.get_ylim()[1] < 0.5 < one.get_ylim()[1]
    np.testing.assert_allclose(above.lines[0].get_ydata(), truth.isel(channel=0).sel(x=3))
    # Without a truth there are no errors, and the states themselves are drawn.
    figure = trajectories(twin.drop_vars("state"), [narrow], ring.window, observes_state=True, sites=[3])
    (axes,) = figure.axes
    assert axes.get_ylabel() == "4dvar"
    drawn = narrow["state"].median("sample").isel(channel=0).sel(x=3)
    assert any(len(line.get_ydata()) == len(drawn) and np.allclose(line.get_ydata(), drawn) for line in axes.lines)


@pytest.mark.parametrize("seed", [0, 1])
def test_lines_lead_from_far_labels_to_their_points_and_cross_no_other_label(seed) -> None:
    points = 0.5 + np.random.default_rng(seed).uniform(-0.12, 0.12, (12, 2))
    with style.context():
        axes = Figure(figsize=(3, 2.6)).subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    names = [f"method-{i}" for i in range(len(points))]
    with style.context():
        put_labels(axes, points, np.full(len(points), np.nan), names, ["black"] * len(points))
        axes.figure.draw_without_rendering()
    scale = 72 / axes.figure.dpi
    boxes = [Text.get_window_extent(text).get_points().ravel() * scale for text in axes.texts]
    far = 0
    for text, box, place in zip(axes.texts, boxes, axes.transData.transform(points) * scale, strict=True):
        near = np.clip(place, box[:2], box[2:])
        assert text.arrow_patch is not None or np.abs(near - place).max() < 2 * AWAY
        if text.arrow_patch is not None:
            far += 1
            line = place + np.linspace(0, 1, 50)[:, None] * (near - place)
            for other in (each for each in boxes if each is not box):
                assert not ((line > other[:2] + 1) & (line < other[2:] - 1)).all(axis=1).any()
    assert far


def test_names_are_broken_at_hyphens_and_spaces() -> None:
    assert wrapped("ensemble-4dvar", 0.8) == "ensemble-\n4dvar"
    assert wrapped("ensemble-4dvar", 2.0) == "ensemble-4dvar"
    assert wrapped("npe", 0.1) == "npe"
    assert wrapped("NPE, masked affine flow", 0.8) == "NPE, masked\naffine flow"
    assert wrapped("NPE, masked affine flow", 2.0) == "NPE, masked affine flow"
