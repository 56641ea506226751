"""Hamiltonian Monte Carlo: exact where that is known, calibrated where it is not, and honest about its chains."""

import pytest
import torch

from posterity.baselines import HamiltonianMonteCarlo
from posterity.baselines.montecarlo.proposals import Variational
from posterity.baselines.variational.families import MeanField
from posterity.baselines.variational.optimizers import NaturalGradient
from posterity.mcmc import Chains, Draws, convergence
from posterity.problems import Observation, Problem, Quadratic, RandomMask, exact_posterior
from posterity.problems.priors import Uniform
from posterity.systems import Lorenz96
from posterity.testing import check_gaussian, check_isolated, check_ranks, linear_gaussian

#: Enough for small and for Gaussian posteriors: every fourth iteration is as good as independent.
FEW = {
    "chains": 8,
    "warmup": 10,
    "iterations": 40,
    "thinning": 4,
    "leapfrog": 4,
    "particles": 48,
    "ess": 0.5,
    "moves": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("model_error", [None, 0.4], ids=["strong", "weak"])
def test_draws_follow_the_exact_smoother(model_error):
    problem = linear_gaussian(4, window=3, background_std=(1.0, 1.0), model_error=model_error)
    window = problem.sample((32,)).window
    # The last two cases see nothing: their posterior is the prior.
    window.y[-2:] = torch.nan
    posterior = HamiltonianMonteCarlo(problem, **FEW).sample(window, 80)
    assert posterior.x.shape == (80, 32, 5, 1, 4)
    check_gaussian(posterior.x, exact_posterior(problem, window))
    info = posterior.info
    assert not info["failed"].any()
    # Diagnostics are nearly those of independent draws: so few say the same of the worst of their coordinates.
    independent = convergence(torch.randn(10, 8, 32, 4 if model_error is None else 12))
    assert float(info["rhat"].median()) < float(independent.rhat.median()) + 0.05
    assert float(info["ess_bulk"].median()) > 0.7 * float(independent.ess_bulk.median())
    assert ((info["acceptance"] - 0.8).abs() < 0.2).all()
    # Each leapfrog step takes one gradient, and iterations of these posteriors are of two or four.
    gradients = (info["gradients"] - 48) / (48 * (info["temperatures"] + 16) + 8 * 50)
    assert ((gradients >= 2) & (gradients <= 4)).all()


@pytest.mark.slow
def test_chains_from_a_proposal_follow_the_exact_smoother():
    """From a Gaussian without correlations, by as many particles as there are chains."""
    problem = linear_gaussian(4, window=3, background_std=(1.0, 1.0))
    window = problem.sample((32,)).window
    options = FEW | {"particles": 8, "proposal": Variational(MeanField(), NaturalGradient(iterations=1))}
    posterior = HamiltonianMonteCarlo(problem, **options).sample(window, 80)
    check_gaussian(posterior.x, exact_posterior(problem, window))


@pytest.mark.slow
def test_ranks_of_the_truth_are_uniform():
    """Simulation-based calibration, over states and a parameter."""
    problem = Problem(
        Lorenz96(size=5, dt=0.1, spinup=5.0),
        Observation(Quadratic((1, 5)), std=(3.0, 4.0), masks=(RandomMask(0.5),)),
        window=4,
        parameters={"forcing": Uniform(4.0, 12.0)},
    )
    twin = problem.sample((128,))
    posterior = HamiltonianMonteCarlo(problem, **FEW).sample(twin.window, 7)
    check_ranks(posterior, twin)


@pytest.mark.slow
def test_a_case_that_diverges_spoils_no_other(square):
    method = HamiltonianMonteCarlo(square.problem, 2, 2, 8, 2, leapfrog=1, particles=32, moves=1)
    posterior = method.sample(square.spoilt, 8)
    assert posterior.info["failed"].tolist() == [0, 8, 0, 0]
    check_isolated(posterior, lost=[1])
    assert not posterior.info["rhat"][1].isfinite()


@pytest.mark.slow
def test_chains_that_diverge_are_rejected(fragile):
    problem, window = fragile
    posterior = HamiltonianMonteCarlo(problem, **FEW).sample(window, 80)
    assert not posterior.info["failed"].any()
    assert float(posterior.x[:, :, 0, 0, 0].max()) <= 1.0


def test_every_chain_gives_as_many_draws(linear, monkeypatch):
    """Draws are told by their numbers: 5 iterations of 3 chains, 9 draws."""
    window = linear.window.select(slice(2))
    method = HamiltonianMonteCarlo(linear.problem, 3, 0, 5, 1, leapfrog=1, particles=16, moves=1)
    numbered = torch.arange(15.0).reshape(5, 3, 1, 1).expand(5, 3, 2, 16) * 1e-3
    monkeypatch.setattr(Chains, "run", lambda self, *rest: Draws(numbered, torch.ones(2), torch.ones(2)))
    x = method.sample(window, 9).x[:, :, 0, 0]
    u = (x - window.background.squeeze(1)) / window.background_std.squeeze(1)
    number = (u[:, 0, 0] * 1e3).round().int()
    assert (number % 3).bincount().tolist() == [3, 3, 3]
    assert len(set(number.tolist())) == 9


def test_more_samples_than_draws_are_refused(linear):
    method = HamiltonianMonteCarlo(linear.problem, 2, iterations=11, thinning=2)
    with pytest.raises(ValueError, match=r"samples: 11 asked of the 10 that the chains keep; raise chains"):
        method.sample(linear.window, 11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 1}, "chains: must be from 2 to the number of particles, not 1"),
        ({"chains": 9, "particles": 8}, "chains: must be from 2"),
        ({"warmup": -1}, "warmup: must not be negative"),
        ({"thinning": 0}, "thinning: must be at least 1"),
        ({"iterations": 7, "thinning": 2}, "iterations: at least 4 draws of each chain must be kept, so 8"),
        ({"leapfrog": 0}, "moves and leapfrog: at least one"),
        ({"acceptance": 0.0}, "acceptance: must be between 0 and 1"),
    ],
)
def test_options_that_go_nowhere_are_refused(linear, options, message):
    with pytest.raises(ValueError, match=message):
        HamiltonianMonteCarlo(linear.problem, **options)
