"""Figures of curves and numbers: trajectories, objectives, calibration, scores, the table."""

import numpy as np
import pytest
import xarray as xr

from posterity.errors import PosterityError
from posterity.figures.coverage import coverage
from posterity.figures.drawing import style
from posterity.figures.drawing.panels import time_place
from posterity.figures.optimisation import optimisation
from posterity.figures.scores import scores
from posterity.figures.table import table, with_error
from posterity.figures.trajectories import trajectories
from posterity.metrics import summarize


def one_case(study, case=0):
    """Twin and posteriors of one case."""
    return study.twin.isel(case=case), [posterior.isel(case=case) for posterior in study.posteriors]


def curve(axes, colour=None, width=None):
    """The vertical coordinates of the first line of a colour and a width."""
    lines = [
        line for line in axes.lines if colour in (None, line.get_color()) and width in (None, line.get_linewidth())
    ]
    return np.asarray(lines[0].get_ydata(), dtype=float)


def test_trajectories_show_median_and_truth(ring):
    twin, posteriors = one_case(ring, 3)
    figure = trajectories(twin, posteriors, ring.window, True, [4, 9])
    panels = np.array(figure.axes).reshape(len(posteriors), 2)
    for row, posterior in zip(panels, posteriors, strict=True):
        for axes, site in zip(row, (4, 9), strict=True):
            np.testing.assert_allclose(curve(axes, "black"), twin["state"].values[:, 0, site])
            np.testing.assert_allclose(
                curve(axes, width=1.1), np.median(posterior["state"].values[:, :, 0, site], axis=0)
            )
    assert [axes.get_title() for axes in panels[0]] == ["site 4", "site 9"]


def marked(axes):
    """Heights of the observations that a panel shows."""
    return np.concatenate([np.asarray(container[0].get_ydata()) for container in axes.containers] or [np.empty(0)])


def test_observations_of_the_state_lie_on_the_trajectories(ring):
    twin, posteriors = one_case(ring)
    figure = trajectories(twin, posteriors, ring.window, True, [3])
    assert len(figure.axes) == len(posteriors)
    np.testing.assert_allclose(marked(figure.axes[0]), twin["observation"].values[:, 0, 3])


@pytest.mark.slow
def test_observations_of_another_quantity_stand_apart(point):
    twin, posteriors = one_case(point)
    panels = np.array(trajectories(twin, posteriors, point.window, False).axes).reshape(-1, 3)
    assert len(panels) == len(posteriors) + 1
    np.testing.assert_allclose(marked(panels[0, 2]), twin["observation"].values[:, 2])
    assert all(not len(marked(axes)) for axes in panels[1:].flat)
    assert panels[0, 0].get_ylim() != panels[1, 0].get_ylim()


def test_observations_that_belong_to_no_site_are_left_out(ring):
    twin, posteriors = one_case(ring)
    figure = trajectories(twin.isel(obs_x=slice(5)), posteriors, ring.window, False)
    assert len(figure.axes) == 3 * len(posteriors)
    assert all(not len(marked(axes)) for axes in figure.axes)


def test_trajectories_refuse_unknown_sites(ring):
    with pytest.raises(PosterityError, match=r"no site 16: the grid has sites 0 to 15.*figures\.sites"):
        trajectories(*one_case(ring), ring.window, True, [0, 16])


def objectives(*curves):
    """Metrics of two cases with the same objective, for each method; NaN behind the end."""
    length = max(map(len, curves))
    padded = [[[*values, *[np.nan] * (length - len(values))]] * 2 for values in curves]
    return xr.Dataset(
        {"info_objective": (("method", "case", "iteration"), padded)},
        coords={"method": [f"m{i}" for i in range(len(curves))]},
    )


def test_objectives_are_drawn_above_their_ends():
    figure = optimisation(objectives([110.0, 60.0, 10.0], [5.0, 3.0, 2.0, 2.0, 2.0], []))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["m0\nends at 10 nat", "m1\nends at 2 nat"]
    np.testing.assert_allclose(figure.axes[0].lines[-1].get_ydata(), [100, 50, 0])
    np.testing.assert_allclose(figure.axes[1].lines[-1].get_ydata(), [3, 1, 0, 0, 0])


def test_a_case_that_ended_early_stays_where_it_was():
    metrics = objectives([4.0, 2.0, 1.0, 1.0])
    metrics["info_objective"][0, 1, 2:] = np.nan
    axes = optimisation(metrics).axes[0]
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), [(3 + 2) / 2, (1 + 0) / 2, 0, 0])


def test_an_experiment_may_minimise_nothing():
    assert "keeps the values of an objective" in optimisation(xr.Dataset()).texts[0].get_text()


def test_objectives_must_not_all_be_lost():
    with pytest.raises(PosterityError, match="every objective is NaN"):
        optimisation(objectives([np.nan]))


def calibrated(methods=3, cases=50, times=4, bins=10):
    """Metrics of methods that are calibrated to the letter; the last one has half as many bins."""
    levels = np.array([0.5, 0.8, 0.9])
    counts = np.full((methods, cases, times, bins), 16.0)
    counts[-1, ..., bins // 2 :] = np.nan
    return xr.Dataset(
        {
            "coverage": (("method", "case", "time", "level"), np.broadcast_to(levels, (methods, cases, times, 3))),
            "rank_histogram": (("method", "case", "time", "bin"), counts),
        },
        coords={"method": [f"m{i}" for i in range(methods)], "level": levels},
    )


def test_calibrated_methods_lie_on_the_lines():
    metrics = calibrated()
    axes = coverage(metrics, window=2).axes
    assert [panel.get_title() for panel in axes] == ["start", "window end", "forecast end", "m0", "m1", "m2"]
    for panel in axes[:3]:
        assert len(panel.lines) == 4
        for line in panel.lines:
            np.testing.assert_allclose(line.get_xdata(), line.get_ydata())
    for panel, bins in zip(axes[3:], (10, 10, 5), strict=True):
        assert len(panel.patches) == 3
        for steps in panel.patches:
            np.testing.assert_allclose(steps.get_data().values, np.ones(bins))


def test_coverage_needs_a_truth(ring, without_truth):
    with pytest.raises(PosterityError, match="calibration needs a truth"):
        coverage(without_truth(ring).metrics, ring.window)


def test_scores_are_means_over_cases(ring):
    left, right = scores(ring.metrics, ring.window).axes
    for index, method in enumerate(ring.metrics["method"].values):
        own = ring.metrics.isel(method=index)
        for axes, name in ((left, "rmse"), (right, "spread")):
            line = next(line for line in axes.lines if line.get_label() == method)
            np.testing.assert_allclose(line.get_ydata(), own[name].mean("case"))
    assert left.get_ylim() == right.get_ylim()


def test_scores_without_truth_show_the_spread_alone(ring, without_truth):
    (axes,) = scores(without_truth(ring).metrics, ring.window).axes
    assert axes.get_ylabel() == "spread (dimensionless)"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.2134, 0.0123, "0.213±0.012"),
        (0.2134, 0.0345, "0.21±0.03"),
        (-470.4, 76.9, "−470±77"),
        (2.04, 0.2, "2.0±0.2"),
        (12.3, 1.44, "12.3±1.4"),
        (0.5, np.nan, "0.500"),
        (0.0, 0.0, "0"),
        (np.nan, 0.1, "–"),
    ],
)
def test_numbers_have_the_digits_of_their_errors(value, error, text):
    assert with_error(value, error) == text


def shown(figure):
    """All texts of the table."""
    return [text.get_text() for text in figure.axes[0].texts]


def test_table_shows_the_summary(ring):
    summary = summarize(ring.metrics, ring.window)
    found = shown(table(summary))
    at = summary.isel(method=1).sel(moment="forecast end")
    assert with_error(float(at["rmse"]), float(at["rmse_error"])) in found
    assert f"{float(summary.isel(method=2).sel(moment='window end', level=0.9)['coverage']):.0%}" in found
    assert {"RMSE (dimensionless)", "forecast\nend", "spread /\nskill", "90%\ncoverage", "gradients\n(10³)"} <= set(
        found
    )
    assert set(map(str, summary["method"].values)) <= set(found)


def test_table_shows_what_networks_cost_where_there_are_some(ring):
    summary = summarize(ring.metrics, ring.window)
    assert "networks, per draw" not in shown(table(summary))
    found = shown(table(summary.assign(network_calls=xr.full_like(summary["seconds"], 960.0))))
    assert {"networks, per draw", "calls", "960"} <= set(found)


def test_table_without_forecast_or_truth_leaves_columns_out(point, ring, without_truth):
    assert "forecast\nend" not in shown(table(summarize(point.metrics, point.window)))
    bare = shown(table(summarize(without_truth(ring).metrics, ring.window)))
    assert "spread (dimensionless)" in bare
    assert not {"CRPS", "spread /\nskill", "90%\ncoverage"} & set(bare)


@pytest.mark.slow
def test_table_shows_densities_and_classifiers_in_a_second_block(many, point):
    summary = summarize(many.metrics, many.window)
    figure = table(summary)
    found = shown(figure)
    assert {"−log q\n(nat)", "HPD", "TARP", "90% regions", "AUC", "obs."} <= set(found)
    assert f"{float(summary.isel(method=1).sel(level=0.9)['tarp_coverage']):.0%}" in found
    own = summary.isel(method=1).sel(space="observation")
    assert with_error(float(own["auc"]), float(own["auc_error"])) in found
    assert found.count("method-3") == 2
    assert figure.get_size_inches()[0] == pytest.approx(style.WIDTH)
    assert shown(table(summarize(point.metrics, point.window))).count("4dvar") == 1


def test_errors_too_small_to_show_are_left_out():
    assert with_error(0.99981, 1e-5) == "1.000"


def test_times_of_long_records_are_told_apart() -> None:
    times = xr.Dataset(coords={"time": 0.05 * np.arange(200_000)})
    for place in (0, 150_000, 199_999):
        assert time_place(times, np.float32(times["time"].values[place])) == place
    assert time_place(times, 0.07) is None
