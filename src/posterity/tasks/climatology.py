"""``posterity climatology``: a library of states at the start of the system's ensemble, made once."""

from pathlib import Path

import numpy as np
import xarray as xr

from ..data import write
from ..data.schema import dims
from ..errors import ConfigError
from ..experiment import Experiment
from ..inference.components import build
from ..inference.devices import on_device
from ..inference.libraries import spun_up
from .common import log, provenance, seed_everything


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
    with on_device(device) as chosen:
        seed = seed_everything(experiment, "climatology")
        state = spun_up(system, total, f"climatology of {experiment.name}", chosen)
    variables = {
        "state": (dims("climatology", "state", len(system.shape) - 1), state.numpy(), {"units": system.units}),
        "held_out": ("draw", (np.arange(total) >= settings.states).astype(np.int8)),
    }
    dataset = xr.Dataset(variables, {"channel": list(system.channels)}, provenance("climatology", experiment, "", seed))
    write(dataset, output, "climatology")
    log.info("%s: %d states after their spin-up, %d of them held out", output, total, settings.held_out)
