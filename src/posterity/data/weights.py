"""Weights of estimators, as files without code, with the history and the description of the training beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from ..errors import DataError
from .artifacts import DESCRIPTION, HISTORY, WEIGHTS, check_intact, described
from .files import atomic


def write_training(
    folder: Path, estimator: nn.Module, history: Sequence[Mapping[str, float]], description: Mapping[str, Any]
) -> None:
    """Writes weights, the history of the losses, and what they are, each atomically.

    Args:
        folder: The folder.
        estimator: The module with the weights.
        history: A record for each epoch.
        description: What they are; the digests of the other files are added.

    Raises:
        DataError: If the folder cannot be written.
    """
    records = "".join(json.dumps(record) + "\n" for record in history).encode()
    # Made by ourselves, since safetensors would take the group's and others' right to read away.
    weights = save({name: value.contiguous() for name, value in estimator.state_dict().items()})
    contents = {HISTORY: records, WEIGHTS: weights}
    for name, content in {**contents, DESCRIPTION: described(description, contents)}.items():
        with atomic(folder / name) as temporary:
            temporary.write_bytes(content)


def read_weights(estimator: nn.Module, folder: Path, device: torch.device | str, name: str, remedy: str) -> None:
    """Gives a module the weights that a training wrote.

    Args:
        estimator: The module.
        folder: The folder that the training wrote.
        device: Where the weights go.
        name: What messages call the module.
        remedy: What helps, for messages.

    Raises:
        DataError: If they are missing, damaged, or those of other networks.
    """
    path = folder / WEIGHTS
    check_intact(path)
    try:
        estimator.load_state_dict(load_file(path, device=str(device)))
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {remedy}") from error
    except RuntimeError as error:
        raise DataError(f"{path}: does not fit '{name}', as weights of an earlier version; {remedy}") from error
