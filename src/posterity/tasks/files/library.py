"""The library of states of an experiment, read back."""

import json
from pathlib import Path

import numpy as np
import torch

from ...data import read
from ...errors import ConfigError, DataError
from ...experiment import Experiment
from ...experiment.dependencies import dependencies
from ...problems import StateLibrary
from ...tensors import Constant


def library(experiment: Experiment, path: Path | None, held_out: bool = False) -> StateLibrary | None:
    """The library of states of an experiment, if it has one.

    Args:
        experiment: The experiment.
        path: The file that ``climatology`` wrote; None if the experiment has no library.
        held_out: Whether to take the states that trainings and methods do not see, instead of the others.

    Raises:
        ConfigError: If the experiment has a library and no file is given, or the reverse, or that of another system.
        DataError: If the file is missing or damaged.
    """
    if experiment.climatology is None:
        if path is not None:
            raise ConfigError(f"--climatology: '{experiment.name}' has no library of states: leave the option out")
        return None
    if path is None:
        raise ConfigError(
            f"--climatology: '{experiment.name}' has a library of states: make it by `posterity climatology "
            f"{experiment.name} --output FILE`, and give that file"
        )
    wanted = json.dumps(dependencies("climatology", experiment).configuration)
    with read(path, "climatology") as dataset:
        if dataset.attrs.get("configuration") != wanted:
            raise ConfigError(f"{path}: was made for another experiment; make it anew by `posterity climatology`")
        state, apart = dataset["state"].values, dataset["held_out"].values.astype(bool)
    if not np.isfinite(state).all():
        raise DataError(f"{path}: 'state' is not finite everywhere; make it anew by `posterity climatology`")
    parts = (state[apart == held_out], state[~apart])
    return StateLibrary(*(Constant(torch.as_tensor(part, device="cpu")) for part in parts))
