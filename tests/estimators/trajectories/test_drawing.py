"""Drawing of trajectories: with exact local scores, draws are those of exact posteriors."""

import pytest

from posterity.diffusion import MomentMatching, RungeKutta
from posterity.diffusion.compositions import Blankets, Junction
from posterity.estimators.trajectories.methods import SDA
from posterity.nn import MLP
from posterity.problems import Identity, Observation, Problem, RandomMask, exact_posterior
from posterity.systems import LinearAdvection
from posterity.testing import blind, check_gaussian

EXACT = {"sampler": RungeKutta(10), "guidance": MomentMatching(50, 1e-4)}


def chain(window: int = 3, damping: float = 0.05, **options) -> Problem:
    """A ring of four sites with model errors, half of it seen."""
    system = LinearAdvection(size=4, damping=damping)
    observation = Observation(Identity((1, 4)), std=(0.3, 0.6), masks=(RandomMask(0.5),))
    settings = {"joint": "climatology", "background_std": None, "model_error": 0.5} | options
    return Problem(system, observation, window, **settings)


PROBLEMS = {
    "no background": chain(),
    "a background": chain(background_std=(0.4, 0.8)),
    "background joint": chain(joint="background", background_std=(0.7, 0.7)),
    "a window shorter than a crop": chain(2, background_std=(0.4, 0.8)),
    "a forecast": chain(forecast=1),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_draws_are_those_of_the_exact_posterior(problem, exact) -> None:
    estimator = exact(SDA(problem, 1, MLP((4,)), times=1, **EXACT))
    window = problem.sample((6,)).window
    found = estimator.sample(window, 50)
    check_gaussian(found.x, exact_posterior(problem, window))


def test_draws_without_observations_are_those_of_the_prior(exact) -> None:
    problem = chain()
    window = blind(problem.sample((6,)).window)
    found = exact(SDA(problem, 1, MLP((4,)), **EXACT)).sample(window, 50)
    check_gaussian(found.x, exact_posterior(problem, window))


@pytest.mark.parametrize(
    ("composition", "per_window"), [(None, False), (Blankets(3, 1), True), (Junction(1, 2), True)], ids=repr
)
def test_long_windows_are_composed_of_short_ones(composition, per_window, exact) -> None:
    """Of states that forget each other at once, each with observations, and a time, of its own."""
    problem = chain(6, damping=20.0, background_std=(0.4, 0.8))
    window = problem.sample((4,)).window
    options = EXACT | {"composition": composition, "per_window": per_window, "stride": 2}
    estimator = exact(SDA(problem, 1, MLP((4,)), **options))
    check_gaussian(estimator.sample(window, 25).x, exact_posterior(problem, window))
