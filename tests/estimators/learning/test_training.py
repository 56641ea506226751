"""The training engine: it stops when it should, keeps the best weights, and goes on as if it had never stopped."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from posterity.estimators import (
    Batches,
    Estimator,
    NeuralPosterior,
    OutOfTimeError,
    Refined,
    States,
    StateTarget,
    Training,
    TrainingError,
)
from posterity.estimators.learning import statistics
from posterity.estimators.learning import training as engine
from posterity.estimators.learning.lr_schedules import constant, cosine, linear
from posterity.estimators.refinements import Importance
from posterity.nn import MLP
from posterity.problems import Ensemble, GaussianStations, Observation, Problem, Twin, Window
from posterity.systems import LinearAdvection
from posterity.testing import linear_gaussian

SETTINGS: dict[str, Any] = {"epochs": 6, "learning_rate": 0.01, "patience": 6}


class Scripted(Estimator):
    """An estimator of one number that falls by gradient descent, and whose n-th training loss can be spoilt."""

    def __init__(self, problem: Problem, spoilt: int = -1) -> None:
        super().__init__(problem)
        self.number = nn.Parameter(torch.tensor(1.0))
        self.spoilt = spoilt
        self.calls = 0

    def loss(self, twin: Twin) -> Tensor:
        """The number, or NaN."""
        if self.training:
            self.calls += 1
        return self.number * (torch.nan if self.calls == self.spoilt else 1.0)

    def sample(self, window: Window, samples: int) -> Ensemble:
        """Is not asked for."""
        raise NotImplementedError


class Regression(Scripted):
    """A linear regression of the last state on the observations, with noise of its own in the loss."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.map = nn.Linear(problem.window * problem.shape[-1], problem.shape[-1])

    def loss(self, twin: Twin) -> Tensor:
        """The mean square error, of perturbed weights."""
        y = twin.window.y.nan_to_num().flatten(1)
        error = self.map(y + 0.1 * torch.randn_like(y)) - twin.x[:, -1, 0] * self.number
        return error.square().mean()


class Exact(Regression):
    """The same, without noise: compiled code draws other numbers."""

    def loss(self, twin: Twin) -> Tensor:
        """The mean square error."""
        error = self.map(twin.window.y.nan_to_num().flatten(1)) - twin.x[:, -1, 0] * self.number
        return error.square().mean()


@pytest.fixture
def problem(make_problem) -> Problem:
    return make_problem(4)


@pytest.fixture
def batches(problem, draw_states):
    """A training set in batches of 8, read in chunks if there is little memory."""
    states = draw_states(problem, 80)

    def made(memory: int | None = None, **options: Any) -> Batches:
        return Batches(lambda cases: States(*(value[cases] for value in states)), 80, 8, memory=memory, **options)

    return made


@pytest.fixture
def valid(problem) -> list[Twin]:
    return [problem.sample((10,)), problem.sample((5,))]


@pytest.fixture
def scripted(problem, batches):
    """Trains a scripted estimator whose validation losses are given; returns the training and its weights."""

    def train(losses: list[float], spoilt: int = -1, **settings: Any) -> tuple[Training, list[dict], list[dict]]:
        training = Training(
            estimator=Scripted(problem, spoilt), problem=problem, **{**SETTINGS, "ema": 0.0, **settings}
        )
        script = iter(losses)
        training.validate = lambda valid: next(script)
        records, weights = [], []
        for record in training.passes(batches(), []):
            records.append(record)
            weights.append({name: value.clone() for name, value in training.estimator.state_dict().items()})
        return training, records, weights

    return train


def regression(problem: Problem, **settings: Any) -> Training:
    """A training of a regression, always with the same first weights."""
    torch.manual_seed(1)
    return Training(estimator=Regression(problem), problem=problem, **SETTINGS | settings)


class Looking(Scripted):
    """Counts how often it looks at draws, and keeps what each of its losses is given."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.looks, self.given = 0, list[tuple[Twin, int, Tensor]]()

    def look(self, twin: Twin) -> tuple[int]:
        """The number of this look."""
        self.looks += 1
        return (self.looks,)

    def loss(self, twin: Twin, look: int = 0) -> Tensor:
        """The number, and noise."""
        if look:
            self.given.append((twin, look, torch.randn(())))
        return self.number


def test_echoes_are_steps_by_the_same_draws_with_other_noise(problem, batches, valid) -> None:
    training = Training(estimator=Looking(problem), problem=problem, **{**SETTINGS, "epochs": 1, "echoes": 3})
    before = float(training.estimator.number.detach())
    training.run(batches(), valid)
    given = training.estimator.given
    # Ten batches, and two for validation.
    assert (training.total, training.estimator.looks, len(given)) == (10, 12, 30)
    assert [look for _, look, _ in given] == [1 + step // 3 for step in range(30)]
    assert all(given[step][0] is given[step - step % 3][0] for step in range(30))
    assert len({float(noise) for _, _, noise in given}) == 30
    # Adam's steps are as long as the rate: three times as many go three times as far.
    once = Training(estimator=Looking(problem), problem=problem, **{**SETTINGS, "epochs": 1, "weight_decay": 0.0})
    once.run(batches(), valid)
    assert before - float(training.estimator.number) > 2 * (before - float(once.estimator.number))


def test_what_is_seen_is_found_once_until_all_is_observed_anew(problem, batches, valid) -> None:
    training = Training(estimator=Looking(problem), problem=problem, **{**SETTINGS, "epochs": 5, "renew": 2})
    training.run(batches(), valid)
    # Ten batches in each of the first, the third and the fifth epoch, and two for validation once.
    given = training.estimator.given
    assert (training.total, training.estimator.looks, len(given)) == (50, 32, 50)
    twins = [draws for draws, _, _ in given]
    assert all(twins[step] is twins[step + 10] for start in (0, 20) for step in range(start, start + 10))
    assert not any(twins[step] is twins[step + 20] for step in range(20))
    assert len({float(noise) for _, _, noise in given}) == 50


class KilledError(Exception):
    """What stands for a kill."""


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "renew"), [(None, 1), (32, 1), (None, 4)])
@pytest.mark.parametrize("kill", [1, 10, 13, 47])
def test_a_training_that_is_killed_goes_on_to_the_same_weights(
    problem, batches, valid, tmp_path, monkeypatch, memory, renew, kill
) -> None:
    """Saved at some step, killed some steps later, and loaded into a new object: the same bits come out."""
    monkeypatch.setattr(engine, "LOOK", 3)
    alone = regression(problem, renew=renew)
    records = alone.run(batches(memory), valid)

    broken = regression(problem, renew=renew)

    def save() -> None:
        if broken.total <= kill:
            torch.save(broken.state_dict(), tmp_path / "state.pt")
        elif broken.total > kill + 5:
            raise KilledError

    torch.save(broken.state_dict(), tmp_path / "state.pt")
    with pytest.raises(KilledError):
        broken.run(batches(memory), valid, save)

    torch.manual_seed(99)
    resumed = regression(problem, renew=renew)
    torch.randn(7)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.total <= kill
    resumed.run(batches(memory), valid)

    for name in ("epoch", "train_loss", "valid_loss", "learning_rate"):
        assert [r[name] for r in resumed.history] == [r[name] for r in records], name
    for a, b in ((alone.best, resumed.best), (alone.estimator.state_dict(), resumed.estimator.state_dict())):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("other", "was"),
    [({"seed": 5}, "seed 0, now 5"), ({"memory": 32}, "block 80, now 1"), ({"shares": 2}, "shares 1, now 2")],
)
def test_a_state_does_not_go_on_with_other_cases(problem, batches, valid, other, was) -> None:
    """It would skip some, and see others twice."""
    broken, resumed = regression(problem), regression(problem)
    next(broken.passes(batches(), valid))
    resumed.load_state_dict(deepcopy(broken.state_dict()))
    with pytest.raises(
        TrainingError, match=rf"saved with other data \({was}\), and going on would skip or repeat cases"
    ):
        resumed.run(batches(**other), valid)
    # A training that has not begun has seen nothing.
    fresh = regression(problem, epochs=1)
    fresh.load_state_dict(regression(problem).state_dict())
    assert len(fresh.run(batches(**other), valid)) == 1


def test_the_best_weights_are_kept(scripted) -> None:
    training, records, weights = scripted([3.0, 1.0, 2.0, 0.5, 0.7, 0.6])
    assert [record["epoch"] for record in records] == list(range(1, 7))
    assert (training.best_epoch, training.best_loss) == (4, 0.5)
    assert torch.equal(training.best["number"], weights[3]["number"])
    assert training.history == records


def test_it_stops_without_progress(scripted) -> None:
    training, records, _ = scripted([3.0, 1.0, 2.0, 1.5, 1.1, 0.1], patience=3)
    assert len(records) == 5
    assert training.best_epoch == 2


@pytest.mark.parametrize("step", [1, 13])
def test_a_loss_that_is_not_finite_stops_it_and_says_where(scripted, step) -> None:
    """There are ten steps in an epoch."""
    where = f"epoch {(step - 1) // 10 + 1}, step {(step - 1) % 10 + 1}; try a smaller learning_rate .now 0.01."
    with pytest.raises(TrainingError, match=f"the loss is nan at {where}"):
        scripted([1.0] * 6, spoilt=step)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_loss_that_is_not_finite_stops_it(scripted, value) -> None:
    with pytest.raises(TrainingError, match=f"the validation loss is {value} at epoch 2"):
        scripted([1.0, value])


def test_a_deadline_stops_it_and_a_budget_ends_it(problem, batches, valid, monkeypatch) -> None:
    monkeypatch.setattr(engine, "LOOK", 2)
    stopped = regression(problem)
    with pytest.raises(OutOfTimeError, match="epoch 1, step 2"):
        stopped.run(batches(), valid, stop=lambda: True)
    ended = regression(problem, minutes=1e-9)
    assert len(ended.run(batches(), valid)) == 1
    assert ended.done
    assert ended.total == 2
    assert ended.best


def test_the_clock_is_looked_at_however_few_steps_an_epoch_has(problem, batches, valid) -> None:
    """Ten, of twenty between two looks."""
    stopped = regression(problem)
    with pytest.raises(OutOfTimeError, match="epoch 2, step 0"):
        stopped.run(batches(), valid, stop=lambda: True)
    # What is complete needs no time.
    assert len(regression(problem, epochs=1).run(batches(), valid, stop=lambda: True)) == 1


def test_slow_steps_are_looked_at_one_by_one(problem, batches, valid, monkeypatch) -> None:
    """Of a hundred seconds each, on a clock that the steps move."""
    training = regression(problem)
    monkeypatch.setattr(engine, "perf_counter", lambda: 100.0 * training.total)
    with pytest.raises(OutOfTimeError, match="epoch 2, step 2"):
        training.run(batches(), valid, stop=lambda: 100.0 * training.total > 1150.0)


def test_in_the_end_it_holds_the_best_weights_and_may_draw(problem, batches, valid) -> None:
    """Those of the average, in evaluation mode; the last of the optimiser are others."""
    training = regression(problem, ema=0.9, learning_rate=0.3)
    last = {}
    training.optimizer.register_step_post_hook(lambda *_: last.update(weight=training.estimator.map.weight.clone()))
    with pytest.raises(ValueError, match="Regression is not trained, and its draws would mean nothing: run a Training"):
        training.estimator.check_ready()
    records = training.run(batches(), valid)
    assert training.best_epoch == 1 + min(range(6), key=lambda n: records[n]["valid_loss"])
    assert torch.equal(training.estimator.map.weight, training.best["map.weight"])
    assert not torch.allclose(training.estimator.map.weight, last["weight"])
    assert not training.estimator.training
    training.estimator.check_ready()
    other = Regression(problem)
    other.load_state_dict(training.estimator.state_dict())
    other.check_ready()


def test_what_it_settles_in_the_end_is_seen_of_a_tenth_of_the_cases(problem, batches, valid, monkeypatch) -> None:
    """With the best weights, in parts: of 5 epochs of 80 cases 40, and of 20 the whole set twice."""
    monkeypatch.setattr(statistics, "NUMBERS", 0)
    for epochs, cases in ((5, 40), (20, 160)):
        training = regression(problem, epochs=epochs, patience=epochs, ema=0.9, learning_rate=0.3)
        weights, sizes = [], list[int]()

        def settle(twins, training=training, weights=weights, sizes=sizes) -> None:
            weights.append(training.estimator.map.weight.detach().clone())
            sizes.extend(len(twin.x) for twin in twins)

        monkeypatch.setattr(training.estimator, "settle", settle)
        training.run(batches(), valid)
        (settled,) = weights
        assert torch.equal(settled, training.best["map.weight"])
        assert sizes == [8] * (cases // 8)


def test_an_estimator_that_is_not_trained_refuses_to_draw(problem) -> None:
    estimator, window = NeuralPosterior(problem), problem.sample((2,)).window
    for method in (estimator, Refined(estimator, Importance())):
        with pytest.raises(ValueError, match="NeuralPosterior is not trained"):
            method.sample(window, 30)
    assert estimator.mark_trained().sample(window, 30).x.shape == (30, 2, 6, 1, 4)


@pytest.mark.parametrize("minutes", [None, 1e-9], ids=["epoch", "time"])
def test_a_training_that_is_killed_before_a_validation_validates_first(
    problem, batches, valid, monkeypatch, minutes
) -> None:
    """At the last step of an epoch, and when the time is up: no step is left to take."""
    monkeypatch.setattr(engine, "LOOK", 10)
    broken, states = regression(problem, minutes=minutes), []

    def save() -> None:
        states.append(deepcopy(broken.state_dict()))
        raise KilledError

    with pytest.raises(KilledError):
        broken.run(batches(), valid, save)
    resumed, alone = (regression(problem, minutes=minutes) for _ in range(2))
    resumed.load_state_dict(states[0])
    first = next(resumed.passes(batches(), valid))
    assert (resumed.epoch, resumed.total) == (1, 10)
    assert first["valid_loss"] == next(alone.passes(batches(), valid))["valid_loss"]
    assert first["cases_per_second"] == pytest.approx(80 / states[0]["seconds"])
    assert resumed.best


@pytest.mark.parametrize(("size", "cases"), [(4, 65536), (2**12, 170), (2**20, 8)])
def test_statistics_of_large_states_take_fewer_cases(size, cases) -> None:
    """Six states of a case, all in 16 mebibytes of single precision, but a batch at least."""
    problem = linear_gaussian(size, window=4, forecast=2)
    asked: list[int] = []

    def read(chosen: slice) -> States:
        asked.append(chosen.stop - chosen.start)
        raise KilledError

    # Its estimator never sees a state: the statistics are all that is asked for.
    training = Training(estimator=Scripted(linear_gaussian(4)), problem=problem)
    with pytest.raises(KilledError):
        training.run(Batches(read, 10**6, 8), [])
    assert asked == [cases]


def test_networks_alone_compute_in_bfloat16() -> None:
    """Observations, targets and features, for which stations and models multiply matrices, are those without it."""
    seen: list[tuple[Tensor, ...]] = []

    class Noted(Regression):
        """Keeps what the network is given, and what it makes of it."""

        def loss(self, twin: Twin) -> Tensor:
            """The mean square of the network's output."""
            found = self.map(twin.window.y.flatten(1))
            seen.append((twin.window.y, self.encode(twin), self.features(twin.window), found.detach()))
            return found.square().mean()

    class Multiplied(LinearAdvection):
        """A system whose step multiplies matrices."""

        def step(self, x: Tensor) -> Tensor:
            """Moves states on, and mixes them."""
            return x @ (0.9 * torch.eye(4).roll(1, 0) + 0.01).to(x)

    torch.set_default_dtype(torch.float32)
    try:
        operator = GaussianStations((1, 4), positions=(0, 1, 2, 3), radius=1)
        problem = Problem(Multiplied(size=4), Observation(operator), window=4, model_error=0.1)
        twin = problem.sample((8,))
        states = States(twin.x, twin.theta, *twin.window[2:])
        for half in (False, True):
            torch.manual_seed(1)
            training = Training(estimator=Noted(problem), problem=problem, epochs=1)
            # The engine asks for a GPU, where it is faster; processors have it too.
            training.bfloat16 = half
            training.run(Batches(lambda cases: States(*(value[cases] for value in states)), 8, 8), [twin])
    finally:
        torch.set_default_dtype(torch.float64)
    (*given, found), _, (*given_half, found_half), _ = seen
    assert (found.dtype, found_half.dtype) == (torch.float32, torch.bfloat16)
    for one, other in zip(given, given_half, strict=True):
        assert torch.equal(one, other)


def test_the_learning_rate_rises_then_falls(problem, batches) -> None:
    """Ten steps an epoch: five rise, the last is nearly at the end of the decay."""
    training = regression(problem, warmup=0.5, epochs=1, lr_schedule=linear, final=0.2)
    rates = []
    training.optimizer.register_step_pre_hook(lambda *_: rates.append(training.optimizer.param_groups[0]["lr"]))
    training.run(batches(), [problem.sample((4,))])
    share = torch.arange(10) / 10
    expected = 0.01 * (share / 0.5).clamp(max=1) * (0.2 + 0.8 * (1 - share))
    torch.testing.assert_close(torch.tensor(rates), expected, atol=1e-9, rtol=1e-6)
    assert [decay(0.0) for decay in (constant, cosine, linear)] == [1, 1, 1]
    assert [decay(1.0) for decay in (constant, cosine, linear)] == pytest.approx([1, 0, 0])


def test_all_weights_are_clipped(problem, batches) -> None:
    norms = []
    training = regression(problem, clip=1e-3, epochs=1)

    def note(*_: object) -> None:
        gradients = [p.grad for p in training.estimator.parameters() if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    training.optimizer.register_step_pre_hook(note)
    training.run(batches(), [problem.sample((4,))])
    assert max(norms) == pytest.approx(1e-3, rel=1e-3)


def test_validation_sees_the_average_of_the_weights(problem, batches, valid) -> None:
    """Recomputed from the weights after each step."""
    training = regression(problem, ema=0.9, epochs=1)
    seen: list[Tensor] = []
    training.optimizer.register_step_post_hook(lambda *_: seen.append(training.estimator.map.weight.detach().clone()))
    training.run(batches(), valid)
    average = seen[0]
    for number, weight in enumerate(seen[1:], start=1):
        decay = min(0.9, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(training.best["map.weight"], average)
    assert not torch.allclose(average, seen[-1])


def test_validation_draws_the_same_numbers_every_time(problem, valid) -> None:
    training = regression(problem)
    assert training.validate(valid) == training.validate(valid)


def test_records_say_how_fast_it_was(problem, batches, valid) -> None:
    record = next(regression(problem).passes(batches(), valid))
    assert record["cases_per_second"] * record["seconds"] == pytest.approx(80)
    assert record["gpu_memory_mib"] == 0


def test_the_learning_rate_falls_with_the_time_that_is_spent(problem, batches, valid, monkeypatch) -> None:
    """Of a minute in which the clock says that a look takes six seconds."""
    monkeypatch.setattr(engine, "LOOK", 1)
    clock = iter(float(6 * ((n + 1) // 2)) for n in range(10_000))
    monkeypatch.setattr(engine, "perf_counter", lambda: next(clock))
    training = regression(problem, minutes=1, warmup=0.0, lr_schedule=linear, epochs=50)
    rates = []
    training.optimizer.register_step_pre_hook(lambda *_: rates.append(training.optimizer.param_groups[0]["lr"]))
    training.run(batches(), valid)
    assert training.seconds >= 60
    assert len(rates) < 50 * 10
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2 * rates[0]


@pytest.mark.slow
def test_a_compiled_training_reaches_the_same_weights(problem, draw_states, valid) -> None:
    """With a last batch that is smaller than the others."""
    states, weights = draw_states(problem, 20), []
    for compiled in (False, True):
        torch.manual_seed(0)
        estimator = Exact(problem)
        batches = Batches(lambda cases: States(*(value[cases] for value in states)), 20, 8)
        Training(estimator=estimator, problem=problem, compile=compiled, **SETTINGS).run(batches, valid)
        weights.append(estimator.state_dict())
    torch.testing.assert_close(weights[0], weights[1])
    assert not torch.equal(weights[0]["map.weight"], Exact(problem).map.weight)


@pytest.mark.parametrize("numbers", [None, 16 * 4 * 4])
def test_statistics_are_those_of_all_cases_in_parts_of_some(monkeypatch, numbers) -> None:
    """States grow from case to case, so that those of the first part would say too little of the rest."""
    problem = linear_gaussian(4, 4, 0, masks=())
    if numbers:
        monkeypatch.setattr(statistics, "NUMBERS", numbers)
    twin = problem.sample((70,))
    grow = torch.linspace(0, 10, 70)
    states = States(twin.x * grow.view(-1, 1, 1, 1), twin.theta, *twin.window[2:])
    read: list[int] = []

    def noted(cases: slice) -> States:
        read.append(cases.stop - cases.start)
        return States(*(value[cases] for value in states))

    estimator = NeuralPosterior(problem, StateTarget(), MLP((4,)))
    statistics.standardize(estimator, problem, Batches(noted, 70, 16))
    assert read == ([70] if numbers is None else [16, 16, 16, 16, 6])
    last = states.x[:, 3]
    torch.testing.assert_close(estimator.scaler.mean.flatten(), last.mean().view(1))
    torch.testing.assert_close(estimator.scaler.scale.flatten(), last.std(correction=0).view(1))
    seen = estimator.features.y.scale.flatten()
    assert float(seen) == pytest.approx(float((states.x.square().mean() + 0.58).sqrt()), rel=0.1)
