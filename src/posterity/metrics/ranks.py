"""Whether the truth is as likely to have any rank among the draws, from one number of each case.

Entries of a state, and times, depend on each other, so that their ranks together tell less than their number. Cases are
independent: the test takes one entry of each.
"""

from zlib import crc32

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .calibration import BINS
from .scores import ENTRIES

#: The least expected count of a bin, for the distribution of the statistic to hold, and the fewest bins.
EXPECTED, FEWEST = 5, 2


def entry_rank(low: xr.DataArray, high: xr.DataArray) -> xr.DataArray:
    """The rank of the truth among the draws, as a fraction, of one entry of each case.

    The entry is drawn for each case, from its number, and is the same at all times and for all methods.

    Args:
        low: The lower ends of the probability integral transform, with dimensions ``(case, time, channel[, y, x])``.
        high: The upper ends.

    Returns:
        The rank, with dimensions ``(case, time)``, uniform on [0, 1] if draws and truth are exchangeable.
    """
    entries = [name for name in ENTRIES if name in low.dims]
    sizes = [low.sizes[name] for name in entries]
    draws = uniform(low["case"], 2)
    chosen = np.arange(np.prod(sizes)) == (draws[:, :1] * np.prod(sizes)).astype(int)
    mask = xr.DataArray(chosen.reshape(-1, *sizes), dims=("case", *entries))
    # Not by an index for each case, which would cut lazy arrays into as many chunks.
    ends = [
        xr.where(mask, end, 0).sum(entries, skipna=False).transpose(*end.dims, missing_dims="ignore")
        for end in (low, high)
    ]
    return ends[0] + xr.DataArray(draws[:, 1], dims="case") * (ends[1] - ends[0])


def parameter_rank(low: xr.DataArray, high: xr.DataArray) -> xr.DataArray:
    """The rank of the true parameters among the draws, as fractions.

    Args:
        low: The lower ends of the probability integral transform, with dimensions ``(case, parameter)``.
        high: The upper ends.

    Returns:
        The ranks, with the same dimensions, each uniform on [0, 1] if draws and truth are exchangeable.
    """
    return low + xr.DataArray(uniform(low["case"], low.sizes["parameter"]), dims=("case", "parameter")) * (high - low)


def uniformity(rank: xr.DataArray) -> xr.DataArray:
    r"""The p-value of Pearson's test of uniform ranks, :math:`P(\chi^2_{K - 1} \ge \sum_k (n_k - n / K)^2 / (n / K))`.

    There are at most 20 bins, and five cases or more for each.

    Args:
        rank: The rank of each case, with dimensions ``(…, case, …)``, in [0, 1]; NaN if missing.

    Returns:
        The p-value, without ``case``; NaN if there are fewer than ten cases.
    """
    found: xr.DataArray = xr.apply_ufunc(_uniformity, rank, input_core_dims=[["case"]], vectorize=True)
    return found


def _uniformity(rank: NDArray[np.float64]) -> float:
    """The p-value of the ranks of some cases."""
    rank = rank[np.isfinite(rank)]
    bins = min(BINS, len(rank) // EXPECTED)
    if bins < FEWEST:
        return np.nan
    # Takes a second to import, which figures can do without.
    from scipy.stats import chisquare

    return float(chisquare(np.histogram(rank, bins, (0, 1))[0]).pvalue)


def uniform(cases: xr.DataArray, size: int, purpose: str = "") -> NDArray[np.float64]:
    """Uniform numbers for each case, which depend on its label, and on what they are for, alone.

    Args:
        cases: The labels, with dimension ``(case,)``.
        size: How many each case has.
        purpose: What they are for; other purposes have other numbers.

    Returns:
        The numbers, with shape ``(case, size)``.
    """
    seeds = [crc32(f"{purpose}{label}".encode()) for label in cases.values]
    return np.stack([np.random.default_rng(seed).uniform(size=size) for seed in seeds])
