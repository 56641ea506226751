"""Figures of what is learned: trainings, classifiers, credible regions, and all of it against size."""

from itertools import product

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

from posterity.data import TRAININGS
from posterity.errors import PosterityError
from posterity.figures.corner import corner
from posterity.figures.drawing import style
from posterity.figures.expected_coverage import expected_coverage
from posterity.figures.roc import roc
from posterity.figures.scaling import scaling
from posterity.figures.training import training

METHODS = ("prior", "npe", "nse")


def texts(figure):
    """The entries of the first legend."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_trainings_of_a_group_share_panels_and_a_colour(ring):
    figure = training(ring.histories)
    titles = [axes.get_title(loc="left") for axes in figure.axes[::2]]
    assert titles == ["prior", "4dvar", "ensemble-4dvar", "vi"]
    panel = figure.axes[2]
    assert len(panel.lines) == 2 * 3
    assert {line.get_color() for line in panel.lines} == {style.looks(titles)["4dvar"].colour}
    own = ring.histories.isel(method=[2, 3])
    for lines, losses in zip(
        np.array(panel.lines, dtype=object).reshape(2, 3), own.transpose("method", ...)["valid_loss"], strict=True
    ):
        np.testing.assert_array_equal(lines[1].get_ydata(), losses)
        assert lines[2].get_xdata()[0] == own["epoch"].values[int(np.nanargmin(losses.values))]


def test_wall_times_add_up_and_are_counted_in_fitting_units(ring):
    figure = training(ring.histories)
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_xdata(), np.arange(1, 31))
    assert "wall time (s)" in {axes.get_xlabel() for axes in figure.axes}
    long = ring.histories.assign(seconds=60 * ring.histories["seconds"])
    figure = training(long)
    assert "wall time (min)" in {axes.get_xlabel() for axes in figure.axes}
    np.testing.assert_allclose(figure.axes[1].lines[0].get_xdata(), np.arange(1, 31))


def test_the_first_epochs_do_not_flatten_the_rest(ring):
    spoilt = ring.histories.copy(deep=True)
    spoilt["train_loss"][:, 0] = 1e6
    assert training(spoilt).axes[0].get_ylim()[1] < 1e3


def test_no_training_is_refused(ring):
    with pytest.raises(PosterityError, match="no history of a training"):
        training(ring.histories.isel(method=slice(0)))


def test_curves_of_classifiers_and_their_areas(ring):
    figure = roc(ring.metrics)
    assert [axes.get_title() for axes in figure.axes] == ["states", "observations of them"]
    for axes, space in zip(figure.axes, ("state", "observation"), strict=True):
        for line, curve in zip(axes.lines[1:], ring.metrics["true_positive_rate"].sel(space=space), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), curve)
    own = ring.metrics.isel(method=3)
    areas = [
        f"{float(own['auc'].sel(space=space)):.3f}±{error}"
        for space, error in (("state", "0.010"), ("observation", "0.020"))
    ]
    assert texts(figure)[3] == f"vi  {' / '.join(areas)}"


def test_methods_without_a_classifier_are_left_out(ring):
    metrics = ring.metrics.copy(deep=True)
    metrics["auc"][:3] = np.nan
    assert [text.partition("  ")[0] for text in texts(roc(metrics))] == ["vi"]
    metrics["auc"][3] = np.nan
    with pytest.raises(PosterityError, match="every area is NaN"):
        roc(metrics)
    with pytest.raises(PosterityError, match="give the experiment a classifier"):
        roc(metrics.drop_vars("auc"))


def credibilities(cases, **ranks):
    """Metrics with the credibilities of some methods."""
    found = {name: (("method", "case"), np.stack(values)) for name, values in ranks.items()}
    return xr.Dataset(found, {"method": [f"m{i}" for i in range(len(next(iter(ranks.values()))))]})


def test_expected_coverage_is_the_share_of_cases_at_each_credibility():
    ranks = np.array([0.1, 0.1, 0.35, 0.8])
    figure = expected_coverage(credibilities(4, hpd_rank=[ranks]), window=1)
    line = figure.axes[0].lines[-1]
    expected = [np.mean(ranks <= level) for level in line.get_xdata()]
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_the_band_holds_nineteen_curves_of_twenty_at_each_level():
    rng, methods, cases = np.random.default_rng(0), 400, 50
    figure = expected_coverage(credibilities(cases, tarp_rank=rng.random((methods, cases))), window=1)
    axes = figure.axes[0]
    vertices = axes.collections[0].get_paths()[0].vertices
    levels = axes.lines[-1].get_xdata()
    inside = []
    for level in (20, 50, 80):
        low, high = np.sort(np.unique(vertices[np.isclose(vertices[:, 0], levels[level]), 1]))
        inside += [low <= line.get_ydata()[level] <= high for line in axes.lines[1:]]
    # Counts of 50 cases are whole numbers: the probability inside is 0.943 to 0.962 instead of 0.95.
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012 + 3 * np.sqrt(0.05 * 0.95 / methods))


def test_regions_that_a_method_does_not_have_are_left_out():
    rng = np.random.default_rng(0)
    nothing = np.full(20, np.nan)
    metrics = credibilities(20, hpd_rank=[nothing, rng.random(20)], tarp_rank=[nothing, nothing])
    figure = expected_coverage(metrics, window=1)
    assert [axes.get_title() for axes in figure.axes] == ["regions of highest density"]
    assert texts(figure) == ["m1", "95 % if calibrated"]
    with pytest.raises(PosterityError, match="needs a truth"):
        expected_coverage(metrics.drop_vars(["hpd_rank"]), window=1)


def test_central_intervals_are_those_of_the_end_of_the_window(ring):
    figure = expected_coverage(ring.metrics, ring.window)
    observed = ring.metrics["coverage"].isel(time=ring.window - 1).mean("case")
    for line, own in zip(figure.axes[2].lines[1:], observed, strict=True):
        np.testing.assert_allclose(line.get_ydata(), own)


@pytest.mark.slow
def test_corners_are_held_against_the_weighted_prior(ring):
    """It is one of the methods, and no corner of its own is drawn."""
    draws = [posterior.isel(case=0) for posterior in ring.posteriors]
    weighted = draws[2].assign(info_ess=xr.DataArray(812.4))
    figure = corner(ring.twin.isel(case=0), draws, weighted, ring.window)
    assert texts(figure)[0] == "ensemble-4dvar, effective size 812"
    names = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert names == {"prior", "4dvar", "vi"}


@pytest.mark.slow
def test_a_weighted_prior_of_two_draws_does_not_flatten_methods(ring):
    """It has dots, and no density: its spike would set the scale of the diagonal."""
    draws = [posterior.isel(case=0) for posterior in ring.posteriors]
    repeated = draws[2].isel(sample=np.arange(draws[2].sizes["sample"]) % 2)
    figure = corner(ring.twin.isel(case=0), draws[:1], repeated, ring.window)
    diagonal = figure.axes[0]
    assert not diagonal.collections
    peak = max(line.get_ydata().max() for line in diagonal.lines if len(line.get_xdata()) > 2)
    assert diagonal.get_ylim()[1] < 1.2 * peak


def sizes(variants):
    """Made-up numbers of variants, by name, size and window; the prior is not trained."""
    rng, dims = np.random.default_rng(0), ("variant", "method", "seed")
    shape = (len(variants), len(METHODS), 3)
    found = {
        name: (dims, rng.uniform(1, 2, shape), {"units": TRAININGS[name][1].of("m/s")})
        for name in ("log_score", "auc", "crps", "sampling_seconds", "training_seconds", "parameters", "valid_loss")
    }
    dataset = xr.Dataset(
        {**found, "published_log_score": (("variant", "method"), np.full(shape[:2], np.nan))},
        {"variant": [name for name, _, _ in variants], "method": list(METHODS), "seed": np.arange(3)},
    )
    for name in set(found) - {"crps", "sampling_seconds"}:
        dataset[name][:, 0] = np.nan
    for name in ("crps", "sampling_seconds"):
        dataset[name][:, 0, 1:] = np.nan
    dataset["published_log_score"][0, 1] = 12.0
    return dataset.assign_coords(
        size=("variant", [size for _, size, _ in variants]), window=("variant", [window for _, _, window in variants])
    )


GRID = [(f"n{size}-t{window}", size, window) for window, size in product((10, 1), (32, 8, 16))]


def test_methods_are_drawn_against_size_for_each_window():
    dataset = sizes(GRID)
    figure = scaling(dataset)
    assert len(figure.axes) == 2 * 6
    assert [axes.get_title() for axes in figure.axes[:2]] == ["window of 1", "window of 10"]
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == [
        "−log q / N (nat)", "AUC (fraction)", "CRPS (m/s)", "1000 draws (s)", "training (s)", "weights (10³)"
    ]  # fmt: skip
    assert texts(figure) == [*METHODS, "published"]
    short = dataset.isel(variant=[4, 5, 3], method=1)
    (line,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3 and line.get_linestyle() == "-"][:1]
    np.testing.assert_array_equal(line.get_xdata(), [8, 16, 32])
    np.testing.assert_allclose(line.get_ydata(), short["log_score"].mean("seed") / [8, 16, 32])
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(float((short["log_score"] / short["size"]).max()))


def test_published_values_are_crosses():
    long = scaling(sizes(GRID)).axes[1]
    crosses = [line for line in long.lines if line.get_marker() == "x"]
    shown = [(x, y) for line in crosses for x, y in zip(*line.get_data(), strict=True) if np.isfinite(y)]
    assert shown == [(32, 12 / 32)]
    assert "published" not in texts(
        scaling(sizes(GRID).assign(published_log_score=lambda d: d["published_log_score"] * np.nan))
    )


def test_variants_of_one_size_are_drawn_against_the_length_of_the_record():
    dataset = sizes([("long", 8, 50), ("short", 8, 1), ("middle", 8, 10)])
    coverage = np.linspace(0, 1, 2 * dataset["crps"].size).reshape(*dataset["crps"].shape, 2)
    dataset = dataset.assign(parameter_coverage=(("variant", "method", "seed", "parameter"), coverage))
    figure = scaling(dataset.assign_coords(parameter=["F", "c"]))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_ylabel() for axes in panels[-2:]] == [f"90% coverage of {name} (fraction)" for name in "Fc"]
    assert {axes.get_xlabel() for axes in panels} == {"", "assimilated states T (number)"}
    line = panels[-1].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 10, 50])
    np.testing.assert_allclose(line.get_ydata(), coverage[[1, 2, 0], 0, :, 1].mean(axis=1))


def test_variants_that_differ_in_something_else_stand_side_by_side():
    figure = scaling(sizes([("seeing", 8, 1), ("blind", 8, 1)]))
    assert len([axes for axes in figure.axes if axes.axison]) == 6
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["seeing", "blind"]
    places = [line.get_xdata()[0] for line in figure.axes[2].lines]
    assert places == sorted(places)
    assert len(set(places)) == len(METHODS)


@pytest.mark.slow
def test_quantities_that_nobody_has_are_left_out():
    dataset = sizes(GRID)
    assert len(scaling(dataset.assign(auc=dataset["auc"] * np.nan)).axes) == 2 * 5
    with pytest.raises(PosterityError, match="nothing to draw"):
        scaling(dataset * np.nan)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variants", [GRID, GRID[:3], [("seeing", 8, 1), ("blind", 8, 1)]], ids=("windows", "one", "names")
)
def test_the_figure_of_sizes_fits_a_page(variants):
    figure = scaling(sizes(variants))
    with style.context():
        FigureCanvasAgg(figure).draw()
    width, height = figure.get_size_inches()
    assert width <= style.WIDTH
    assert height <= style.HEIGHT
    legend = figure.legends[0].get_window_extent()
    assert legend.y0 >= 0
    assert legend.y1 <= min(axes.get_tightbbox().y0 for axes in figure.axes if axes.axison) + 1
