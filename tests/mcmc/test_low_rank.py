"""Samplers with metrics of low rank, on a Gaussian of 300 entries."""

import pytest
import torch

from posterity.algebra import leading_eigenpairs
from posterity.mcmc import Chains, LaplaceMetric, Tempering, evaluate

N, CASES = 300, 2


class Quadratic:
    """The potential of a standard normal prior with some directions known well, about means that are not zero."""

    def __init__(self, directions: torch.Tensor, centre: torch.Tensor) -> None:
        self.directions, self.centre = directions, centre

    def hessian(self, v: torch.Tensor) -> torch.Tensor:
        """The product with the Hessian of the misfit."""
        return torch.einsum("cnk,...ck->...cn", self.directions, torch.einsum("cnk,...cn->...ck", self.directions, v))

    def cost_and_gradient(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The cost and its gradient."""
        pull = self.hessian(u - self.centre)
        cost = 0.5 * (u.square().sum(dim=-1) + ((u - self.centre) * pull).sum(dim=-1))
        return cost, u + pull

    def select(self, index: torch.Tensor) -> "Quadratic":
        """Some of the cases."""
        return Quadratic(self.directions[index], self.centre[index])

    def absorb(self, part: "Quadratic", index: torch.Tensor) -> None:
        """Counts nothing."""


@pytest.fixture(scope="module")
def target():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        directions = torch.randn(CASES, N, 12) * torch.logspace(-1, 0, 12)
        potential = Quadratic(directions, torch.randn(CASES, N))
    pairs = leading_eigenpairs(potential.hessian, torch.zeros(CASES, N), 40)
    covariance = torch.linalg.inv(torch.eye(N) + directions @ directions.mT)
    mean = torch.einsum("cij,cj->ci", covariance, potential.hessian(potential.centre))
    return potential, LaplaceMetric(pairs), mean, covariance


def projected(draws, target):
    """Draws in the eigenvectors of the posterior, in its standard deviations."""
    _, _, mean, covariance = target
    values, vectors = torch.linalg.eigh(covariance)
    return torch.einsum("cij,...ci->...cj", vectors, draws - mean) / values.sqrt()


def test_fewer_particles_than_entries_recover_mean_and_variances(target):
    """In every eigenvector of the posterior, of which the narrowest are a hundredth of the prior's variance."""
    potential, metric, _, _ = target
    tempered = Tempering(0.8, 2, 8, 2.0, 32, 0.8).run(potential, torch.randn(128, CASES, N), metric)
    z = projected(tempered.particles.u, target)
    assert (z.mean(dim=0).abs() < 5.5 * 128**-0.5).all()
    variance = z.var(dim=0)
    assert ((variance - 1).abs() < 5.5 * (2 / 128) ** 0.5).all()
    assert abs(float(variance[:, :12].mean()) - 1) < 5 * (2 / (128 * 12 * CASES)) ** 0.5


def test_chains_recover_variances(target):
    """Of steps that are as long as the prior's, since the metric leaves nothing narrow."""
    potential, metric, mean, covariance = target
    beta, cases = torch.ones(CASES), torch.arange(CASES)
    start = mean + torch.einsum("cij,scj->sci", torch.linalg.cholesky(covariance), torch.randn(16, CASES, N))
    scale = metric.factor(start, torch.ones(16, CASES), beta, cases)
    draws = Chains(20, 80, 1, 1.5, 32, 0.8).run(
        potential, evaluate(potential, start), scale, torch.full((CASES,), 0.25)
    )
    assert (draws.step > 0.2).all()
    variance = projected(draws.u, target).square().mean(dim=(0, 1))
    # Trajectories of this length leave draws that are nearly independent; a third of them is counted.
    assert ((variance - 1).abs() < 5.5 * (2 / (16 * 80 / 3)) ** 0.5).all()


def test_the_prior_as_a_metric_needs_shorter_steps(target):
    """The contrast: what the eigenpairs are for."""
    potential, metric, mean, _ = target
    steps = []
    for pairs in (metric.pairs, metric.pairs._replace(values=torch.zeros_like(metric.pairs.values))):
        scale = LaplaceMetric(pairs).factor(
            mean.unsqueeze(0), torch.ones(1, CASES), torch.ones(CASES), torch.arange(CASES)
        )
        start = evaluate(potential, mean.expand(4, CASES, N))
        chains = Chains(30, 4, 1, 1.5, 64, 0.8)
        steps.append(chains.run(potential, start, scale, torch.full((CASES,), 0.1)).step)
    assert (steps[0] > 2 * steps[1]).all()
