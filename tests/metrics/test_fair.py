"""Scores of a perfect posterior are those of infinitely many draws, or what they say, at any number of draws."""

from collections.abc import Callable
from math import gamma, lgamma, pi

import numpy as np
import pytest
import xarray as xr

from posterity.metrics import (
    covariance_error,
    coverage,
    crps,
    energy_score,
    kernel_distances,
    mean,
    mean_error,
    pit,
    spread_skill,
    std_error,
    variance,
    variogram_score,
)
from posterity.metrics.c2st import _groups
from posterity.metrics.reference import against_reference

DRAWS = (2, 10, 400)

#: The entries of a state; the cases of one check, the more the fewer draws there are.
ENTRIES, CASES = 4, {2: 4000, 10: 2000, 400: 300}

DIMS = ("case", "sample", "time", "channel", "x")


def perfect(samples: int, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """Draws of N(0, 1), and a truth that is one more."""
    every = np.random.default_rng(seed).standard_normal((CASES[samples], samples + 1, 1, 1, ENTRIES))
    coordinates = {"case": np.arange(CASES[samples])}
    state = xr.DataArray(every[:, 1:], dims=DIMS, coords=coordinates)
    return state, xr.DataArray(every[:, 0], dims=[name for name in DIMS if name != "sample"], coords=coordinates)


def deviation(found: xr.DataArray, expected: float) -> float:
    """How far the mean over cases is from its expectation, in standard errors."""
    values = found.values.ravel()
    return float(abs(values.mean() - expected) / (values.std() / len(values) ** 0.5))


def radius(entries: int) -> float:
    """The mean length of a standard normal vector."""
    return 2**0.5 * gamma((entries + 1) / 2) / gamma(entries / 2)


@pytest.mark.parametrize("samples", DRAWS)
@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (crps, 1 / pi**0.5),
        (energy_score, radius(ENTRIES) / 2**0.5),
        # The variance of |d|^(1/2) for d ~ N(0, 2).
        (variogram_score, 2 / pi**0.5 - 2 * gamma(0.75) ** 2 / pi),
    ],
)
def test_proper_scores_are_fair(score: Callable, expected: float, samples: int) -> None:
    assert deviation(score(*perfect(samples)), expected) < 4


@pytest.mark.parametrize("samples", DRAWS)
def test_spread_matches_skill_and_intervals_cover(samples) -> None:
    state, truth = perfect(samples)
    errors = ((mean(state) - truth) ** 2).mean(["channel", "x"]) ** 0.5
    spreads = variance(state).mean(["channel", "x"]) ** 0.5
    ratio, error = spread_skill(errors, spreads, xr.DataArray(np.full(len(state), samples), dims="case"))
    assert abs(float(ratio[0]) - 1) < 4 * float(error[0])
    inside = coverage(*pit(state, truth))
    for level in inside["level"].values:
        assert deviation(inside.sel(level=level), level) < 4


@pytest.mark.parametrize("samples", DRAWS)
def test_errors_to_the_reference_are_those_that_are_said(samples) -> None:
    state, _ = perfect(samples)
    zero = xr.zeros_like(mean(state))
    assert deviation(mean_error(mean(state), zero, zero + 1) ** 2, 1 / samples) < 4
    scale = (2 / (samples - 1)) ** 0.5 * np.exp(lgamma(samples / 2) - lgamma((samples - 1) / 2))
    assert deviation(std_error(variance(state), zero, zero + 1) ** 2, 2 * (1 - scale)) < 4


@pytest.mark.parametrize("samples", DRAWS)
def test_the_error_of_the_covariance_is_the_one_that_is_said(samples) -> None:
    # Exact moments of the reference: plus and minus √(n − ½) times each unit vector.
    axes = (ENTRIES - 0.5) ** 0.5 * np.eye(ENTRIES)
    own = xr.DataArray(np.concatenate([axes, -axes])[None, :, None, None], dims=("case", "draw", *DIMS[2:]))
    state, _ = perfect(samples)
    own = own.isel(case=np.zeros(len(state), dtype=int)).assign_coords(case=state["case"])
    assert deviation(covariance_error(state, own) ** 2, (1 + ENTRIES) / (samples - 1)) < 4


@pytest.mark.parametrize("samples", DRAWS)
@pytest.mark.parametrize("index", [0, 1])
def test_kernel_distances_are_zero_on_average(index, samples) -> None:
    rng = np.random.default_rng(1)
    cases = 60 if samples > 100 else 300
    vector = xr.DataArray(rng.standard_normal((cases, samples, 3)), dims=("case", "sample", "entry"))
    reference = xr.DataArray(rng.standard_normal((cases, 200, 3)), dims=("case", "draw", "entry"))
    assert deviation(kernel_distances(vector, reference)[index], 0) < 4


def test_folds_of_the_classifier_do_not_depend_on_values() -> None:
    """The same places are tested whatever is there: sorted by value, all cases would test the same ranks."""
    rng = np.random.default_rng(2)
    for _ in range(3):
        group, copies = _groups(rng.standard_normal((20, 2)))
        np.testing.assert_array_equal(group, np.arange(20))
        np.testing.assert_array_equal(copies, np.ones(20))
    group, copies = _groups(np.array([[3.0], [1.0], [3.0], [2.0], [1.0], [3.0]]))
    np.testing.assert_array_equal(group, [0, 1, 0, 2, 1, 0])
    np.testing.assert_array_equal(copies, [3, 2, 1])


@pytest.mark.parametrize("samples", DRAWS)
def test_distances_of_the_reference_to_itself_are_those_of_the_floor(samples) -> None:
    """But for the other half of the reference's draws, which the floor is without."""
    size, cases = 800, 40 if samples > 100 else 200
    draws = np.random.default_rng(3).standard_normal((cases, samples + size, 1, 1, ENTRIES))
    state = xr.DataArray(draws, dims=DIMS, name="state").to_dataset()
    posterior, reference = state.isel(sample=slice(samples)), state.isel(sample=slice(samples, None))
    found = against_reference(posterior, reference.assign(run=("sample", np.arange(size) // (size // 2))), None)
    ratio = ((1 / samples + 2 / size) / (1 / samples + 1 / size)) ** 0.5
    for name in ("mean_error", "sliced_wasserstein"):
        assert deviation(ratio * found[name] - found[f"{name}_floor"], 0) < 4
