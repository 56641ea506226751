"""Shared parameters that are drawn once more, given the states that were drawn."""

import pytest
import torch

from posterity.estimators.trajectories import methods
from posterity.estimators.trajectories.methods import SharedSOSDA
from posterity.nn import Convolution, ResidualMLP
from posterity.testing import check_estimator

from .test_learning import ring, vector

PROBLEMS = {
    "ring": (ring(model_error=0.3), Convolution(width=8, blocks=1, kernel=3)),
    "vector": (vector(model_error=0.3), ResidualMLP(16, 1)),
}
OPTIONS = {"crops": 2, "stride": 2, "redrawn": True}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_estimator_keeps_its_contract(name: str) -> None:
    problem, network = PROBLEMS[name]
    check_estimator(lambda problem: SharedSOSDA(problem, 1, network, **OPTIONS), problem, density=None)


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_each_draw_has_parameters_given_its_own_states(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """States stay, whatever is in memory at once, and times are those of their windows."""
    problem, network = PROBLEMS["vector"]
    estimator = SharedSOSDA(problem, 1, network, **OPTIONS)
    estimator.standardize(problem.sample((20,)))
    monkeypatch.setattr(
        estimator, "_pieces", lambda total, *_: [slice(i, i + at_once) for i in range(0, total, at_once)]
    )

    def told(window, samples):
        assert samples == 1
        assert (window.y.shape[1:], window.std.unique().tolist()) == ((5, 3), [pytest.approx(methods.EXACT)])
        return torch.stack((window.y[:, :, 0].mean(dim=1), window.start), dim=-1).unsqueeze(0)

    monkeypatch.setattr(estimator.steps, "parameters_of", told)
    window = problem.sample((3,)).window._replace(start=torch.tensor([0.0, 1.0, 2.0]))
    z = torch.randn(4, 3, estimator.trajectory.entries)
    found, joint = estimator.decode(window, z), super(SharedSOSDA, estimator).decode(window, z)
    torch.testing.assert_close(found.x[:, :, :5], joint.x[:, :, :5])
    v = problem.encode_parameters(found.theta)
    torch.testing.assert_close(v[..., 0], found.x[:, :, :5, 0].mean(dim=2))
    torch.testing.assert_close(v[..., 1], window.start.expand(4, 3))


@pytest.mark.parametrize("centred", [True, False])
def test_scores_of_single_steps_are_centred_as_those_of_crops_are(centred: bool) -> None:
    problem, network = PROBLEMS["ring"]
    estimator = SharedSOSDA(problem, 1, network, **OPTIONS, centred=centred)
    assert (estimator.centred, estimator.steps.centred) == (centred, centred)
    chosen = estimator.steps.step.centred if centred else estimator.steps.step.residual
    assert estimator.steps.residual == chosen


def test_states_of_a_deterministic_model_leave_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="redrawn: states of a deterministic model"):
        SharedSOSDA(ring(), 1, PROBLEMS["ring"][1], **OPTIONS)
