"""The training loop: it stops when it should, keeps the best weights, and goes on as if it had never stopped."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from posterity.estimators import Estimator, NeuralPosterior, Training, TrainingError
from posterity.problems import Ensemble, Problem, Twin, Window

SETTINGS = {"epochs": 6, "batch": 8, "learning_rate": 0.01, "weight_decay": 1e-4, "clip": 1.0, "patience": 6}


class Scripted(Estimator):
    """An estimator of one number that falls by gradient descent, and whose n-th training loss can be spoilt."""

    def __init__(self, problem: Problem, spoilt: int = -1) -> None:
        super().__init__(problem)
        self.number = nn.Parameter(torch.tensor(1.0))
        self.spoilt = spoilt
        self.calls = 0

    def standardize(self, twin: Twin) -> None:
        """Counts nothing."""

    def loss(self, twin: Twin) -> Tensor:
        """The number, or NaN."""
        if self.training:
            self.calls += 1
        return self.number * (torch.nan if self.calls == self.spoilt else 1.0)

    def sample(self, window: Window, samples: int) -> Ensemble:
        """Is not asked for."""
        raise NotImplementedError


@pytest.fixture
def problem(make_problem) -> Problem:
    return make_problem(4)


@pytest.fixture
def scripted(problem, draw_states):
    """Trains a scripted estimator whose validation losses are given; returns the training and its records."""

    def train(losses: list[float], spoilt: int = -1, **settings: float) -> tuple[Training, list[dict], list[dict]]:
        training = Training(Scripted(problem, spoilt), **SETTINGS | settings)
        script = iter(losses)
        training.validate = lambda valid: next(script)
        records, weights = [], []
        for record in training.run(problem, draw_states(problem, 20), problem.sample((4,))):
            records.append(record)
            weights.append({name: value.clone() for name, value in training.estimator.state_dict().items()})
        return training, records, weights

    return train


def npe(problem: Problem) -> Training:
    """A training of a small network, always with the same first weights."""
    torch.manual_seed(1)
    estimator = NeuralPosterior(problem, transforms=1, hidden=(8,), bins=4, embedding=(8, 4))
    return Training(estimator, **SETTINGS)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_training_that_is_interrupted_goes_on_to_the_same_weights(problem, draw_states, tmp_path, stop) -> None:
    """Saved after an epoch, broken off in the middle of the next, and loaded into a new object."""
    torch.manual_seed(0)
    states, valid = draw_states(problem, 40), problem.sample((10,))

    alone = npe(problem)
    records = list(alone.run(problem, states, valid))

    broken = npe(problem)
    run: Iterator[dict] = broken.run(problem, states, valid)
    for _ in range(stop):
        next(run)
    torch.save(broken.state_dict(), tmp_path / "state.pt")
    broken._epoch(problem, states)
    del run, broken

    torch.manual_seed(99)
    resumed = npe(problem)
    torch.randn(7)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    rest = list(resumed.run(problem, states, valid))

    assert [record["epoch"] for record in rest] == list(range(stop + 1, 7))
    for name in ("train_loss", "valid_loss", "learning_rate"):
        assert [record[name] for record in rest] == [record[name] for record in records[stop:]]
    assert resumed.best_epoch == alone.best_epoch
    for found, expected in ((resumed.best, alone.best), (resumed.estimator.state_dict(), alone.estimator.state_dict())):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    # The comparison can fail: weights move in every epoch.
    assert any(not torch.equal(value, npe(problem).estimator.state_dict()[name]) for name, value in alone.best.items())


def test_the_best_weights_are_those_of_the_best_epoch(scripted) -> None:
    training, records, weights = scripted([3.0, 1.0, 2.0, 1.0, 4.0, 5.0])
    assert len(records) == 6
    assert (training.best_epoch, training.best_loss) == (2, 1.0)
    assert torch.equal(training.best["number"], weights[1]["number"])
    assert not torch.equal(training.best["number"], weights[-1]["number"])


def test_patience_counts_epochs_since_the_best(scripted) -> None:
    training, records, _ = scripted([3.0, 2.0, 2.5, 2.4, 2.3, 1.0], patience=3)
    assert [record["valid_loss"] for record in records] == [3.0, 2.0, 2.5, 2.4, 2.3]
    assert (training.best_epoch, training.epoch) == (2, 5)
    # A better loss in time starts the count anew.
    _, records, _ = scripted([3.0, 2.0, 2.5, 2.4, 1.0, 1.5], patience=3)
    assert len(records) == 6


def test_the_learning_rate_falls_to_zero_by_cosine(scripted) -> None:
    _, records, _ = scripted([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    expected = [0.01 * (1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(1, 7)]
    assert [record["learning_rate"] for record in records] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("spoilt", "place"), [(1, "epoch 1, step 1"), (5, "epoch 2, step 2")])
def test_a_loss_that_is_not_a_number_stops_and_names_the_step(scripted, spoilt, place) -> None:
    message = f"the loss is nan at {place}; try a smaller learning_rate \\(now 0.01\\) or clip \\(now 1\\)"
    with pytest.raises(TrainingError, match=message):
        scripted([1.0] * 6, spoilt)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_validation_loss_that_is_not_a_number_stops_too(scripted, loss) -> None:
    with pytest.raises(TrainingError, match=f"the validation loss is {loss} at epoch 2; try a smaller learning_rate"):
        scripted([1.0, loss])


def test_validation_averages_over_cases_whatever_the_batch(problem) -> None:
    valid = problem.sample((11,))
    one = npe(problem)
    one.estimator.standardize(valid)
    assert one.validate(valid) == pytest.approx(one.estimator.loss(valid).item(), rel=1e-12)


def test_observations_are_drawn_anew(problem, draw_states) -> None:
    states = draw_states(problem, 3)
    cases = torch.tensor([2, 0])
    first, second = states.observe(problem, cases), states.observe(problem, cases)
    assert torch.equal(first.x, states.x[cases])
    assert torch.equal(first.window.background, states.background[cases])
    seen = ~first.window.y.isnan()
    assert not torch.equal(first.window.y[seen], second.window.y[seen])
