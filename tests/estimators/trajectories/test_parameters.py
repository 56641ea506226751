"""Shared parameters with a network of their own, which sees what the model leaves of states."""

from dataclasses import replace
from math import atan

import pytest
import torch

from posterity.diffusion.compositions import Trajectory
from posterity.estimators.trajectories.denoiser import LearnedLocal
from posterity.estimators.trajectories.innovations import innovations
from posterity.estimators.trajectories.methods import SharedSOSDA
from posterity.nn import Convolution, ResidualMLP
from posterity.problems import Normal, Problem
from posterity.testing import check_estimator

from .test_learning import ring, vector

PROBLEMS = {
    "ring": (ring(), Convolution(width=8, blocks=1, kernel=3)),
    "vector": (vector(), ResidualMLP(16, 1)),
}


def made() -> tuple[SharedSOSDA, Problem]:
    """An estimator that has seen its problem, with weights at random."""
    problem, network = PROBLEMS["ring"]
    estimator = SharedSOSDA(problem, 1, network, crops=2, stride=2, innovations=True)
    estimator.standardize(problem.sample((16,)))
    return estimator, problem


@pytest.mark.parametrize("error", [None, 0.3])
def test_innovations_are_what_the_model_leaves_at_the_median(error: float | None) -> None:
    """Of trajectories with parameters that are known, what is left is the errors of the model."""
    problem = replace(ring(), parameters={"forcing": Normal(8.0, 1e-6)}, model_error=error)
    twin = problem.sample((200,))
    left = innovations(problem, twin.x, twin.window.start)
    assert left.shape == (200, problem.steps - 1, 1, 8)
    assert float(left.std()) == pytest.approx(error or 0, abs=0.01)


def test_separators_of_one_state_leave_nothing() -> None:
    """What parameters are told of them does not change with the states that they lack."""
    estimator, problem = made()
    x, v, start = estimator.crop(problem.sample((4,)))
    other = torch.cat((x[:, :1], torch.randn_like(x[:, 1:])), dim=1)
    angle, kinds = torch.tensor([0.3]), torch.tensor([False, True])
    for kind in kinds:
        found = [estimator.local(states, v, angle, start, kind.expand(len(v)))[1] for states in (x, other)]
        assert torch.equal(*found) == (not kind)


def test_derivatives_are_those_of_states_and_of_parameters_in_themselves() -> None:
    """In noisy parameters it is that of differences, and in states, which observations see, none."""
    estimator, _ = made()
    with torch.no_grad():
        for weights in estimator.local.residual.parameters():
            # Estimates of states move with noisy parameters too, which is left out.
            weights.zero_()
    trajectory, angle = Trajectory(3, 8, 1), atan(0.4)
    local = LearnedLocal(estimator.local, torch.zeros(2), trajectory)
    x, start = torch.randn(1, 2, trajectory.entries), torch.zeros(1)
    unit = torch.zeros_like(x)
    unit[..., -1] = 1
    found = local.pullback(x, angle, start, unit)
    apart = [local.mean(x + sign * 1e-5 * unit, angle, start)[..., -1] for sign in (1, -1)]
    torch.testing.assert_close(found[..., -1], (apart[0] - apart[1]) / 2e-5)
    assert not found[..., :-1].any()


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_estimator_keeps_its_contract(name: str) -> None:
    problem, network = PROBLEMS[name]
    options = {"network": network, "crops": 2, "stride": 2, "innovations": True}
    check_estimator(lambda problem: SharedSOSDA(problem, 1, **options), problem, density=None)
