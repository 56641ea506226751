"""The training loop."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ..problems import Problem, Twin, Window
from .estimator import Estimator


class TrainingError(Exception):
    """A training that cannot go on."""


@dataclass(frozen=True)
class States:
    """A training set: states with what they were drawn with. Observations are drawn anew every epoch.

    Args:
        x: The states, with shape ``(case, window + forecast, *shape)``.
        theta: The unknown parameters, with shape ``(case, parameters)``.
        background: The backgrounds, with shape ``(case, *shape)``.
        background_std: Their standard deviations, with the same shape.
        start: The times at which the windows start, in steps, with shape ``(case,)``.
    """

    x: Tensor
    theta: Tensor
    background: Tensor
    background_std: Tensor
    start: Tensor

    def observe(self, problem: Problem, cases: Tensor) -> Twin:
        """Draws observations of some of the cases."""
        return problem.observe(
            *(value[cases] for value in (self.x, self.theta, self.background, self.background_std, self.start))
        )


@dataclass
class Training:
    """The state of a training: all that the next epoch depends on.

    Weights are chosen by the validation loss. A training that is saved after an epoch and loaded into a new object
    goes on to the same weights.

    Args:
        estimator: The estimator, trained in place.
        epochs: Passes over the training set.
        batch: Cases per step.
        learning_rate: AdamW's learning rate, decayed to zero by cosine.
        weight_decay: AdamW's weight decay.
        clip: Largest norm of the gradient of all weights.
        patience: Epochs without a better validation loss before it stops.
    """

    estimator: Estimator
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    clip: float
    patience: int
    epoch: int = field(default=0, init=False)
    best_loss: float = field(default=float("inf"), init=False)
    best_epoch: int = field(default=0, init=False)
    best: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Sets up the optimiser and its schedule."""
        self.optimizer = torch.optim.AdamW(
            self.estimator.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=self.epochs)

    def run(self, problem: Problem, train: States, valid: Twin) -> Iterator[dict[str, float]]:
        """Trains, epoch by epoch.

        Args:
            problem: The problem that observations are drawn from.
            train: The training set.
            valid: Draws of the joint that the weights are chosen by.

        Yields:
            After each epoch its number, the losses (nats), the learning rate, and seconds.

        Raises:
            TrainingError: If a loss is not finite; the best weights so far are kept.
        """
        if self.epoch == 0:
            self.estimator.standardize(train.observe(problem, torch.arange(min(len(train.x), 4096))))
        while self.epoch < self.epochs and self.epoch - self.best_epoch < self.patience:
            start = perf_counter()
            loss = self._epoch(problem, train)
            valid_loss = self.validate(valid)
            if not isfinite(valid_loss):
                raise TrainingError(f"the validation loss is {valid_loss} at epoch {self.epoch + 1}; {self._remedy()}")
            self.epoch += 1
            if valid_loss < self.best_loss:
                self.best_loss, self.best_epoch = valid_loss, self.epoch
                self.best = deepcopy(self.estimator.state_dict())
            yield {
                "epoch": self.epoch,
                "train_loss": loss,
                "valid_loss": valid_loss,
                "learning_rate": float(self.schedule.get_last_lr()[0]),
                "seconds": perf_counter() - start,
            }

    def _epoch(self, problem: Problem, train: States) -> float:
        """One pass over the training set; the average loss."""
        self.estimator.train()
        total = torch.zeros(())
        order = torch.randperm(len(train.x))
        for step, cases in enumerate(order.split(self.batch)):
            loss = self.estimator.loss(train.observe(problem, cases))
            if not loss.isfinite():
                raise TrainingError(
                    f"the loss is {loss.item()} at epoch {self.epoch + 1}, step {step + 1}; {self._remedy()}"
                )
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.estimator.parameters(), self.clip)
            self.optimizer.step()
            total += loss.detach() * len(cases)
        self.schedule.step()
        return (total / len(train.x)).item()

    def _remedy(self) -> str:
        """What to try when a loss is not finite."""
        return f"try a smaller learning_rate (now {self.learning_rate:g}) or clip (now {self.clip:g})"

    @torch.no_grad()
    def validate(self, valid: Twin) -> float:
        """The loss over the validation draws."""
        self.estimator.eval()
        total, cases = torch.zeros(()), len(valid.x)
        for piece in torch.arange(cases).split(self.batch):
            window = Window(*(value[piece] for value in valid.window))
            total += self.estimator.loss(Twin(valid.x[piece], valid.theta[piece], window)) * len(piece)
        return (total / cases).item()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on, random numbers included."""
        return {
            "estimator": self.estimator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epoch": self.epoch,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up where a saved training stopped."""
        self.estimator.load_state_dict(state["estimator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
        self.best_loss, self.best = state["best_loss"], state["best"]
        torch.set_rng_state(state["rng"].cpu())
        if state["rng_cuda"]:
            torch.cuda.set_rng_state_all([rng.cpu() for rng in state["rng_cuda"]])
