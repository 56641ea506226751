"""The verdict: ties by paired differences, places, what won and what to distrust, on scores that are made up."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ttest_rel

from posterity.metrics import judge
from posterity.metrics.judgement.places import TOLD, paired, places

CASES, WINDOW = 60, 3


def test_the_paired_test_is_students() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 20))
    np.testing.assert_allclose(paired(one, other), ttest_rel(one, other).pvalue)
    one[3], other[7] = np.nan, np.nan
    both = np.isfinite(one) & np.isfinite(other)
    np.testing.assert_allclose(paired(one, other), ttest_rel(one[both], other[both]).pvalue)
    assert paired(one, one) == 1.0
    assert paired(one[:1], other[:1]) == 1.0
    assert paired(np.zeros(4), np.ones(4)) == 0.0


def test_cases_in_common_tell_apart_what_errors_of_means_do_not() -> None:
    rng = np.random.default_rng(1)
    hardness = 10 * rng.standard_normal(40)
    better, worse = hardness + 0.1 * rng.standard_normal((2, 40)) + [[0.0], [0.2]]
    # Either mean has an error of some 1.6, and the difference of 0.2 one of some 0.02.
    assert abs(better.mean() - worse.mean()) < better.std() / 40**0.5 / 5
    assert places(np.stack([worse, better])) == ([1, 0], [1, 2])
    rng.shuffle(worse)
    assert places(np.stack([worse, better]))[1] == [1, 1]


def test_equal_methods_are_told_apart_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(2)
    trials = 4000
    apart = sum(places(rng.standard_normal((2, 12)))[1] == [1, 2] for _ in range(trials))
    assert abs(apart - TOLD * trials) < 4 * (TOLD * trials) ** 0.5


def test_places_are_shared_with_the_first_of_them_alone() -> None:
    """A chain of small steps is no tie of its ends."""
    noise = np.random.default_rng(3).standard_normal(30)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * 30**0.5
    # The difference of the first two is two of its errors, of the first and the third four.
    scores = np.stack([np.zeros(30), 2 + noise, 4 + noise, np.full(30, np.nan), np.full(30, np.inf)])
    assert places(scores) == ([0, 1, 2, 4], [1, 1, 3, 4])


def comparison(truth: bool = True, reference: bool = True, cases: int = CASES, **std: float) -> xr.Dataset:
    """Methods that are calibrated if their standard deviation is one, with distances as far as it is from that."""
    rng = np.random.default_rng(4)
    names, shape = list(std), (len(std), cases, WINDOW)
    error = rng.standard_normal((cases, WINDOW))
    hardness = np.exp(rng.standard_normal((cases, WINDOW)))
    width = np.array(list(std.values()))[:, None, None]
    away = hardness * (0.1 + (width - 1) ** 2) * np.exp(0.1 * rng.standard_normal(shape))
    rank = rng.uniform(size=(cases, WINDOW))
    timed, total = ("method", "case", "time"), ("method", "case")
    found = {
        "mean": ((*timed, "channel"), np.zeros((*shape, 1))),
        "spread": (timed, np.broadcast_to(width, shape), {"units": "m/s"}),
        "samples": (total, np.full(shape[:2], 100)),
        "log_likelihood": (total, np.zeros(shape[:2])),
        "calibrated_log_likelihood": (total, np.zeros(shape[:2])),
        "info_seconds": (total, np.broadcast_to(np.arange(1.0, 1 + len(std))[:, None], shape[:2])),
    }
    if truth:
        found |= {
            "rmse": (timed, np.broadcast_to(abs(error), shape)),
            "crps": (timed, away, {"units": "m/s"}),
            "rank": (timed, np.broadcast_to(rank, shape)),
        }
    if reference:
        found |= {
            "sliced_wasserstein": (timed, away),
            "sliced_wasserstein_floor": (timed, np.broadcast_to(0.1 * hardness, shape)),
            "c2st": (total, 0.5 + np.minimum(0.5, away[:, :, -1])),
        }
    return xr.Dataset(found, {"method": np.array(names, dtype=object), "case": np.arange(cases)})


def test_it_ranks_by_the_distance_at_the_end_of_the_window() -> None:
    scores = comparison(blunt=2.0, good=1.0, twin=1.0)
    verdict = judge(scores, WINDOW)
    assert (verdict.score, verdict.moment) == ("sliced Wasserstein distance to the reference", "window end")
    assert [(method.method, method.place) for method in verdict.methods][2] == ("blunt", 3)
    assert {method.place for method in verdict.methods[:2]} == {1}
    at_end = scores["sliced_wasserstein"].sel({"method": "blunt"}).isel(time=-1)
    np.testing.assert_allclose(verdict.methods[2].score, at_end.mean())
    np.testing.assert_allclose(verdict.methods[2].error, at_end.std(ddof=1) / CASES**0.5)
    np.testing.assert_allclose(verdict.floor, scores["sliced_wasserstein_floor"][0, :, -1].mean())
    assert "errors do not tell them apart" in verdict.won
    assert ", as near as its runs are to each other); of these" in verdict.won
    assert "of these good takes the least time" in verdict.won


def test_it_says_which_test_speaks_against_whom() -> None:
    verdict = judge(comparison(good=1.0, sure=0.5), WINDOW)
    calibrated = {method.method: method.calibrated for method in verdict.methods}
    assert calibrated == {"good": True, "sure": False}
    ratios = {method.method: method.test.partition(" at")[0] for method in verdict.methods}
    assert float(ratios["sure"].rpartition(" ")[2]) == pytest.approx(0.5, abs=0.15)
    assert verdict.won.startswith("good is nearest to the reference")
    assert "the spread of sure, which is not calibrated" in verdict.distrust


def test_without_a_reference_it_ranks_by_crps_and_without_a_truth_not_at_all() -> None:
    verdict = judge(comparison(reference=False, good=1.0, sure=0.5), WINDOW)
    assert (verdict.score, verdict.units) == ("CRPS", "m/s")
    assert verdict.won.startswith("good is best by CRPS, with a CRPS of ")
    assert "for want of a reference" in verdict.distrust
    nothing = judge(comparison(reference=False, truth=False, good=1.0, sure=0.5), WINDOW)
    assert nothing.won == "Nothing says which method is best: there is neither a truth nor a reference."
    assert [(method.place, method.calibrated) for method in nothing.methods] == [(0, None), (0, None)]


def test_it_distrusts_few_cases_missing_ones_and_failures() -> None:
    scores = comparison(cases=4, good=1.0, sure=0.5)
    scores["sliced_wasserstein"][1, 0] = np.nan
    verdict = judge(scores, WINDOW, failed=["npe"])
    assert verdict.distrust.startswith("Distrust: npe failed, and is left out; 4 cases are too few for tests")
    assert "sure has 3 of 4" in verdict.distrust
    assert "one case alone has no error" in judge(scores.isel(case=[0]), WINDOW).distrust


def test_of_a_record_it_takes_the_analyses_behind_the_burn_in() -> None:
    scores = comparison(reference=False, good=1.0, sure=0.5)
    verdict = judge(scores, window=1, cycles=3, burn_in=1)
    assert verdict.moment == "analysis"
    best = scores["crps"].sel({"method": verdict.methods[0].method})
    np.testing.assert_allclose(verdict.methods[0].score, best[:, 1:].mean())
