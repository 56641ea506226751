"""Diagnostics of chains and of weights."""

import pytest
import torch
from arviz_stats.base import array_stats

from posterity.mcmc import convergence, pareto_smooth


def test_the_worst_coordinate_speaks_for_its_case():
    """Chains that are apart, or slow, in one coordinate of one case."""
    draws = torch.randn(100, 4, 3, 5)
    draws[:, 0, 1, 2] += 4
    noise = torch.randn(100, 4)
    for k in range(1, 100):
        draws[k, :, 2, 4] = 0.95 * draws[k - 1, :, 2, 4] + (1 - 0.95**2) ** 0.5 * noise[k]
    found = convergence(draws)
    assert float(found.rhat[0]) < 1.06
    assert float(found.rhat[1]) > 1.5
    assert float(found.ess_bulk[0]) > 250
    assert float(found.ess_bulk[2]) < 60
    chains = draws[:, :, 2, 4].mT.numpy()
    assert float(found.ess_bulk[2]) == pytest.approx(float(array_stats.ess(chains, method="bulk")))
    assert float(found.ess_tail[2]) <= float(array_stats.ess(chains, method="tail", prob=(0.05, 0.95)))


def test_smoothing_is_that_of_each_case():
    """Exponentials of exponential variables have Pareto tails: k̂ is the rate's inverse."""
    rate = torch.tensor([0.2, 0.5, 0.9])
    log_weights = rate * torch.distributions.Exponential(1.0).sample((4000, 3))
    smoothed, k_hat = pareto_smooth(log_weights)
    # The tail is of 189 draws, and the error of a fitted shape is (1 + k) over the root of them.
    assert ((k_hat - rate).abs() < 4 * (1 + rate) / 189**0.5).all()
    for case in range(3):
        expected, k = array_stats.psislw(-log_weights[:, case].numpy())
        assert float(k_hat[case]) == pytest.approx(float(k))
        torch.testing.assert_close(smoothed[:, case], torch.as_tensor(expected))
    torch.testing.assert_close(smoothed.logsumexp(dim=0), torch.zeros(3))


def test_weights_without_a_tail_are_left_alone():
    """All equal, none at all, and hardly any."""
    log_weights = torch.full((100, 3), -torch.inf)
    log_weights[:, 0] = 7.0
    log_weights[:3, 2] = torch.tensor([0.0, 1.0, 2.0])
    smoothed, k_hat = pareto_smooth(log_weights)
    assert (smoothed == log_weights).all()
    assert k_hat.tolist() == [0.0, torch.inf, torch.inf]
