"""The training engine: one loop for all estimators."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from ...problems import Problem, Twin
from ..learned import Learned
from .average import Average
from .batches import Batches, States, TrainingError, derive
from .looks import Looks
from .lr_schedules import cosine
from .processes import Loss, Processes
from .statistics import settle, standardize

#: Steps between readings of the loss and the clock: on a GPU each of them waits for all work under way.
LOOK = 20

#: The fields of a training's state beside weights and optimiser.
PROGRESS = (
    *("epoch", "step", "total", "seconds", "begun", "losses", "history", "best_loss", "best_epoch", "best"),
    *("order", "workers"),
)


class OutOfTimeError(Exception):
    """Raised when a training was told to stop, and can be continued."""


@dataclass(kw_only=True)
class Training:
    """Training by AdamW, with a linear warm-up and a decay of the learning rate, that can be saved after any step.

    Every step seeds its own random numbers, so that a training that is saved and loaded into a new object continues to
    the same weights. Each share of a batch has its own, too: any number of processes that divides the shares comes to
    the same weights, but for the order of sums. Validation uses the averaged weights; those of the best loss are kept.

    Args:
        estimator: The estimator, trained in place.
        problem: The problem that observations are drawn from.
        seed: Seed of the order of cases, the observations, and all that the loss draws.
        epochs: Passes over the training set.
        echoes: Steps by each batch before the next is observed. What estimators see of a batch is found once, so that
            it pays where that takes longer than a step.
        renew: Epochs that see the same observations. What estimators see of them, and of validation draws, is found
            once and held in memory if there are several: it pays where that takes longer than the steps of an epoch.
        learning_rate: AdamW's learning rate.
        weight_decay: AdamW's weight decay.
        clip: Largest norm of the gradient of all weights.
        patience: Epochs without a better validation loss before it stops.
        warmup: Share of the steps over which the learning rate grows to its value.
        lr_schedule: The factor of the learning rate, by the share of the training that is done.
        final: Share of the learning rate that is left at the end.
        ema: Decay of the exponential moving average of the weights, which grows towards this value in the first
            steps; 0 for no average.
        bfloat16: Whether networks compute in bfloat16 (on a GPU; elsewhere it does nothing).
        compile: Whether the loss is compiled, which takes up to some minutes and, on a CPU, a C++ compiler.
        minutes: Time after which the training ends with the weights that it has; None for no such limit. The learning
            rate has then fallen to its end, so that weights depend on the speed of the machine.

    References:
        | Decoupled Weight Decay Regularization (Loshchilov & Hutter, 2019), https://arxiv.org/abs/1711.05101
        | Faster Neural Network Training with Data Echoing (Choi et al., 2019), https://arxiv.org/abs/1907.05550
    """

    estimator: Learned
    problem: Problem
    seed: int = 0
    epochs: int = 100
    echoes: int = 1
    renew: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    patience: int = 20
    warmup: float = 0.01
    lr_schedule: Callable[[float], float] = cosine
    final: float = 0.0
    ema: float = 0.999
    bfloat16: bool = False
    compile: bool = False
    minutes: float | None = None
    epoch: int = field(default=0, init=False)
    step: int = field(default=0, init=False)
    total: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    begun: float = field(default=0.0, init=False)
    losses: list[float] = field(default_factory=list, init=False)
    history: list[dict[str, float]] = field(default_factory=list, init=False)
    best_loss: float = field(default=float("inf"), init=False)
    best_epoch: int = field(default=0, init=False)
    best: dict[str, Tensor] = field(default_factory=dict, init=False)
    #: What the order of the cases depends on, see :attr:`Batches.order`, and the number of processes of the last step.
    order: dict[str, int] = field(default_factory=dict, init=False)
    workers: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        """Sets up the optimiser and the average."""
        self.device = next(self.estimator.parameters()).device
        self.bfloat16 = self.bfloat16 and self.device.type == "cuda"
        self.processes = Processes(self.device)
        self.optimizer = torch.optim.AdamW(
            self.estimator.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        self.average = Average(self.estimator, self.ema)
        # Looked up once: to walk through the modules in every step takes as long as to change small ones.
        self._current = list(self.estimator.parameters())
        self._clock, self._pending = 0.0, list[Tensor]()
        self._seen, self._judged = (Looks(self.estimator, hold=self.renew > 1) for _ in range(2))

    @property
    def done(self) -> bool:
        """Whether the training is complete; an epoch that has begun must end first, with its validation."""
        spent = self.epoch >= self.epochs or self.epoch - self.best_epoch >= self.patience or self._out_of_time()
        return spent and self.step == 0

    def run(
        self, train: Batches, valid: Iterable[Twin], save: Callable[[], Any] = bool, stop: Callable[[], bool] = bool
    ) -> list[dict[str, float]]:
        """Trains to the end; the estimator then holds the best weights, and may draw.

        Args:
            train: The training set.
            valid: Draws of the joint that the weights are chosen by, in batches, read anew after every epoch; of
                several processes, each has every so many-th of them, from that of its own number on.
            save: Called whenever the state may be saved.
            stop: Asked every some steps whether to stop, in each process; one that says so stops all.

        Returns:
            What :meth:`passes` yields.

        Raises:
            TrainingError: If a loss is not finite (the best weights so far are kept), or if a state that was loaded is
                of another order of cases.
            OutOfTimeError: If it was told to stop.
        """
        return list(self.passes(train, valid, save, stop))

    def passes(
        self, train: Batches, valid: Iterable[Twin], save: Callable[[], Any] = bool, stop: Callable[[], bool] = bool
    ) -> Iterator[dict[str, float]]:
        """Trains as :meth:`run` does, an epoch whenever it is asked for the next.

        Yields:
            After each epoch its number, the losses, the learning rate, seconds, cases per second, and the peak memory
            of the GPU in mebibytes (0 elsewhere).
        """
        self._check_order(train)
        if self.total == 0:
            self._seed("statistics")
            standardize(self.estimator, self.problem, train)
        loss, steps = self._loss(), len(train)
        if self.total == 0:
            self.average.begin()
        while not self.done:
            self.estimator.train()
            self._clock = perf_counter()
            if self._observed == self.epoch:
                self._seen.forget()
            for states in train.epoch(self._observed, done=self.step):
                if self._out_of_time():
                    break
                self._step(loss, states, train.own, self._share_done(steps))
                # Steps of seconds are looked at one by one, or a deadline would pass unseen.
                if self.total % LOOK == 0 or self.seconds > self.total:
                    self._record_losses()
                    save()
                    self._check_stop(stop)
            self._record_losses()
            yield self._finish(valid, self.step * train.batch)
            save()
            if not self.done:
                self._check_stop(stop)
        self._take_best(train)

    def _loss(self) -> nn.Module:
        """The loss as a module, distributed over processes if there are several, and compiled if so set."""
        loss = self.processes.share(Loss(self.estimator))
        # One graph for each of the two sizes of batches: graphs for any size are slower, and those of some flows fail.
        return torch.compile(loss, dynamic=False) if self.compile else loss  # type: ignore[return-value]

    def _step(self, loss: nn.Module, batch: States, own: range, done: float) -> None:
        """The steps of the optimiser by this process's own shares of a batch, when so much of the training is done."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(done)
        parts = zip(own, batch.split(len(own)), strict=True)
        seen = [self._seen.at((self.step, share), partial(self._observe, share, part)) for share, part in parts]
        for echo in range(self.echoes):
            for parameter in self._current:
                parameter.grad = None
            values = list[Tensor]()
            for share, draws in zip(own, seen, strict=True):
                self._seed("step", self.epoch, self.step, share, echo)
                with self.processes.wait(last=share == own[-1]):
                    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                        value = loss(*draws) / len(own)
                    value.backward()
                values.append(value.detach())
            nn.utils.clip_grad_norm_(self._current, self.clip, foreach=True)
            self.optimizer.step()
            self.average.update(self.total * self.echoes + echo)
            if not echo:
                self._pending.append(values[0] if len(values) == 1 else torch.stack(values).sum())
        self.step += 1
        self.total += 1

    @property
    def _observed(self) -> int:
        """The epoch whose observations this one sees."""
        return self.epoch - self.epoch % self.renew

    def _observe(self, share: int, states: States) -> Twin:
        """Draws the observations of a share of this step's batch."""
        self._seed("observation", self._observed, self.step, share)
        return states.observe(self.problem)

    def _record_losses(self) -> None:
        """Records the losses of the last steps and the time, and raises if a loss is not finite."""
        if not self._pending:
            return
        # The time is averaged with the losses, so that all processes read the same clock.
        elapsed = self._pending[0].new_tensor(perf_counter() - self._clock)
        values = self.processes.mean(torch.stack((*self._pending, elapsed)))
        self._pending.clear()
        self._clock = perf_counter()
        *losses, seconds = values.tolist()
        self.seconds += seconds
        for number, value in enumerate(losses):
            if not isfinite(value):
                step = self.step - len(losses) + number + 1
                raise TrainingError(f"the loss is {value} at epoch {self.epoch + 1}, step {step}; {self._remedy()}")
            self.losses.append(value)

    def _finish(self, valid: Iterable[Twin], cases: int) -> dict[str, float]:
        """Ends an epoch: validates, and keeps the weights if they are the best so far."""
        valid_loss = self.validate(valid)
        if not isfinite(valid_loss):
            raise TrainingError(f"the validation loss is {valid_loss} at epoch {self.epoch + 1}; {self._remedy()}")
        seconds = self.seconds - self.begun
        record = {
            "epoch": self.epoch + 1,
            "train_loss": sum(self.losses) / len(self.losses),
            "valid_loss": valid_loss,
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "seconds": seconds,
            "cases_per_second": cases / seconds,
            "gpu_memory_mib": self.processes.peak_memory(),
        }
        self.epoch, self.step, self.losses, self.begun = self.epoch + 1, 0, [], self.seconds
        self.history.append(record)
        if valid_loss < self.best_loss:
            self.best_loss, self.best_epoch = valid_loss, self.epoch
            self.best = {name: value.clone() for name, value in self.average.weights().state_dict().items()}
        return record

    def _take_best(self, train: Batches) -> None:
        """Ends the training: the estimator takes the best weights, by which it draws from here on."""
        self.estimator.load_state_dict(self.best)
        self._seed("settling")
        settle(self.estimator.eval(), self.problem, train, self.epoch)
        self.estimator.mark_trained()

    @torch.no_grad()
    def validate(self, valid: Iterable[Twin]) -> float:
        """The loss over the validation draws, with the averaged weights, and the same random numbers every time."""
        estimator = self.average.weights().eval()
        total = torch.zeros(2, device=self.device)
        for index, twin in enumerate(valid):
            key = self.processes.rank + index * self.processes.count
            self._seed("look", key)
            draws = self._judged.at(key, partial(Twin, *twin))
            self._seed("validation", key)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                loss = estimator.loss(*draws)
            total += torch.stack((loss, torch.ones_like(loss))) * len(twin.x)
        summed, cases = self.processes.mean(total).tolist()
        if not cases:
            raise TrainingError("none of the validation cases is finite; see why the model fails, and simulate again")
        return summed / cases

    def state_dict(self) -> dict[str, Any]:
        """The state that the next step depends on."""
        return {
            "estimator": self.estimator.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in PROGRESS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of a saved training.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: If it is something else, which may have been taken in parts.
        """
        self.estimator.load_state_dict(state["estimator"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in PROGRESS:
            if type(state[name]) is not type(getattr(self, name)):
                raise TypeError(f"'{name}' is no {type(getattr(self, name)).__name__}")
            setattr(self, name, state[name])

    def _rate(self, share: float) -> float:
        """The learning rate, when some share of the training is done."""
        rising = min(1.0, (share + 1e-8) / self.warmup) if self.warmup else 1.0
        return self.learning_rate * rising * (self.final + (1 - self.final) * self.lr_schedule(share))

    def _seed(self, *keys: object) -> None:
        """Seeds all random numbers from here on."""
        self.processes.seed(derive(self.seed, *keys))

    def _share_done(self, steps: int) -> float:
        """The share of the training that is done: of the epochs, with so many steps each, or of the time."""
        epochs = (self.epoch + self.step / steps) / self.epochs
        return epochs if self.minutes is None else min(1.0, max(epochs, self.seconds / (60 * self.minutes)))

    def _out_of_time(self) -> bool:
        """Whether the time is up."""
        return self.minutes is not None and self.seconds >= 60 * self.minutes

    def _check_order(self, train: Batches) -> None:
        """Raises if a state was loaded that goes on with other cases than these, or not in all processes."""
        if not self.processes.agree(self.total):
            raise TrainingError("its processes go on from states of different steps; run it again")
        others = {name: now for name, now in train.order.items() if self.total and self.order.get(name) != now}
        if others:
            was = ", ".join(f"{name} {self.order.get(name)}, now {now}" for name, now in others.items())
            raise TrainingError(
                f"its state was saved with other data ({was}), and going on would skip or repeat cases; give it what "
                "it had, or begin anew without that state"
            )
        self.order, self.workers = train.order, self.processes.count

    def _check_stop(self, stop: Callable[[], bool]) -> None:
        """Raises in all processes if any of them is told to stop."""
        if self.processes.any(stop()):
            raise OutOfTimeError(f"epoch {self.epoch + 1}, step {self.step}")

    def _remedy(self) -> str:
        """The remedy for a loss that is not finite."""
        rate, clip, warmup = (f"{value:g}" for value in (self.learning_rate, self.clip, self.warmup))
        return f"try a smaller learning_rate (now {rate}) or clip (now {clip}), or a longer warmup (now {warmup})"
