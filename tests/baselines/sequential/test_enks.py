"""The smoother: what it adds to its filter."""

from dataclasses import replace

import pytest
import torch

from posterity.baselines import ETKF, LETKF, EnKS, LocalEnKS
from posterity.baselines.sequential.localization import taper
from posterity.problems import Identity, Observation, Problem, RandomMask, TimeMask
from posterity.problems.priors import Normal
from posterity.systems import Lorenz96

OBSERVATION = Observation(Identity((1, 8)), std=(0.5, 0.5), masks=(RandomMask(0.7),))
PROBLEM = Problem(Lorenz96(size=8), OBSERVATION, window=4, cycles=3)


def sample(method, window, samples=20):
    torch.manual_seed(1)
    return method.sample(window, samples).x


@pytest.mark.parametrize("rotation", [False, True])
def test_without_a_lag_it_is_the_filter(rotation):
    window = PROBLEM.sample((3,)).window
    filtered = sample(ETKF(PROBLEM, 20, inflation=1.1, rotation=rotation), window)
    smoothed = sample(EnKS(PROBLEM, 20, inflation=1.1, rotation=rotation, lag=0), window)
    torch.testing.assert_close(smoothed, filtered)


def test_the_present_is_the_filters_whatever_the_lag():
    window = PROBLEM.sample((3,)).window
    filtered = sample(ETKF(PROBLEM, 20, inflation=1.1), window)
    for lag in (2, None):
        torch.testing.assert_close(
            sample(EnKS(PROBLEM, 20, inflation=1.1, lag=lag), window)[:, :, -1], filtered[:, :, -1]
        )


def test_a_lag_sees_no_further():
    """With a lag of 3, the first state is that of a record of four states."""
    short = Problem(Lorenz96(size=8), OBSERVATION, window=4)
    window = PROBLEM.sample((3,)).window
    begin = window._replace(y=window.y[:, :4], std=window.std[:, :4])
    lagged = sample(EnKS(PROBLEM, 20, lag=3), window)
    torch.testing.assert_close(lagged[:, :, 0], sample(EnKS(short, 20), begin)[:, :, 0])
    assert float((lagged[:, :, 1] - sample(EnKS(short, 20), begin)[:, :, 1]).abs().max()) > 1e-3


def test_the_past_is_not_inflated():
    """Only the last time is observed, so a past state differs by the last transform alone."""
    observation = Observation(Identity((1, 8)), masks=(TimeMask(start=3),))
    problem = Problem(Lorenz96(size=8), observation, window=4)
    window = problem.sample((3,)).window
    plain, inflated = (sample(EnKS(problem, 20, inflation=inflation), window) for inflation in (1.0, 2.0))
    torch.testing.assert_close(inflated[:, :, :3], plain[:, :, :3])
    anomalies = [x[:, :, 3] - x[:, :, 3].mean(dim=0) for x in (plain, inflated)]
    torch.testing.assert_close(anomalies[1], 2 * anomalies[0])


@pytest.mark.slow
def test_smoothing_is_better_than_filtering():
    """On chaotic Lorenz-96, the errors of past states fall: by a sixth at least, in every case."""
    problem = Problem(Lorenz96(size=8), Observation(Identity((1, 8))), window=1, cycles=120)
    twin = problem.sample((4,))
    rmse = [
        (sample(EnKS(problem, 30, inflation=1.02, lag=lag), twin.window, 30).mean(dim=0) - twin.x)[:, 20:-5]
        .flatten(1)
        .square()
        .mean(dim=1)
        .sqrt()
        for lag in (0, 5)
    ]
    assert (rmse[1] < 5 / 6 * rmse[0]).all()


def test_negative_lags_are_refused():
    with pytest.raises(ValueError, match=r"lag: must not be negative, not -1"):
        EnKS(PROBLEM, lag=-1)


def test_the_local_smoother_filters_as_the_local_filter():
    window = PROBLEM.sample((3,)).window
    filtered = sample(LETKF(PROBLEM, 20, inflation=1.1, radius=1.0), window)
    for lag in (0, 2, None):
        smoothed = sample(LocalEnKS(PROBLEM, 20, inflation=1.1, radius=1.0, lag=lag), window)
        torch.testing.assert_close(smoothed[:, :, -1], filtered[:, :, -1])


def test_each_site_of_the_past_moves_by_the_transform_of_that_site():
    """Against the global smoother, given the observations as the site sees them; parameters by all of them."""
    problem = replace(PROBLEM, parameters={"forcing": Normal(8.0, 1.0)})
    z, past = torch.randn(9, 2, 9), torch.randn(9, 2, 3, 9)
    innovation, seen = torch.randn(9, 2, 8), torch.tensor([True, False])
    local, globally = LocalEnKS(problem, 9, radius=0.7), EnKS(problem, 9)
    found = local.analyse(z, past, innovation, seen)
    for site in range(8):
        factor = taper((8,), torch.tensor([site]), 0.7).squeeze(-1)
        expected = globally.analyse(z, past, factor.sqrt() * innovation, seen)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one[..., site], other[..., site])
    for one, other in zip(found, globally.analyse(z, past, innovation, seen), strict=True):
        torch.testing.assert_close(one[..., -1], other[..., -1])
    torch.testing.assert_close(found[1][:, 1], past[:, 1], rtol=0, atol=0)
