"""Two controls whose potentials samplers face."""

import pytest
import torch

from posterity.problems import Control, Observation, Problem, Quadratic, RandomMask, TimeMask
from posterity.systems import Lorenz96
from posterity.testing import linear_gaussian


@pytest.fixture(scope="session")
def linear(device: torch.device) -> Control:
    """A linear-Gaussian problem of 16 sites, 12 steps, half of the entries missing; 32 cases."""
    problem = linear_gaussian(16, window=12, forecast=0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Control(problem, problem.sample((32,)).window)


@pytest.fixture(scope="session")
def square(device: torch.device) -> Control:
    """Lorenz-96 of 16 sites seen through its square, half of the entries missing; 5 cases."""
    observation = Observation(Quadratic((1, 16)), std=(2.8, 5.7), masks=(RandomMask(0.5), TimeMask(start=1)))
    problem = Problem(Lorenz96(size=16, forcing=8.0, dt=0.1), observation, window=12, background_std=(0.64, 1.28))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Control(problem, problem.sample((5,)).window)
