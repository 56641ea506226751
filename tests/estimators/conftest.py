"""A small linear-Gaussian problem, whose posteriors are known exactly."""

from collections.abc import Callable

import pytest
import torch

from posterity.estimators import Estimator, States
from posterity.problems import GridMask, Identity, Mask, Observation, Problem
from posterity.systems import LinearAdvection

EVERY_OTHER = (GridMask(2),)


@pytest.fixture(scope="session")
def make_problem(device: torch.device) -> Callable[..., Problem]:
    """A ring of some sites, of which every other one is seen; 4 states, and 2 of a forecast."""

    def problem(
        size: int = 8, masks: tuple[Mask, ...] = EVERY_OTHER, std=(0.5, 0.5), background_std=(1.0, 1.0)
    ) -> Problem:
        observation = Observation(Identity((1, size)), std=std, masks=masks)
        return Problem(LinearAdvection(size=size), observation, window=4, forecast=2, background_std=background_std)

    return problem


@pytest.fixture(scope="session")
def draw_states() -> Callable[[Problem, int], States]:
    """Draws a training set."""

    def states(problem: Problem, cases: int) -> States:
        twin = problem.sample((cases,))
        return States(twin.x, twin.theta, *twin.window[2:])

    return states


@pytest.fixture(scope="session")
def fit() -> Callable[..., None]:
    """Trains by Adam on fresh draws in every step, with one cycle of the learning rate."""

    def train(estimator: Estimator, steps: int, batch: int = 256, learning_rate: float = 1e-3) -> None:
        problem = estimator.problem
        estimator.standardize(problem.sample((4096,)))
        adam = torch.optim.Adam(estimator.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, learning_rate, total_steps=steps, pct_start=0.1)
        for _ in range(steps):
            adam.zero_grad()
            estimator.loss(problem.sample((batch,))).backward()
            adam.step()
            schedule.step()
        estimator.eval()

    return train
