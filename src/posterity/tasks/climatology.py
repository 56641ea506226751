"""``posterity climatology``: a library of states at the start of the system's ensemble, made once."""

import sys
from math import prod
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from rich.progress import track

from ..data import write
from ..data.schema import dims
from ..errors import ConfigError, PosterityError
from ..experiment import Experiment
from ..problems import chunks
from .common import build, log, on_device, provenance, seed_everything


def climatology(experiment: Experiment, output: Path, device: str = "auto") -> None:
    """Draws the library of states of an experiment, each after its spin-up.

    Args:
        experiment: The experiment.
        output: The file to write, of kind ``climatology``.
        device: Where to compute.

    Raises:
        ConfigError: If the experiment has no library.
        PosterityError: If a spin-up diverges.
    """
    settings = experiment.climatology
    if settings is None:
        raise ConfigError(f"'{experiment.name}' has no library of states: say how large, at least 'climatology: {{}}'")
    system, total = build("system", experiment.system), settings.states + settings.held_out
    with on_device(device) as chosen, torch.no_grad():
        seed = seed_everything(experiment, "climatology")
        batches = list(chunks(total, prod(system.shape), chosen))
        shown = track(batches, f"climatology of {experiment.name}", disable=not sys.stderr.isatty())
        state = torch.cat([system.initial((batch.stop - batch.start,)).cpu() for batch in shown])
    if failed := int((~state.flatten(1).isfinite().all(dim=1)).sum()):
        raise PosterityError(
            f"climatology: {failed} of {total} spin-ups diverged; give the system more substeps, or a smaller dt"
        )
    variables = {
        "state": (dims("climatology", "state", len(system.shape) - 1), state.numpy(), {"units": system.units}),
        "held_out": ("draw", (np.arange(total) >= settings.states).astype(np.int8)),
    }
    dataset = xr.Dataset(variables, {"channel": list(system.channels)}, provenance("climatology", experiment, "", seed))
    write(dataset, output, "climatology")
    log.info("%s: %d states after their spin-up, %d of them held out", output, total, settings.held_out)
