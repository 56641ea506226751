"""Tempering: the temperatures themselves; what it makes of them is tested with the methods that use it."""

import torch

from posterity.mcmc import next_temperature
from posterity.problems.resampling import effective_sample_size


def test_temperatures_leave_the_effective_number_asked_for():
    """Case by case: a moderate misfit, none, one that lies far off, and one with failed particles."""
    misfit = torch.rand(200, 4) * torch.tensor([50.0, 0.0, 1e6, 50.0])
    misfit[:60, 3] = torch.inf
    beta = torch.tensor([0.2, 0.5, 0.0, 0.0])
    colder = next_temperature(misfit, beta, 0.5)
    size = effective_sample_size(-(colder - beta) * misfit)
    torch.testing.assert_close(size[[0, 2, 3]], torch.tensor([100.0, 100.0, 70.0]))
    assert colder[1] == 1
    for case in range(4):
        alone = next_temperature(misfit[:, case : case + 1], beta[case : case + 1], 0.5)
        torch.testing.assert_close(alone, colder[case : case + 1])
    assert next_temperature(torch.full((9, 1), torch.inf), torch.zeros(1), 0.5) == 1
