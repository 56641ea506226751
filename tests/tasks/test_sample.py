"""The log-density of a truth under an estimator, case by case."""

import pytest
import torch

from posterity.estimators import NeuralPosterior
from posterity.inference.densities import truth_density
from posterity.problems import Identity, Observation, Problem, Uniform
from posterity.systems import LinearAdvection


@pytest.fixture
def problem() -> Problem:
    parameters = {"damping": Uniform(0.0, 0.2)}
    return Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=3, parameters=parameters)


def test_truths_beyond_the_prior_have_no_density_and_leave_others_alone(problem) -> None:
    """On a bound it is finite; where the parameter is not known there is none."""
    estimator, truth = NeuralPosterior(problem), problem.sample((5,))
    theta = torch.tensor([0.1, 0.2, 0.0, 0.3, torch.nan]).unsqueeze(-1)
    found = truth_density(estimator, truth._replace(theta=theta))
    assert found[:3].isfinite().all()
    assert found[3] == -torch.inf
    assert found[4].isnan()
    alone = truth_density(estimator, truth._replace(theta=theta[:1].expand(5, 1)))
    torch.testing.assert_close(found[0], alone[0])
