"""A small linear-Gaussian problem, whose posteriors are known exactly."""

from collections.abc import Callable

import pytest
import torch
from torch.distributions import MultivariateNormal

from posterity.estimators import Learned, States
from posterity.problems import Problem, Window, exact_posterior


@pytest.fixture(scope="session")
def exact_control() -> Callable[[Problem, Window], MultivariateNormal]:
    """The exact posterior over the control."""

    def posterior(problem: Problem, window: Window) -> MultivariateNormal:
        exact = exact_posterior(problem, window)
        std = window.background_std.flatten(1)
        covariance = exact.covariance[:, 0] / (std.unsqueeze(-1) * std.unsqueeze(-2))
        return MultivariateNormal((exact.mean[:, 0] - window.background.flatten(1)) / std, covariance)

    return posterior


@pytest.fixture(scope="session")
def draw_states() -> Callable[[Problem, int], States]:
    """Draws a training set."""

    def states(problem: Problem, cases: int) -> States:
        twin = problem.sample((cases,))
        return States(twin.x, twin.theta, *twin.window[2:])

    return states


@pytest.fixture
def any_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets estimators draw that nobody has trained: where a test is of their code, and of nothing that they learn."""
    monkeypatch.setattr(Learned, "check_ready", lambda self: None)


@pytest.fixture(scope="session")
def fit() -> Callable[..., None]:
    """Trains by Adam on fresh draws in every step, with one cycle of the learning rate."""

    def train(estimator: Learned, steps: int, batch: int = 256, learning_rate: float = 1e-3) -> None:
        problem = estimator.problem
        estimator.standardize(problem.sample((4096,)))
        adam = torch.optim.Adam(estimator.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, learning_rate, total_steps=steps, pct_start=0.1)
        for _ in range(steps):
            adam.zero_grad()
            estimator.loss(problem.sample((batch,))).backward()
            adam.step()
            schedule.step()
        estimator.mark_trained()

    return train
