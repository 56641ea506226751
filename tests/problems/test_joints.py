"""Which posterior a method answers for: that of the problem's joint, or none."""

from dataclasses import replace

import pytest
import torch

from posterity.baselines import (
    ETKF,
    Climatology,
    Cycled,
    FourDVar,
    HamiltonianMonteCarlo,
    ParticleFilter,
    PriorImportanceSampling,
    SequentialMonteCarlo,
    VariationalInference,
)
from posterity.estimators.npe import NeuralPosterior
from posterity.problems import Identity, Observation, Problem, RandomMask, exact_posterior
from posterity.systems import LinearAdvection

BACKGROUND = Problem(LinearAdvection(size=8), Observation(Identity((1, 8)), std=2.0), window=4)
CLIMATOLOGY = replace(BACKGROUND, joint="climatology")
BLIND = replace(CLIMATOLOGY, background_std=None)


def test_the_exact_posterior_is_that_of_the_joint():
    """By the normal equations of all that is known of the first state, one term after another."""
    a = BACKGROUND.system.transition()
    seen = sum((torch.linalg.matrix_power(a, t).mT @ torch.linalg.matrix_power(a, t)) / 4 for t in range(4))
    for problem, known, rounded in ((BACKGROUND, 1, 4.41), (CLIMATOLOGY, 2, 2.84), (BLIND, 1, 4.41)):
        # The background, and the climatology N(0, I): both of unit variance.
        covariance = torch.linalg.inv(known * torch.eye(8) + seen)
        exact = exact_posterior(problem, problem.sample((2,)).window)
        torch.testing.assert_close(exact.covariance[0, 0], covariance)
        assert float(covariance.trace()) == pytest.approx(rounded, abs=0.005)


@pytest.mark.parametrize("background_std", [None, (0.3, 1.5)])
@pytest.mark.parametrize("joint", ["background", "climatology"])
def test_the_exact_posterior_is_calibrated_over_draws_of_its_joint(joint, background_std):
    """The squared error of its mean is its variance on average, whatever the time at which windows start."""
    if joint == "background" and background_std is None:
        return
    observation = Observation(Identity((1, 8)), std=(0.5, 2.0), masks=(RandomMask(0.5),))
    problem = replace(BACKGROUND, observation=observation, joint=joint, background_std=background_std, start=(0, 6))
    problem = replace(problem, model_error=0.2, forecast=1)
    x, _, window = problem.sample((2000,))
    exact = exact_posterior(problem, window)
    variance = exact.covariance.diagonal(dim1=-2, dim2=-1)
    ratio = ((exact.mean - x.flatten(2)).square() / variance).mean(dim=(0, 2))
    # Five standard errors, as if all entries of a state were one.
    assert (ratio - 1).abs().max() < 5 * (2 / 2000) ** 0.5


def test_weighted_prior_draws_take_a_background_as_an_observation():
    observation = Observation(Identity((1, 2)), std=2.0)
    problem = replace(CLIMATOLOGY, system=LinearAdvection(size=2), observation=observation, window=2)
    window = problem.sample((20,)).window
    draws, exact = 20_000, exact_posterior(problem, window)
    found = PriorImportanceSampling(problem, draws=draws).sample(window, draws)
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (found.x.mean(dim=0).flatten(2) - exact.mean) / (std / found.info["ess"].sqrt()[:, None, None])
    assert error.abs().max() < 5


@pytest.mark.parametrize(
    "method", [FourDVar, VariationalInference, SequentialMonteCarlo, HamiltonianMonteCarlo, ETKF, ParticleFilter]
)
def test_methods_of_the_background_refuse_the_climatology(method):
    with pytest.raises(ValueError, match=f"joint: {method.__name__} targets the posterior of the background joint"):
        method(CLIMATOLOGY).sample(CLIMATOLOGY.sample((2,)).window, 2)


def test_the_others_do_not():
    window = CLIMATOLOGY.sample((2,)).window
    estimator = NeuralPosterior(CLIMATOLOGY)
    estimator.mark_trained()
    for method in (Climatology(CLIMATOLOGY), PriorImportanceSampling(CLIMATOLOGY), estimator):
        assert method.sample(window, 2).x.isfinite().all()
    # Without a background filters start from the climatology.
    assert ETKF(BLIND).sample(BLIND.sample((2,)).window, 2).x.isfinite().all()


def test_a_background_that_is_needed_is_asked_for():
    with pytest.raises(ValueError, match="background_std: FourDVar needs a background"):
        FourDVar(BLIND).sample(BLIND.sample((2,)).window, 2)
    window = BACKGROUND.sample((4,)).window
    window.background[2] = torch.nan
    with pytest.raises(ValueError, match=r"background: missing in 1 of 4 windows, the first ones \[2\]"):
        FourDVar(BACKGROUND).sample(window, 2)
    with pytest.raises(ValueError, match="background: missing"):
        exact_posterior(BACKGROUND, window)


def test_the_windows_of_a_record_have_a_background():
    """Whatever the joint is of: it is the forecast of the window before."""
    for background_std in (None, 1.0):
        record = replace(BLIND, cycles=3, background_std=background_std)
        assert Cycled(record, FourDVar(record.cycle())).sample(record.sample((2,)).window, 5).x.isfinite().all()
