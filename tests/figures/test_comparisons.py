"""Figures that compare methods by their scores: ranks, cycles, accuracy against cost."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from posterity.errors import PosterityError
from posterity.figures.accuracy_cost import accuracy_cost, pareto
from posterity.figures.cycle import cycle, running_mean
from posterity.figures.drawing.labels import put_labels
from posterity.figures.drawing.panels import judged, stretch
from posterity.figures.ranks import ranks


def histograms(counts, **others):
    """Metrics with rank histograms ``(method, case, time, bin)``."""
    names = [f"m{i}" for i in range(len(counts))]
    return xr.Dataset({"rank_histogram": (("method", "case", "time", "bin"), counts), **others}, {"method": names})


def band(axes):
    """The half-width of the band of calibrated histograms."""
    return axes.patches[0].get_height() / 2


def test_the_band_of_independent_entries_is_that_of_a_multinomial():
    rng = np.random.default_rng(0)
    cases, entries, bins = 400, 50, 10
    counts = rng.multinomial(entries, np.full(bins, 1 / bins), size=(1, cases, 1)).astype(float)
    (axes,) = ranks(histograms(counts), window=1).axes
    # The design effect of independent entries is one, to within its own error of about (2 / (cases · bins))^½.
    assert band(axes) == pytest.approx(1.96 * np.sqrt((bins - 1) / (cases * entries)), rel=0.1)


def test_entries_that_move_together_widen_the_band():
    rng = np.random.default_rng(0)
    cases, entries, bins = 400, 50, 10
    counts = entries * rng.multinomial(1, np.full(bins, 1 / bins), size=(1, cases, 1)).astype(float)
    (axes,) = ranks(histograms(counts), window=1).axes
    assert band(axes) == pytest.approx(1.96 * np.sqrt((bins - 1) / cases), rel=0.1)


@pytest.mark.slow
def test_the_band_holds_nineteen_bins_of_twenty():
    """Of calibrated methods whose entries depend on each other, over many histograms."""
    rng = np.random.default_rng(0)
    methods, cases, entries, bins = 60, 60, 16, 10
    common = rng.standard_normal((methods, cases, 1))
    u = 0.8 * common + 0.6 * rng.standard_normal((methods, cases, entries))
    order = u.ravel().argsort().argsort().reshape(u.shape) / u.size
    counts = np.stack([((order * bins).astype(int) == k).sum(axis=-1) for k in range(bins)], axis=-1)
    inside = []
    for own in counts:
        (axes,) = ranks(histograms(own[None, :, None].astype(float)), window=1).axes
        heights = axes.patches[1].get_data().values
        inside.append(np.abs(heights - 1) < band(axes))
    # Bins of one histogram depend on each other; at worst, sixty independent trials.
    assert np.mean(inside) == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / methods))


def test_histograms_are_relative_to_the_expected_count():
    counts = np.zeros((2, 3, 2, 4))
    counts[0, :, 1] = [1, 2, 3, 2]
    counts[1, :, 1] = [20, 0, 0, 0]
    first, second = ranks(histograms(counts), window=2).axes
    np.testing.assert_allclose(first.patches[1].get_data().values, [0.5, 1, 1.5, 1])
    assert [text.get_text() for text in second.texts] == ["4.0"]


@pytest.mark.slow
def test_ranks_of_parameters_stand_apart(ring):
    figure = ranks(ring.metrics, ring.window)
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == ["prior", "4dvar", "ensemble-4dvar", "vi", "4dvar", "ensemble-4dvar", "vi"]
    assert len(figure.axes[4].patches) == 1 + len(ring.parameters)


def test_ranks_refuse_what_has_none():
    with pytest.raises(PosterityError, match="ranks need a truth"):
        ranks(xr.Dataset(), window=1)
    with pytest.raises(PosterityError, match="every rank is NaN"):
        ranks(histograms(np.full((1, 2, 1, 3), np.nan)), window=1)


def test_long_records_show_their_end():
    assert stretch(20, 10) == slice(0, 20)
    assert stretch(1000, 1000) == slice(880, 1000)
    shown = stretch(1000, 500)
    assert shown.stop - shown.start == 120
    assert shown.start < 500 < shown.stop


def test_times_of_comparison():
    assert judged(window=12, cycles=1, burn_in=0) == slice(11, 12)
    assert judged(window=200, cycles=100, burn_in=10) == slice(20, 200)


def test_running_means_skip_what_is_missing():
    values = np.array([np.nan, 1.0, 2.0, 6.0, np.nan, 4.0])
    np.testing.assert_allclose(running_mean(values, 3), [np.nan, 1.5, 3.0, 4.0, np.nan, 4.0])
    np.testing.assert_allclose(running_mean(values, 1), values)


@pytest.mark.slow
def test_cycles_are_averaged_behind_the_burn_in(record):
    figure = cycle(record.metrics, record.window, record.cycles, record.burn_in)
    found = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(found) == record.metrics.sizes["method"]
    kept = record.metrics.isel(time=slice(record.burn_in, None))
    for text, method in zip(found, record.metrics["method"].values, strict=True):
        own = kept.sel({"method": method})
        assert text == f"{method}  {float(own['rmse'].mean()):#.3g} / {float(own['spread'].mean()):#.3g}"


def test_a_method_that_lost_all_cases_has_a_dash_for_an_average(record):
    short = record.metrics.isel(time=slice(30))
    lost = short.assign(rmse=short["rmse"].where(short["method"] != "filter-2"))
    figure = cycle(lost, 30, 30)
    found = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name.startswith("filter-2  – / ") for name in found] == [index == 2 for index in range(6)]
    # Too short for running means.
    assert "means" not in figure.axes[-1].get_xlabel()


def test_the_pareto_front_is_what_none_beats():
    costs = np.array([1.0, 2.0, 3.0, 4.0, 2.0])
    scores = np.array([5.0, 3.0, 4.0, 1.0, 3.5])
    np.testing.assert_array_equal(pareto(costs, scores), [0, 1, 3])


def test_accuracy_stands_over_cost(ring):
    crps, distance = accuracy_cost(ring.metrics, ring.window).axes
    at = ring.metrics.isel(time=ring.window - 1)
    for axes, score in ((crps, at["crps"]), (distance, at["sliced_wasserstein"])):
        for container, method in zip(axes.containers, ring.metrics["method"].values, strict=True):
            own = score.sel({"method": method})
            assert container[0].get_ydata()[0] == pytest.approx(float(own.mean()))
            seconds = float(ring.metrics["info_seconds"].sel({"method": method}).mean())
            assert container[0].get_xdata()[0] == pytest.approx(seconds)
            low, high = container[2][0].get_segments()[0][:, 1]
            assert (high - low) / 2 == pytest.approx(float(own.std(ddof=1)) / np.sqrt(own.size))


def test_methods_without_a_score_or_a_cost_are_left_out(ring):
    metrics = ring.metrics.copy(deep=True)
    metrics["crps"][0] = np.nan
    metrics["info_seconds"][1] = np.nan
    crps, _ = accuracy_cost(metrics, ring.window).axes
    assert {text.get_text() for text in crps.texts} == {"ensemble-4dvar", "vi"}


def test_labels_keep_apart():
    axes = Figure(figsize=(5, 4)).subplots()
    points = np.random.default_rng(0).random((12, 2)) * 0.2 + 0.4
    axes.plot(*points.T, "o")
    names = [f"method {i}" for i in range(12)]
    axes.set(xlim=(0, 1), ylim=(0, 1))
    put_labels(axes, points, np.full(12, np.nan), names, ["black"] * 12)
    size = np.array([4.4 * 8, 8.5])
    scale = 72 / axes.figure.dpi
    middles = [axes.transData.transform(text.xy) * scale + text.xyann for text in axes.texts]
    gaps = [np.abs(one - other) / size for i, one in enumerate(middles) for other in middles[:i]]
    assert sum((gap < 0.9).all() for gap in gaps) == 0
