"""``posterity train``: an estimator, whose state is saved as it goes."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from shutil import which
from typing import cast

import torch

from ..data.stream import Shards
from ..data.weights import write_training
from ..errors import ConfigError, PosterityError
from ..estimators import Learned
from ..estimators.learning.training import OutOfTimeError
from ..experiment import Experiment
from ..experiment.dependencies import dependencies
from ..experiment.sections import TrainingConfig
from ..inference.cases import Cases, training_batches, validation
from ..inference.devices import device_name, on_device, peak_memory
from ..inference.experiments import build_method, build_problem
from ..inference.training import run, summary, training_of
from ..rules import obey
from .common import commit, log, seed_everything
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
            training = training_of(estimator, problem, settings, seed)
            shards = (Shards.open(train, "states"), Shards.open(valid, "twin"))
            cases, judged = (Cases(part, problem, chosen) for part in shards)
            try:
                batches = training_batches(cases, settings, seed, training.processes)
            except ValueError as error:
                raise ConfigError(f"methods.{method}.training.{error}") from error
            draws = validation(judged, settings.batch, training.processes)
            checkpoint.load(training)
            save = partial(checkpoint.save, training)
            try:
                run(training, batches, draws, f"methods.{method}", save, stop, shown=rank == 0)
            except OutOfTimeError as error:
                checkpoint.save(training, now=True)
                raise StoppedError(
                    f"methods.{method}: the training was told to stop, or came near its job's time limit, at {error}; "
                    "its state is saved: run it again to go on"
                ) from error
            if rank == 0:
                if keep:
                    checkpoint.save(training, now=True)
                origin = {
                    "method": method,
                    **dependency_attributes("train", experiment, method),
                    "library": problem.library is not None,
                    "commit": commit(),
                    "device": device_name(chosen),
                    "peak_memory_mib": peak_memory(chosen),
                }
                write_training(output, estimator, training.history, summary(training) | origin)
                log.info("%s: best validation loss %.4g at epoch %d", output, training.best_loss, training.best_epoch)
                if not keep:
                    checkpoint.remove()


def _check_compiler(settings: TrainingConfig, method: str, device: torch.device) -> None:
    """Raises if the loss is to be compiled on a CPU without a C++ compiler."""
    if settings.compile and device.type == "cpu" and not which(os.environ.get("CXX", "g++")):
        raise ConfigError(
            f"methods.{method}.training.compile: on a CPU it takes a C++ compiler, g++ or the one that CXX names; "
            "install one, or leave the key out"
        )
