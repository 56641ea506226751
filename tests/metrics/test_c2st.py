"""The classifier two-sample test: chance where there is nothing to tell, and power where there is."""

from collections.abc import Callable

import numpy as np
import pytest

from posterity.metrics import c2st

Draw = Callable[[np.random.Generator, int], np.ndarray]


def ring(size: int) -> np.ndarray:
    """A factor of the covariance of a periodic field, with correlations over three sites."""
    apart = np.abs(np.arange(size)[:, None] - np.arange(size))
    return np.linalg.cholesky(np.exp(-np.minimum(apart, size - apart) / 3))


def gaussian(rng: np.random.Generator, samples: int, size: int = 10) -> np.ndarray:
    return rng.standard_normal((samples, size)) @ ring(size).T


def two_peaks(rng: np.random.Generator, samples: int) -> np.ndarray:
    """The same means and covariances, with two peaks along one entry before it is mixed."""
    x = rng.standard_normal((samples, 10))
    x[:, 0] = 0.95 * np.sign(x[:, 0]) + (1 - 0.95**2) ** 0.5 * rng.standard_normal(samples)
    return x @ ring(10).T


def heavy(rng: np.random.Generator, samples: int) -> np.ndarray:
    """The same means and covariances, with tails."""
    return gaussian(rng, samples) * rng.choice([0.5, 1.75**0.5], (samples, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("samples", "size"), [(200, 3), (60, 30)])
def test_equal_distributions_are_told_apart_by_chance_alone(samples, size) -> None:
    rng = np.random.default_rng(samples)
    found = np.array([c2st(*(gaussian(rng, samples, size) for _ in range(2)), seed) for seed in range(60)])
    error = found[:, 0].std() / 60**0.5
    assert abs(found[:, 0].mean() - 0.5) < 4 * error
    # It says an error that holds, or is on the safe side: the fourth root of 2 / 60 is no relative error to speak of.
    assert 0.6 < found[:, 0].std() / found[:, 1].mean() < 1 + 4 * (1 / 120) ** 0.5


@pytest.mark.parametrize(
    ("other", "least"),
    [
        (lambda rng, n: gaussian(rng, n) + 0.5 * (np.arange(10) == 0), 0.6),
        (lambda rng, n: 0.8 * gaussian(rng, n), 0.6),
        (lambda rng, n: rng.standard_normal((n, 10)), 0.8),
        (two_peaks, 0.55),
        (heavy, 0.6),
        (lambda rng, n: gaussian(rng, n) + 100, 0.999),
        (lambda rng, n: 1e-6 * gaussian(rng, n), 0.95),
    ],
    ids=["shift", "scale", "correlation", "two peaks", "tails", "far away", "collapsed"],
)
def test_it_tells_other_distributions(other: Draw, least) -> None:
    rng = np.random.default_rng(0)
    accuracy, error = c2st(other(rng, 1000), gaussian(rng, 1500))
    assert accuracy > least
    assert accuracy > 0.5 + 3 * error


def test_copies_of_a_draw_are_not_recognised() -> None:
    rng = np.random.default_rng(0)
    found = []
    for seed in range(20):
        pool = gaussian(rng, 200)
        found.append(c2st(pool[rng.integers(0, 200, 1000)], gaussian(rng, 1000), seed))
    accuracy, error = np.array(found).T
    # 200 draws as a distribution are not quite the one they are from; remembering them would give 0.9.
    assert accuracy.mean() < 0.5 + 2 * error.mean()
    # The error is that of the different draws, 1.5 √(1/4 · (1/167 + 1/1000) / 4).
    np.testing.assert_allclose(error, 0.0314, rtol=0.1)


def test_sides_of_different_sizes_are_balanced() -> None:
    rng = np.random.default_rng(0)
    accuracy, error = c2st(gaussian(rng, 100), gaussian(rng, 1000))
    assert abs(accuracy - 0.5) < 4 * error
    np.testing.assert_allclose(error, 1.5 * (accuracy * (1 - accuracy) / 200) ** 0.5)


@pytest.mark.slow
def test_many_entries_are_judged_by_their_leading_components() -> None:
    rng = np.random.default_rng(0)
    scale = 0.97 ** np.arange(300)
    draws = [rng.standard_normal((400, 300)) * scale for _ in range(3)]
    same, shifted = c2st(draws[0], draws[1]), c2st(draws[0], draws[2] + 2 * (np.arange(300) == 0))
    assert abs(same[0] - 0.5) < 4 * same[1]
    assert shifted[0] > 0.5 + 4 * shifted[1]


def test_an_entry_without_spread_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    draws = [np.concatenate([gaussian(rng, 200), np.full((200, 1), 7.0)], 1) for _ in range(2)]
    accuracy, error = c2st(*draws)
    assert abs(accuracy - 0.5) < 4 * error


@pytest.mark.parametrize(
    "draws", [np.full((50, 3), np.nan), np.zeros((50, 3)), np.arange(27).reshape(9, 3)], ids=["failed", "one", "few"]
)
def test_failed_and_too_few_draws_have_none(draws) -> None:
    assert np.isnan(c2st(draws, np.random.default_rng(0).standard_normal((50, 3)))).all()
