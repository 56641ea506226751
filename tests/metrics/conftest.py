"""Gaussian ensembles of which the scores are known."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

DIMS = ("case", "time", "channel", "y", "x")

#: Builds draws ``N(centre, std²)`` beside a truth that is one more draw of ``N(centre, 1)``.
Gaussian = Callable[..., tuple[xr.DataArray, xr.DataArray]]


def gaussian(
    samples: int, cases: int = 40, times: int = 2, grid: tuple[int, int] = (10, 25), std: float = 1.0, seed: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    """Draws of a calibrated (std 1), overconfident (less) or underconfident (more) posterior, and the truth."""
    rng = np.random.default_rng(seed)
    shape = (cases, times, 2, *grid)
    centre = 3 * rng.standard_normal(shape)
    truth = centre + rng.standard_normal(shape)
    draws = centre[:, None] + std * rng.standard_normal((cases, samples, *shape[1:]))
    state = xr.DataArray(draws, dims=("case", "sample", *DIMS[1:]), coords={"case": np.arange(cases)})
    return state, xr.DataArray(truth, dims=DIMS, coords={"case": np.arange(cases)})


@pytest.fixture
def ensemble() -> Gaussian:
    return gaussian
