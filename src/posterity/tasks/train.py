"""``posterity train``: an estimator, whose state is saved as it goes."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from math import prod
from pathlib import Path
from shutil import which
from typing import Any, cast

import torch
from rich.progress import track
from safetensors.torch import save

from ..data import atomic
from ..errors import ConfigError, PosterityError
from ..estimators import Learned
from ..estimators.learning.batches import MEMORY, Batches, TrainingError
from ..estimators.learning.training import OutOfTimeError, Training
from ..experiment import Experiment, catalog
from ..experiment.dependencies import dependencies
from ..experiment.sections import TrainingConfig
from ..problems import Problem
from ..rules import obey
from .common import build_method, build_problem, commit, device_name, log, on_device, peak_memory, seed_everything
from .files.artifacts import DESCRIPTION, HISTORY, WEIGHTS, described
from .files.cases import Cases, Validation
from .files.library import library
from .files.lock import lock
from .files.provenance import dependency_attributes
from .training.checkpoint import Checkpoint
from .training.distributed import shared
from .training.ending import ending


class StoppedError(PosterityError):
    """Raised when a training was stopped, and goes on if it is run again."""


def train(
    experiment: Experiment,
    method: str,
    train: Sequence[Path],
    valid: Sequence[Path],
    output: Path,
    device: str = "auto",
    climatology: Path | None = None,
    keep: bool = False,
) -> None:
    """Trains an estimator, and writes its best weights, what they are, and the history of the losses.

    Meanwhile the whole state is saved, every half a minute, in a folder beside the output, keyed by a digest of all
    that it depends on; a training that was killed goes on from there, to the weights that it would have had. Shortly
    before the end of a Slurm job, and if it is told to end, it saves its state and stops. Several processes share it if
    ``torchrun`` or ``srun`` starts them.

    Args:
        experiment: The experiment.
        method: The method's name in it.
        train: The training shards, of kind ``states``.
        valid: The validation shards, of kind ``twin``.
        output: The folder to write.
        device: Where to compute.
        climatology: The library of states, if the experiment has one.
        keep: Whether the last state is kept, from which a training that runs again writes the same files at once.

    Raises:
        ConfigError: If the method is not trained, or is to be compiled where there is no compiler.
        DataError: If another process is training the same.
        PosterityError: If the loss stops being finite.
        StoppedError: If it was stopped.
    """
    settings = experiment.training(method)
    with ending() as stop, on_device(device) as chosen, shared(chosen) as rank:
        _check_compiler(settings, method, chosen)
        depends = dependencies("train", experiment, method)
        checkpoint = Checkpoint(output, depends.key, [*train, *valid], writes=rank == 0)
        # Two trainings would write one checkpoint in turns.
        with lock(checkpoint.folder) if rank == 0 else nullcontext():
            problem = build_problem(experiment, library(experiment, climatology))
            seed = seed_everything(experiment, "train", method)
            estimator = cast(Learned, build_method(experiment, method, problem)).to(chosen)
            obey(problem, {f"methods.{method}": estimator.differentiates})
            seed_everything(experiment, "train", method)
            training = Training(estimator=estimator, problem=problem, seed=seed, **_settings(settings))
            try:
                batches = _batches(train, problem, settings, training, chosen)
            except ValueError as error:
                raise ConfigError(f"methods.{method}.training.{error}") from error
            draws = _validation(valid, problem, settings.batch, training, chosen)
            checkpoint.load(training)
            _run(training, batches, draws, checkpoint, method, stop, shown=rank == 0)
            if rank == 0:
                if keep:
                    checkpoint.save(training, now=True)
                origin = {
                    "method": method,
                    **dependency_attributes("train", experiment, method),
                    "device": device_name(chosen),
                    "peak_memory_mib": peak_memory(chosen),
                }
                _write(training, output, origin)
                if not keep:
                    checkpoint.remove()


def _check_compiler(settings: TrainingConfig, method: str, device: torch.device) -> None:
    """Raises if the loss is to be compiled on a CPU without a C++ compiler."""
    if settings.compile and device.type == "cpu" and not which(os.environ.get("CXX", "g++")):
        raise ConfigError(
            f"methods.{method}.training.compile: on a CPU it takes a C++ compiler, g++ or the one that CXX names; "
            "install one, or leave the key out"
        )


def _run(
    training: Training,
    batches: Batches,
    draws: Validation,
    checkpoint: Checkpoint,
    method: str,
    stop: Callable[[], bool],
    shown: bool,
) -> None:
    """Trains to the end, or until it is stopped, saving the state on the way."""
    save = partial(checkpoint.save, training)
    try:
        for _ in _progress(training.passes(batches, draws, save, stop), method, training, shown):
            pass
    except TrainingError as error:
        raise PosterityError(f"methods.{method}.training: {error}") from error
    except ValueError as error:
        raise ConfigError(f"methods.{method}: {error}") from error
    except OutOfTimeError as error:
        checkpoint.save(training, now=True)
        raise StoppedError(
            f"methods.{method}: the training was told to stop, or came near its job's time limit, at {error}; its "
            "state is saved: run it again to go on"
        ) from error


def _write(training: Training, output: Path, origin: Mapping[str, Any]) -> None:
    """Writes the history of the losses, the best weights and what they are, each atomically."""
    history = "".join(json.dumps(record) + "\n" for record in training.history).encode()
    # Made by ourselves, since safetensors would take the group's and others' right to read away.
    weights = save({name: value.contiguous() for name, value in training.estimator.state_dict().items()})
    summary = {
        **origin,
        "seed": training.seed,
        "commit": commit(),
        "best_epoch": training.best_epoch,
        "best_valid_loss": training.best_loss,
        "loss_units": training.estimator.loss_units,
        "seconds": training.seconds,
        "parameters": sum(parameter.numel() for parameter in training.estimator.parameters()),
        "processes": training.workers,
    }
    files = {HISTORY: history, WEIGHTS: weights}
    for name, content in {**files, DESCRIPTION: described(summary, files)}.items():
        with atomic(output / name) as temporary:
            temporary.write_bytes(content)
    log.info("%s: best validation loss %.4g at epoch %d", output, training.best_loss, training.best_epoch)


def _settings(settings: TrainingConfig) -> dict[str, Any]:
    """The engine's settings; batches and their shares belong to the data."""
    chosen = settings.model_dump(exclude={"batch", "nodes", "gpus", "shares"})
    return {**chosen, "lr_schedule": catalog.resolve("lr_schedule", settings.lr_schedule)}


def _batches(
    paths: Sequence[Path], problem: Problem, settings: TrainingConfig, training: Training, device: torch.device
) -> Batches:
    """The training set, in batches."""
    batch, shares = settings.batch, settings.equal_shares()
    cases = Cases(paths, "states", problem, device)
    memory = max(1, MEMORY // (problem.steps * prod(problem.shape)))
    processes = training.processes
    return Batches(cases.states, len(cases), batch, training.seed, memory, processes.rank, processes.count, shares)


def _validation(
    paths: Sequence[Path], problem: Problem, batch: int, training: Training, device: torch.device
) -> Validation:
    """The validation draws of this process, in batches; each is read once, so that what is damaged shows at once."""
    cases = Cases(paths, "twin", problem, device)
    starts = range(0, len(cases), batch)[training.processes.rank :: training.processes.count]
    # Observations with their deviations beside the states, in a quarter of the memory of the training set.
    numbers = problem.steps * (prod(problem.shape) + 2 * prod(problem.observation.shape))
    draws = Validation(
        lambda start: cases.twins(slice(start, start + batch)), starts, hold=len(cases) * numbers <= MEMORY // 4
    )
    for _ in draws:
        pass
    return draws


def _progress(records: Iterable[dict], method: str, training: Training, shown: bool) -> Iterable[dict]:
    """Shows a bar on a terminal; elsewhere a line for some epochs."""
    rest = training.epochs - training.epoch
    bar = shown and sys.stderr.isatty()
    for record in track(records, f"train {method}", total=rest, disable=not bar):
        if shown and (record["epoch"] % max(1, training.epochs // 20) == 0 or record["epoch"] == 1):
            log.info(
                "%s: epoch %d, loss %.4f, validation %.4f, %.0f cases per second",
                method,
                *(record[name] for name in ("epoch", "train_loss", "valid_loss", "cases_per_second")),
            )
        yield record
