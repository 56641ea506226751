"""The posterior that methods are held against: draws of independent runs, and the gap between them."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from ..data.tensors import ensemble_dataset
from ..problems import Posterior, log_likelihood
from ..problems.ensemble import join_runs
from ..rules import obey
from ..tensors import own_random_numbers
from .devices import cost
from .draws import timed
from .observed import Observed

log = logging.getLogger("posterity")


def reference_draws(method: Posterior, observed: Observed, samples: int, seeds: Sequence[int]) -> xr.Dataset:
    """Draws the reference posterior of every case in independent runs, and measures the gap between them.

    Args:
        method: The method that makes it.
        observed: The observations.
        samples: Draws per case and run.
        seeds: The seed of each run.

    Returns:
        A ``posterior`` dataset: the draws of all runs, numbered by ``run``; the gaps ``info_gap`` and
        ``info_gap_median``, see :func:`~posterity.problems.ensemble.run_gaps`; and the diagnostics of the method, see
        :func:`~posterity.problems.ensemble.join_runs`.

    Raises:
        ConfigError: If the method refuses.
    """
    problem, window = observed.problem, observed.window
    with own_random_numbers(0):
        obey(problem, {"reference": method.differentiates}, window)
        drawn = []
        for run, seed in enumerate(seeds):
            torch.manual_seed(seed)
            drawn.append(timed(method, "reference", window, samples))
            log.info("reference: run %d of %d done", run + 1, len(seeds))
        ensemble = join_runs(drawn)
        likelihood = log_likelihood(problem, window, ensemble)
    result = ensemble_dataset(ensemble, problem, observed.cases, likelihood, coordinates=observed.coordinates)
    numbers = np.repeat(np.arange(len(seeds)), samples)
    seconds = float(ensemble.info["seconds"].sum())
    lengths = {"window": problem.window, "cycles": problem.cycles}
    return result.assign(run=("sample", numbers, {"long_name": "number of the run"})).assign_attrs(
        **lengths, **cost(seconds, window.y.device)
    )
