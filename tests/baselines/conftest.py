"""The two studies that every baseline faces, one in which states have no next, and ensembles of exact moments."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from posterity import testing
from posterity.baselines.sequential.record import Record
from posterity.problems import (
    GaussianPosterior,
    Observation,
    Problem,
    Quadratic,
    RandomMask,
    TimeMask,
    Twin,
    Window,
    exact_posterior,
)
from posterity.systems import Lorenz96


class Linear(NamedTuple):
    """A linear-Gaussian study with its exact posterior."""

    problem: Problem
    window: Window
    exact: GaussianPosterior

    @property
    def blind(self) -> Window:
        """The windows without their observations."""
        return testing.blind(self.window)

    def state(self, u: Tensor) -> Tensor:
        """The initial states of controls, with shape ``(*batch, case, n)``."""
        return self.window.background.flatten(1) + self.window.background_std.flatten(1) * u

    def covariance(self, precision: Tensor) -> Tensor:
        """The covariances of the initial states from the precisions of the control."""
        std = self.window.background_std.flatten(1)
        return std.unsqueeze(-1) * torch.linalg.inv(precision) * std.unsqueeze(-2)


class Study(NamedTuple):
    """A nonlinear study."""

    problem: Problem
    twin: Twin

    @property
    def spoilt(self) -> Window:
        """Four windows, the second with a background of 1e4, which overflows within the window."""
        return testing.hopeless(self.twin.window.select(slice(4)), 1)


@pytest.fixture(scope="session")
def linear(device: torch.device) -> Linear:
    """16 sites, 12 steps, half of the entries missing, 32 cases."""
    problem = testing.linear_gaussian(16, window=12, forecast=3)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        window = problem.sample((32,)).window
    return Linear(problem, window, exact_posterior(problem, window))


@pytest.fixture(scope="session")
def square(device: torch.device) -> Study:
    """Lorenz-96 seen through its square, half of the entries missing, nothing seen of the first state."""
    problem = Problem(
        Lorenz96(size=16, forcing=8.0, dt=0.1),
        Observation(Quadratic((1, 16)), std=(2.8, 5.7), masks=(RandomMask(0.5), TimeMask(start=1))),
        window=12,
        background_std=(0.64, 1.28),
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Study(problem, problem.sample((16,)))


class Fragility(NamedTuple):
    """A problem of which some states have no next."""

    problem: Problem
    window: Window


@pytest.fixture(scope="session")
def fragile(device: torch.device) -> Fragility:
    """A sixth of the prior draws fail; six cases."""
    observation = Observation(Quadratic((1, 5)), std=(5.0, 5.0))
    system = testing.Breaking(inner=Lorenz96(size=5, dt=0.1))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        window = Problem(Lorenz96(size=5, dt=0.1, spinup=0.0), observation, window=2).sample((6,)).window
    return Fragility(Problem(system, observation, window=2), window._replace(background=torch.zeros(6, 1, 5)))


@pytest.fixture
def second_order(monkeypatch):
    """Makes the sample moments of initial states and model errors together those that they are drawn from."""

    def patch(members, columns):
        basis = torch.linalg.qr(torch.cat((torch.ones(members, 1), torch.randn(members, columns)), dim=1)).Q
        white = basis[:, 1:].unsqueeze(1) * (members - 1) ** 0.5
        used = 0

        def take(count):
            nonlocal used
            used += count
            return white[..., used - count : used]

        def prior(record, members):
            root = record.background_root
            return root.move(record.window.background, take(root.size).unflatten(-1, root.shape)).flatten(2)

        def error(record, members, steps):
            root = record.error_root
            if root is None:
                return record.y.new_empty(members, record.cases, steps, 0)
            blocks = take(steps * root.size).unflatten(-1, (steps, *root.shape))
            return root.forward(blocks).flatten(3).expand(-1, record.cases, -1, -1)

        monkeypatch.setattr(Record, "prior", prior)
        monkeypatch.setattr(Record, "error", error)

    return patch
