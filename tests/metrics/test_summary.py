"""Averages over cases and their errors."""

import numpy as np
import pytest
import xarray as xr

from posterity.errors import DataError
from posterity.metrics import calibrated, cycle_average, rows, spread_skill, standard_error, summarize, uniformity


def metrics(cases: int = 50, times: int = 5, samples: int = 10, **variables: tuple) -> xr.Dataset:
    """A calibrated method, as its metrics have it."""
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "mean": (("case", "time", "channel"), rng.standard_normal((cases, times, 1))),
            "rmse": (("case", "time"), 1 + 0.1 * rng.standard_normal((cases, times))),
            "spread": (("case", "time"), np.full((cases, times), 1.0), {"units": "m/s"}),
            "crps": (("case", "time"), np.arange(times) + rng.standard_normal((cases, times))),
            "coverage": (("case", "time", "level"), rng.uniform(size=(cases, times, 4))),
            "log_likelihood": ("case", rng.standard_normal(cases)),
            "calibrated_log_likelihood": ("case", np.full(cases, -3.0)),
            "samples": ("case", np.full(cases, samples)),
            **variables,
        },
        {"case": np.arange(cases), "level": [0.5, 0.8, 0.9, 0.95]},
    )


def test_moments_are_the_ends_of_window_and_forecast() -> None:
    found = metrics()
    summary = summarize(found, window=3)
    assert list(summary["moment"].values) == ["start", "window end", "forecast end"]
    np.testing.assert_allclose(summary["crps"], found["crps"].mean("case")[[0, 2, 4]])
    np.testing.assert_allclose(summary["coverage"], found["coverage"].mean("case")[[0, 2, 4]])
    assert list(summarize(found, window=5)["moment"].values) == ["start", "window end"]


def test_errors_are_standard_errors_over_cases() -> None:
    found = metrics()
    summary = summarize(found, window=5)
    np.testing.assert_allclose(summary["rmse_error"], found["rmse"].std("case", ddof=1)[[0, -1]] / np.sqrt(50))
    np.testing.assert_allclose(summary["log_likelihood_error"], found["log_likelihood"].std(ddof=1) / np.sqrt(50))
    assert float(summary["calibrated_log_likelihood"]) == -3.0


def test_standard_error_counts_only_the_cases_there_are() -> None:
    score = xr.DataArray([[1.0, np.nan, 3.0], [5.0, np.nan, np.nan]], dims=("method", "case"))
    np.testing.assert_allclose(standard_error(score), [1.0, np.nan])


def test_costs_are_means_per_case_and_missing_where_unknown() -> None:
    summary = summarize(metrics(cases=2, info_seconds=("case", [1.0, 3.0]), info_failed=("case", [0, 1])), window=5)
    assert float(summary["seconds"]) == 2.0
    assert float(summary["failed"]) == 0.5
    assert np.isnan(summary["model_steps"])
    assert np.isnan(summary["gradients"])


def test_a_draw_costs_its_share_of_the_time_of_a_case() -> None:
    made = metrics(cases=2, info_seconds=("case", [1.0, 3.0]), info_network_calls=("case", [20.0, 40.0]))
    found = summarize(made.assign(samples=("case", [4, 10])), window=5)
    assert float(found["seconds_per_draw"]) == pytest.approx((1 / 4 + 3 / 10) / 2)
    assert float(found["network_calls"]) == 30.0
    assert np.isnan(found["network_pullbacks"])


def test_what_needs_a_truth_is_missing_without_one() -> None:
    summary = summarize(metrics().drop_vars(["rmse", "crps", "coverage", "log_likelihood"]), window=3)
    for name in ("rmse", "rmse_error", "spread_skill", "crps", "coverage", "log_likelihood"):
        assert summary[name].isnull().all(), name
    np.testing.assert_allclose(summary["spread"], 1.0)
    assert int(summary["cases"]) == 50


def test_failed_cases_are_left_out_and_counted() -> None:
    found = metrics()
    failed = found.copy(deep=True)
    for name in ("mean", "rmse", "spread", "crps", "coverage", "log_likelihood"):
        failed[name] = failed[name].astype(float)
        failed[name][7] = np.nan
    summary, without = summarize(failed, window=5), summarize(found.drop_sel(case=7), window=5)
    assert int(summary["cases"]) == 49
    xr.testing.assert_allclose(summary, without)


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("samples", [4, 50])
def test_spread_skill_is_one_if_calibrated(std, samples) -> None:
    rng = np.random.default_rng(samples)
    shape = (2000, 1, 10)
    draws = std * rng.standard_normal((samples, *shape))
    rmse = xr.DataArray(((draws.mean(0) - rng.standard_normal(shape)) ** 2).mean(-1) ** 0.5, dims=("case", "time"))
    spread = xr.DataArray(draws.var(0, ddof=1).mean(-1) ** 0.5, dims=("case", "time"))
    ratio, error = spread_skill(rmse, spread, xr.DataArray(np.full(2000, samples), dims="case"))
    expected = np.sqrt((samples + 1) / samples * std**2 / (1 + std**2 / samples))
    assert abs(float(ratio[0]) - expected) < 4 * float(error[0])
    assert float(error[0]) < 0.03


def test_jackknife_error_is_that_of_the_delta_method() -> None:
    # With exact spreads, log ratio = −½ log of a mean of squares: its error is half the relative one of the mean.
    rmse = np.abs(np.random.default_rng(1).normal(1, 0.2, size=400))
    ratio, error = spread_skill(
        xr.DataArray(rmse, dims="case"), xr.ones_like(xr.DataArray(rmse, dims="case")), xr.DataArray(10)
    )
    squares = rmse**2
    expected = 0.5 * squares.std(ddof=1) / 20 / squares.mean() * float(ratio)
    np.testing.assert_allclose(error, expected, rtol=0.02)


def test_one_case_has_no_error() -> None:
    summary = summarize(metrics(cases=1), window=5)
    assert summary["spread_skill"].notnull().all()
    assert summary["spread_skill_error"].isnull().all()
    assert summary["rmse_error"].isnull().all()


def test_methods_are_kept_apart() -> None:
    one, two = metrics(), metrics(samples=20)
    both = summarize(xr.concat([one, two], dim=xr.Variable("method", ["a", "b"])), window=3)
    assert both["rmse"].dims == ("method", "moment")
    assert both["coverage"].dims == ("method", "moment", "level")
    for method, own in (("a", one), ("b", two)):
        xr.testing.assert_allclose(both.sel({"method": method}, drop=True), summarize(own, window=3))


def test_a_window_longer_than_the_file_is_refused() -> None:
    with pytest.raises(DataError, match="5 times and the window 6"):
        summarize(metrics(), window=6)


def test_the_gap_of_the_likelihood_has_its_own_error() -> None:
    rng = np.random.default_rng(2)
    calibrated = 100 * rng.standard_normal(50)
    found = metrics(log_likelihood=("case", calibrated + rng.standard_normal(50)))
    found["calibrated_log_likelihood"] = ("case", calibrated)
    summary = summarize(found, window=5)
    gap = found["log_likelihood"] - found["calibrated_log_likelihood"]
    np.testing.assert_allclose(summary["log_likelihood_gap"], gap.mean())
    np.testing.assert_allclose(summary["log_likelihood_gap_error"], gap.std(ddof=1) / 50**0.5)
    assert float(summary["log_likelihood_gap_error"]) < 0.1 * float(summary["log_likelihood_error"])


def test_distances_and_their_floors_are_averaged() -> None:
    rng = np.random.default_rng(3)
    found = metrics(
        mean_error=(("case", "time"), rng.uniform(size=(50, 5))),
        mean_error_floor=(("case", "time"), rng.uniform(size=(50, 5))),
        c2st=("case", rng.uniform(size=50)),
        c2st_floor=("case", rng.uniform(size=50)),
        reference_gap=("case", rng.uniform(size=50)),
    )
    summary = summarize(found, window=3)
    for name in ("mean_error", "mean_error_floor"):
        np.testing.assert_allclose(summary[name], found[name].mean("case")[[0, 2, 4]])
        np.testing.assert_allclose(summary[f"{name}_error"], found[name].std("case", ddof=1)[[0, 2, 4]] / 50**0.5)
    for name in ("c2st", "c2st_floor", "reference_gap"):
        np.testing.assert_allclose(summary[name], found[name].mean())
    assert summary["mmd"].isnull()
    assert "mmd_floor" not in summary


def test_parameters_are_averaged_one_by_one() -> None:
    rng = np.random.default_rng(4)
    names = ("error", "std", "crps", "rank", "mean")
    found = metrics(
        **{f"parameter_{name}": (("case", "parameter"), rng.uniform(size=(50, 2))) for name in names},
        parameter_coverage=(("case", "parameter", "level"), rng.uniform(size=(50, 2, 4))),
    ).assign_coords(parameter=["F", "b"])
    summary = summarize(found, window=3)
    assert summary["parameter_coverage"].dims == ("parameter", "level")
    np.testing.assert_allclose(summary["parameter_error"], found["parameter_error"].mean("case"))
    np.testing.assert_allclose(summary["parameter_crps_error"], found["parameter_crps"].std("case", ddof=1) / 50**0.5)
    np.testing.assert_allclose(summary["parameter_rank_uniformity"], uniformity(found["parameter_rank"]))


def test_ranks_are_tested_at_each_moment() -> None:
    rank = np.random.default_rng(5).uniform(size=(50, 5))
    rank[:, 2] **= 4
    summary = summarize(metrics(rank=(("case", "time"), rank)), window=3)
    np.testing.assert_allclose(
        summary["rank_uniformity"], [float(uniformity(xr.DataArray(rank[:, i], dims="case"))) for i in (0, 2, 4)]
    )
    assert float(summary["rank_uniformity"][1]) < 0.001 < float(summary["rank_uniformity"].isel(moment=[0, 2]).min())


def test_cycles_are_averaged_at_their_analyses() -> None:
    found = metrics(times=12, rank=(("case", "time"), np.random.default_rng(6).uniform(size=(50, 12))))
    summary = summarize(found, window=3, cycles=4, burn_in=1)
    analyses = found.isel(time=[5, 8, 11])
    assert list(summary["moment"].values) == ["analysis"]
    for name in ("rmse", "crps"):
        own = analyses[name].mean("time")
        np.testing.assert_allclose(summary[name], [own.mean()])
        np.testing.assert_allclose(summary[f"{name}_error"], [own.std(ddof=1) / 50**0.5])
    np.testing.assert_allclose(summary["coverage"], analyses["coverage"].mean(["case", "time"]).expand_dims("moment"))
    # The ratio is one of means of squares, over cycles as over cases.
    np.testing.assert_allclose(summary["spread_skill"], [(1.1 / (analyses["rmse"] ** 2).mean()) ** 0.5])
    np.testing.assert_allclose(summary["rank_uniformity"], [uniformity(found["rank"].isel(time=-1))])
    np.testing.assert_allclose(summary["rmse"], [cycle_average(found, 3, 1)["rmse"].mean("case")])
    assert summary["c2st"].dims == summary["samples"].dims == ()


def test_credible_regions_are_covered_and_tested() -> None:
    rng = np.random.default_rng(7)
    fractions = {"hpd_rank": rng.uniform(size=50), "tarp_rank": rng.uniform(size=50) ** 4}
    found = metrics(
        **{name: ("case", value) for name, value in fractions.items()},
        log_score=("case", rng.standard_normal(50)),
        predictive_coverage=(("case", "level"), rng.uniform(size=(50, 4))),
    )
    summary = summarize(found, window=3)
    for name in ("hpd", "tarp"):
        inside = (fractions[f"{name}_rank"][:, None] <= found["level"].values).mean(axis=0)
        np.testing.assert_allclose(summary[f"{name}_coverage"], inside)
        np.testing.assert_allclose(summary[f"{name}_uniformity"], uniformity(found[f"{name}_rank"]))
    assert float(summary["tarp_uniformity"]) < 0.001 < float(summary["hpd_uniformity"])
    np.testing.assert_allclose(summary["log_score_error"], found["log_score"].std(ddof=1) / 50**0.5)
    np.testing.assert_allclose(summary["predictive_coverage"], found["predictive_coverage"].mean("case"))
    # Of cycles too, though they have no moment.
    xr.testing.assert_allclose(summarize(found, window=1, cycles=5)["hpd_coverage"], summary["hpd_coverage"])


def test_without_densities_there_are_no_regions() -> None:
    summary = summarize(metrics(), window=3)
    for name in ("log_score", "hpd_coverage", "hpd_uniformity", "tarp_coverage", "predictive_coverage", "energy_score"):
        assert summary[name].isnull().all(), name
    assert "auc" not in summary


def test_a_case_that_fails_in_one_cycle_is_left_out() -> None:
    found = metrics(times=12)
    found["rmse"][4, 8] = found["spread"][4, 8] = np.nan
    summary, without = (summarize(each, window=3, cycles=4) for each in (found, found.drop_sel(case=4)))
    assert int(summary["cases"]) == 49
    np.testing.assert_allclose(summary["rmse"], without["rmse"])
    np.testing.assert_allclose(summary["spread_skill"], without["spread_skill"])


def test_fewer_times_than_the_cycles_have_are_refused() -> None:
    with pytest.raises(DataError, match="5 times and the window 6"):
        summarize(metrics(), window=3, cycles=2)


def test_calibration_is_denied_by_spread_or_by_ranks() -> None:
    """One method is right, one too narrow, one has the wrong ranks at one moment, and one covers one moment alone."""
    ratio = [[1.1, 0.95], [0.6, 1.0], [1.0, 1.0], [np.nan, 1.05]]
    p = [[0.3, 0.02], [0.3, 0.3], [0.004, 0.3], [np.nan, 0.008]]
    summary = xr.Dataset(
        {
            "spread_skill": (("method", "moment"), ratio),
            "spread_skill_error": (("method", "moment"), np.full((4, 2), 0.05)),
            "spread_skill_cases": (("method", "moment"), np.full((4, 2), 50)),
            "rank_uniformity": (("method", "moment"), p),
        }
    )
    assert calibrated(summary).values.tolist() == [1, 0, 0, 0]
    nothing = summary.assign({name: summary[name] * np.nan for name in ("spread_skill", "rank_uniformity")})
    assert calibrated(nothing).isnull().all()


def test_calibration_is_a_statement_over_cases() -> None:
    """A spread of 4 % of the error is no evidence in one case and some in five; to pass takes ten, and the truth."""

    def judged(cases: int, spread: float = 0.04, **changes: tuple) -> float:
        """Whether a method of some spread is calibrated, whose truth has any rank."""
        rank = np.random.default_rng(8).uniform(size=(cases, 5))
        dims = ("case", "time")
        changes = {"rank": (dims, rank), "spread": (dims, np.full((cases, 5), spread), {"units": "1"})} | changes
        return float(calibrated(summarize(metrics(cases, **changes), window=5)))

    assert np.isnan(judged(1))
    assert judged(5) == judged(50) == 0
    assert np.isnan(judged(9, spread=0.95))
    assert judged(20, spread=0.95) == 1
    # A single draw has no spread, and ranks alone do not tell.
    assert np.isnan(judged(20, spread=np.nan))
    assert np.isnan(calibrated(summarize(metrics().drop_vars("rmse"), window=5)))


@pytest.mark.parametrize(("samples", "cases"), [(2, 10), (10, 16), (400, 50)])
def test_calibrated_methods_pass(samples, cases) -> None:
    """All but a few of a hundred: two tests of one per cent, of ratios that are Student's about, but for few cases."""
    rng, shape = np.random.default_rng(9), (100, cases, 5)
    variables = {
        "rmse": (rng.chisquare(5, shape) / 5 * (1 + 1 / samples)) ** 0.5,
        "spread": (rng.chisquare(5 * (samples - 1), shape) / (5 * (samples - 1))) ** 0.5,
        "rank": rng.uniform(size=shape),
    }
    dims = ("method", "case", "time")
    found = metrics(cases, samples=samples, **{name: (dims, value) for name, value in variables.items()})
    assert float(calibrated(summarize(found, window=5)).mean()) > 0.93


def test_averages_say_over_how_many_cases_they_are() -> None:
    found = metrics(cases=8, log_score=("case", np.r_[np.full(7, np.nan), 3.0])).expand_dims({"method": ["one"]})
    found["crps"][0, :3, 4] = np.nan
    summary = summarize(found, window=3)
    counts = {name: summary[f"{name}_cases"].values.ravel().tolist() for name in ("rmse", "crps", "log_score")}
    assert counts == {"rmse": [8, 8, 8], "crps": [8, 8, 5], "log_score": [1]}
    (row,) = rows(summary)
    assert {name: value for name, value in row.items() if name.startswith("cases")} == {
        "cases": "8",
        "cases of the fair CRPS, start": "8",
        "cases of the fair CRPS, window end": "8",
        "cases of the fair CRPS, forecast end": "5",
        "cases of the log score of the truth": "1",
    }


def test_a_truth_that_is_ruled_out_is_in_the_average() -> None:
    found = metrics(cases=4, log_score=("case", [1.0, 2.0, np.inf, 3.0])).expand_dims({"method": ["one"]})
    summary = summarize(found, window=5)
    assert summary["log_score"].values.tolist() == [np.inf]
    assert summary["log_score_error"].isnull().all()
    (row,) = rows(summary)
    assert (row["log score (nat)"], row["log score standard error (nat)"], row["cases"]) == ("inf", "", "4")


def test_a_method_of_one_draw_has_the_cases_of_its_errors() -> None:
    found = metrics(cases=5, samples=1).expand_dims({"method": ["one"]})
    for name in ("spread", "crps"):
        found[name] = found[name] * np.nan
    assert rows(summarize(found, window=5))[0]["cases"] == "5"
    assert rows(summarize(found.drop_vars("rmse"), window=5))[0]["cases"] == "5"
    # A truth that is missing takes its case from the errors, and from what is said of them.
    found["rmse"][0, 1] = np.nan
    assert rows(summarize(found, window=5))[0]["cases"] == "4"
