"""Files of draws."""

import logging
from pathlib import Path

import xarray as xr

from ...data import write
from ...experiment import Experiment
from ..common import provenance

log = logging.getLogger("posterity")


def write_draws(stage: str, experiment: Experiment, name: str, draws: xr.Dataset, output: Path, seed: int) -> None:
    """Writes draws with their provenance, and says what they took.

    Args:
        stage: The stage that made them.
        experiment: The experiment.
        name: The method's name in it.
        draws: The draws.
        output: The file to write, of kind ``posterior``.
        seed: The seed that they were made with.
    """
    write(draws.assign_attrs(provenance(stage, experiment, name, seed, name)), output, "posterior")
    sizes, seconds = draws.sizes, draws.attrs["wall_seconds"]
    log.info("%s: %d draws of %d cases in %.1f s", output, sizes["sample"], sizes["case"], seconds)
