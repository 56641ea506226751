"""``posterity train``: an estimator, with a checkpoint after every epoch."""

import hashlib
import json
import pickle
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import torch
from rich.progress import track
from safetensors.torch import save_file

from .. import sources
from ..config import Experiment
from ..data import atomic, load_many
from ..data.tensors import states, window_of
from ..errors import ConfigError, DataError, PosterityError
from ..estimators import Estimator, States, Training, TrainingError
from ..problems import Twin
from .common import build_method, build_problem, commit, device_name, log, on_device, peak_memory, seed_everything

#: The files that a training writes into its folder.
WEIGHTS, DESCRIPTION, HISTORY = "weights.safetensors", "estimator.json", "history.jsonl"


def train(
    experiment: Experiment,
    method: str,
    train: Sequence[Path],
    valid: Sequence[Path],
    output: Path,
    device: str = "auto",
) -> None:
    """Trains an estimator, and writes its best weights, what they are, and the history of the losses.

    After every epoch the whole state is saved in a folder beside the output, keyed by a digest of all that it depends
    on; a training that was killed goes on from there, to the weights that it would have had.

    Args:
        experiment: The experiment.
        method: The method's name in it.
        train: The training shards, of kind ``states``.
        valid: The validation shards, of kind ``twin``.
        output: The folder to write.
        device: Where to compute.

    Raises:
        ConfigError: If the method is not trained.
        PosterityError: If the loss stops being finite.
    """
    settings = experiment.methods[method].training
    if settings is None:
        raise ConfigError(f"--method: '{method}' is not trained: use `posterity assimilate`")
    configuration = json.dumps(experiment.trained_on(method))
    code = sources.digest([__name__, *experiment.problem_code(), *experiment.method_code(method)])
    checkpoint = _checkpoint(output, [configuration, code], [*train, *valid])

    with on_device(device) as chosen:
        problem = build_problem(experiment)
        seed = seed_everything(experiment, "train", method)
        estimator = cast(Estimator, build_method(experiment, method, problem)).to(chosen)
        training = Training(estimator, **settings.model_dump())
        data = States(*states(load_many(train, "states"), problem, str(train[0]), chosen))
        dataset = load_many(valid, "twin")
        x, theta, *_ = states(dataset, problem, str(valid[0]), chosen)
        window = window_of(dataset, problem, str(valid[0]), chosen)
        draws = Twin(x, theta, window)
        history = _resume(training, checkpoint)
        try:
            for record in _progress(training.run(problem, data, draws), method, training):
                history.append(record)
                with atomic(checkpoint) as temporary:
                    torch.save({"training": training.state_dict(), "history": history}, temporary)
        except TrainingError as error:
            raise PosterityError(f"methods.{method}.training: {error}") from error
        summary = {
            "method": method,
            "configuration": configuration,
            "seed": seed,
            "commit": commit(),
            "best_epoch": training.best_epoch,
            "best_valid_loss": training.best_loss,
            "seconds": sum(record["seconds"] for record in history),
            "parameters": sum(parameter.numel() for parameter in estimator.parameters()),
            "device": device_name(chosen),
            "peak_memory_mib": peak_memory(chosen),
        }
    with atomic(output / HISTORY) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in history))
    with atomic(output / WEIGHTS) as temporary:
        save_file(training.best, temporary)
    with atomic(output / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n")
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    log.info("%s: best validation loss %.4g at epoch %d", output, training.best_loss, training.best_epoch)


def description(folder: Path) -> dict:
    """What a training wrote of itself.

    Raises:
        DataError: If there is no training in the folder.
    """
    path = folder / DESCRIPTION
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); train the estimator first, or again") from error


def _checkpoint(output: Path, parts: Iterable[str], files: Iterable[Path]) -> Path:
    """Where the state of an unfinished training is kept: beside the output, keyed by what it depends on."""
    key = hashlib.sha256()
    for part in parts:
        key.update(part.encode())
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: there is no such file; simulate it first")
        # The content of simulations is a function of their provenance; size and time tell a replaced file.
        key.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return output.with_name(f".{output.name}.unfinished") / f"{key.hexdigest()[:16]}.pt"


def _resume(training: Training, checkpoint: Path) -> list[dict[str, float]]:
    """Takes up an unfinished training if there is one; returns its history."""
    if not checkpoint.is_file():
        return []
    try:
        saved = torch.load(checkpoint, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        log.warning("%s: cannot be read (%s); the training starts anew", checkpoint, error)
        return []
    training.load_state_dict(saved["training"])
    log.info("%s: goes on after epoch %d", checkpoint, training.epoch)
    return saved["history"]


def _progress(records: Iterable[dict], method: str, training: Training) -> Iterable[dict]:
    """Shows a bar on a terminal; elsewhere a line for some epochs."""
    rest = training.epochs - training.epoch
    for record in track(records, f"train {method}", total=rest, disable=not sys.stderr.isatty()):
        if record["epoch"] % max(1, training.epochs // 20) == 0 or record["epoch"] == 1:
            log.info(
                "%s: epoch %d, loss %.4f, validation %.4f",
                method,
                record["epoch"],
                record["train_loss"],
                record["valid_loss"],
            )
        yield record
