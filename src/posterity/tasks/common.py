"""Shared by the tasks: construction of problems and methods, seeds, devices, and provenance."""

import hashlib
import json
import logging
import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..errors import ConfigError
from ..experiment import Experiment, catalog
from ..experiment.component import Component
from ..problems import Composed, Observation, Posterior, Problem, StateLibrary
from ..rules import construct, numbered, seen_channels
from .files.provenance import origin

log = logging.getLogger("posterity")


def build(group: str, component: Component, *first: Any) -> Any:
    """Constructs a component, and those that its options name.

    Args:
        group: The group of the catalogue.
        component: The kind and the options.
        first: What the constructor takes before the options.

    Returns:
        The object.

    Raises:
        ConfigError: If the constructor refuses a value.
    """
    options = {
        name: build(name, value) if isinstance(value, Component) else value for name, value in component.options.items()
    }
    try:
        return construct(group, catalog.resolve(group, component.kind), *first, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{group} '{component.kind}': {error}") from error


def build_problem(experiment: Experiment, states: StateLibrary | None = None, truth: bool = False) -> Problem:
    """Constructs the problem of an experiment.

    Args:
        experiment: The experiment.
        states: Its library of states, if it has one and initial states are drawn.
        truth: Whether twins come from the experiment's truth, where it is another system than the assumed one.

    Returns:
        The problem.

    Raises:
        ConfigError: If its parts do not fit each other.
    """
    system = build("system", experiment.system)
    operators, shape, names = [], system.shape, [str(name) for name in system.channels]
    for component in experiment.observation.operator:
        operators.append(_build_seen("operator", component, names, shape))
        names = seen_channels(operators[-1], names)
        shape = operators[-1].out_shape
    correlations = {key: build("correlation", component) for key, component in experiment.correlations().items()}
    masks = [_build_seen("mask", component, names) for component in experiment.observation.mask]
    observation = Observation(Composed(system.shape, operators), experiment.observation.std, masks)
    try:
        return Problem(
            system,
            observation,
            experiment.window,
            experiment.forecast,
            experiment.prior.joint,
            experiment.prior.std,
            None if experiment.model_error is None else experiment.model_error.std,
            {name: build("prior", component) for name, component in experiment.parameters.items()},
            experiment.cycles,
            build("system", experiment.truth) if truth and experiment.truth is not None else None,
            experiment.starts(),
            states,
            correlations.get("prior.correlation"),
            correlations.get("model_error.correlation"),
        )
    except ValueError as error:
        raise ConfigError(f"{experiment.name}: {error}") from error


def build_posterior(experiment: Experiment, key: str, component: Component, problem: Problem) -> Posterior:
    """Constructs a method, and checks that it targets the posterior of the problem; messages begin with the key."""
    try:
        kind: type[Posterior] = catalog.resolve("method", component.kind)
        built: Posterior = build("method", component, kind.pose(problem, experiment.truth is not None))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error
    return built


def _build_seen(group: str, component: Component, names: Sequence[str], *first: Any) -> Any:
    """Constructs an operator or a mask, whose options may name channels."""
    try:
        options = numbered(component.options, names)
    except ValueError as error:
        raise ConfigError(f"{group} '{component.kind}': {error}") from error
    return build(group, component.model_copy(update={"options": options}), *first)


def build_method(experiment: Experiment, name: str, problem: Problem) -> Posterior:
    """Constructs a method of an experiment, by its name there."""
    method = experiment.methods[name]
    built = build_posterior(experiment, f"methods.{name}", method, problem)
    if built.trained and name not in experiment.sampled():
        raise ConfigError(
            f"methods.{name}: {method.kind} is an estimator: say how to train it, at least 'training: {{}}'"
        )
    if not built.trained and method.training is not None:
        raise ConfigError(f"methods.{name}: {method.kind} is not trained: remove 'training'")
    return built


@contextmanager
def on_device(device: str) -> Iterator[torch.device]:
    """Makes a device torch's default.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for the GPU if there is one.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"--device: must be cpu, cuda or auto, not '{device}'") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: torch sees no GPU; use --device cpu, or install a torch built for CUDA")
    with chosen:
        yield chosen


def seed_everything(experiment: Experiment, *keys: object) -> int:
    """Seeds torch with a number that belongs to one chunk of work alone, and returns it."""
    text = json.dumps([experiment.seed, *map(str, keys)])
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    torch.manual_seed(seed)
    return seed


def provenance(
    stage: str, experiment: Experiment, name: str, seed: int, method: str = "", **extra: str | float
) -> dict[str, Any]:
    """The attributes that say where a file comes from, and what it depends on.

    Args:
        stage: The stage that makes it.
        experiment: The experiment.
        name: What the stage makes: the split of ``simulate``, else the method; see :func:`attributes`.
        seed: The seed of the task.
        method: The method's name, if one made the file.
        extra: Further attributes.

    Returns:
        The attributes.
    """
    return {
        "experiment": experiment.name,
        "method": method,
        "seed": seed,
        "joint": experiment.prior.joint,
        **origin(stage, experiment, name),
        "version": __version__,
        "commit": commit(),
        **extra,
    }


@cache
def commit() -> str:
    """The commit of the checkout that the package runs from, with ``-dirty`` if it was edited; or ``unknown``."""
    root = Path(__file__).resolve().parents[3]
    command = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def peak_memory(device: torch.device) -> float:
    """The peak memory so far in mebibytes: the GPU's on a GPU, the process's elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def device_name(device: torch.device) -> str:
    """The name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} of {os.cpu_count()} threads"
