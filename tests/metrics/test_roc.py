"""The curve and the area under it, against closed forms and another package."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from posterity.metrics import RATES, auc, true_positive_rate


def test_small_sets_count_pairs() -> None:
    # Of nine pairs, 2 > 1, 3 > 1, 3 > 2 and so on: the tie counts half.
    assert auc(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0]))[0] == pytest.approx((1 + 1.5 + 2) / 9)
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == (1.0, 0.0)
    assert auc(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == (0.0, 0.0)
    assert auc(np.ones(4), np.ones(4)) == (0.5, 0.0)
    assert np.isnan(auc(np.array([1.0]), np.array([0.0]))[1])


def test_it_is_the_area_of_another_package_with_ties() -> None:
    rng = np.random.default_rng(0)
    positive, negative = (rng.standard_normal(300) + shift for shift in (0.5, 0.0))
    for digits in (8, 0):
        sides = positive.round(digits), negative.round(digits)
        label, score = np.repeat([1, 0], 300), np.concatenate(sides)
        assert auc(*sides)[0] == pytest.approx(roc_auc_score(label, score))
        rates = true_positive_rate(*sides)
        false, true, _ = roc_curve(label, score, drop_intermediate=False)
        last = np.append(np.diff(false) > 0, True)
        np.testing.assert_allclose(rates, np.interp(RATES, false[last], true[last]))


@pytest.mark.parametrize("common", [0.0, 0.9])
def test_the_error_is_that_of_repetitions(common) -> None:
    """Also where both scores of a case depend on each other, which leaves the area better known."""
    rng = np.random.default_rng(1)
    cases, repetitions = 200, 400
    found = []
    for _ in range(repetitions):
        shared = rng.standard_normal(cases)
        sides = (common**0.5 * shared + (1 - common) ** 0.5 * rng.standard_normal(cases) for _ in range(2))
        positive, negative = sides
        found.append(auc(positive + 0.4, negative))
    areas, errors = np.array(found).T
    assert abs(areas.mean() - norm.cdf(0.4 / 2**0.5)) < 4 * areas.std() / repetitions**0.5
    # The relative error of a standard deviation of so many.
    assert abs(errors.mean() / areas.std() - 1) < 4 / (2 * repetitions) ** 0.5
    if common:
        assert errors.mean() < 0.02


def test_the_curve_of_two_gaussians_is_known() -> None:
    rng = np.random.default_rng(2)
    rate = true_positive_rate(rng.standard_normal(20_000) + 1, rng.standard_normal(20_000))
    assert (rate[0] < 0.01) & (rate[-1] == 1)
    exact = norm.cdf(norm.ppf(RATES) + 1)
    np.testing.assert_array_less(abs(rate - exact), 0.02)


def test_curves_of_chance_and_of_certainty() -> None:
    np.testing.assert_allclose(true_positive_rate(np.ones(3), np.ones(3)), RATES)
    np.testing.assert_allclose(true_positive_rate(np.array([1.0, 2.0]), np.array([0.0, -1.0])), 1)
