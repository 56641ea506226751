"""Shared by the tasks: seeds and provenance."""

import hashlib
import json
import logging
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..experiment import Experiment
from .files.provenance import origin

log = logging.getLogger("posterity")


def seed_of(experiment: Experiment, *keys: object) -> int:
    """A seed that belongs to one chunk of work alone."""
    text = json.dumps([experiment.seed, *map(str, keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def seed_everything(experiment: Experiment, *keys: object) -> int:
    """Seeds torch with a number that belongs to one chunk of work alone, and returns it."""
    seed = seed_of(experiment, *keys)
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
