"""Trainings of estimators: their settings, how they run, and what is kept of them."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ConfigError, PosterityError
from ..estimators import Learned
from ..estimators.learning.batches import Batches, TrainingError
from ..estimators.learning.training import Training
from ..experiment import catalog
from ..experiment.sections import TrainingConfig
from ..problems import Problem, Twin
from .progress import in_notebook, progress

log = logging.getLogger("posterity")


def training_of(estimator: Learned, problem: Problem, settings: TrainingConfig, seed: int) -> Training:
    """A training of an estimator that has not begun; batches and their shares belong to the data.

    Args:
        estimator: The estimator.
        problem: The problem that observations are drawn from.
        settings: The settings.
        seed: The seed.
    """
    chosen = settings.model_dump(exclude={"batch", "nodes", "gpus", "shares", "lr_schedule"})
    schedule = catalog.resolve("lr_schedule", settings.lr_schedule)
    return Training(estimator=estimator, problem=problem, seed=seed, lr_schedule=schedule, **chosen)


def run(
    training: Training,
    train: Batches,
    valid: Iterable[Twin],
    key: str,
    save: Callable[[], Any] = bool,
    stop: Callable[[], bool] = bool,
    shown: bool = True,
) -> None:
    """Runs a training to its end, and shows how far it is: by a bar, or where there is none by a line now and then.

    Args:
        training: The training.
        train: The training set.
        valid: The draws that weights are chosen by.
        key: What messages begin with.
        save: Called whenever the state may be saved.
        stop: Asked every some steps whether to stop.
        shown: Whether to show anything.

    Raises:
        ConfigError: If the estimator does not suit the problem.
        OutOfTimeError: If it was told to stop.
        PosterityError: If the loss stops being finite.
    """
    name, bar = key.rpartition(".")[2], in_notebook() or sys.stderr.isatty()
    try:
        with progress(f"train {name}", training.epochs - training.epoch, shown) as advance:
            for record in training.passes(train, valid, save, stop):
                advance(f"validation loss {training.best_loss:.4g}")
                if shown and not bar and (record["epoch"] % max(1, training.epochs // 20) == 0 or record["epoch"] == 1):
                    log.info(
                        "%s: epoch %d, loss %.4f, validation %.4f, %.0f cases per second",
                        name,
                        *(record[told] for told in ("epoch", "train_loss", "valid_loss", "cases_per_second")),
                    )
    except TrainingError as error:
        raise PosterityError(f"{key}.training: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error


def summary(training: Training) -> dict[str, Any]:
    """What is kept of a training that has ended, beside weights and history."""
    return {
        "seed": training.seed,
        "best_epoch": training.best_epoch,
        "best_valid_loss": training.best_loss,
        "loss_units": training.estimator.loss_units,
        "seconds": training.seconds,
        "parameters": sum(parameter.numel() for parameter in training.estimator.parameters()),
        "processes": training.workers,
    }
