"""Calibration: where the truth falls among the draws, and how likely the draws make the observations."""

import numpy as np
import xarray as xr

from .scores import ENTRIES, over_entries

#: Probabilities of the central intervals whose coverage is scored.
LEVELS = (0.5, 0.8, 0.9, 0.95)

#: The one of them that stands for calibration where there is room for one.
COVERED = 0.9

#: The most bins of a rank histogram.
BINS = 20

#: The dimensions of the observations of a case.
OBSERVED = ("time", "obs_channel", "obs_y", "obs_x")


def pit(state: xr.DataArray, truth: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    r"""The probability integral transform of the truth, as the interval over which it is uniform:

    .. math::
        \left[ \frac{\#\{x_s < x\}}{S + 1}, \frac{\#\{x_s \le x\} + 1}{S + 1} \right] .

    Without ties it is the cell of the truth's rank among the draws, and for exchangeable draws and truth the
    transform is exactly uniform on [0, 1] at any :math:`S`. Ties widen the cell, as breaking them at random would
    on average.

    Args:
        state: The draws, with dimensions ``(case, sample, time, channel[, y, x])``.
        truth: The true states, with dimensions ``(case, time, channel[, y, x])``.

    Returns:
        The lower and upper ends, with the dimensions of the truth.

    References:
        | Predictive model assessment for count data (Czado, Gneiting & Held, 2009),
          https://doi.org/10.1111/j.1541-0420.2009.01191.x
    """
    cells = state.sizes["sample"] + 1
    known = state.notnull().all("sample") & truth.notnull()
    below = (state < truth).sum("sample")
    at_most = (state <= truth).sum("sample")
    return (below / cells).where(known), ((at_most + 1) / cells).where(known)


def rank_histogram(low: xr.DataArray, high: xr.DataArray, samples: int) -> xr.DataArray:
    """The number of entries whose truth falls into each of equal bins of the probability integral transform.

    There is a bin for each rank, at most 20. A cell that reaches over an edge counts in parts on both sides, so
    that a calibrated ensemble is flat whatever its size.

    Args:
        low: The lower ends of the transform, with dimensions ``(case, time, channel[, y, x])``.
        high: The upper ends.
        samples: The number of draws.

    Returns:
        The counts, with dimensions ``(case, time, bin)``; they add up to the number of entries.
    """
    bins = min(samples + 1, BINS)
    edges = xr.DataArray(np.linspace(0, 1, bins + 1), dims="bin")
    shares = over_entries(_distribution(low, high, edges)).diff("bin")
    entries = int(np.prod([low.sizes[name] for name in ENTRIES if name in low.dims]))
    return (shares * entries).assign_coords(bin=np.arange(bins))


def coverage(low: xr.DataArray, high: xr.DataArray) -> xr.DataArray:
    r"""The fraction of entries whose truth lies inside the central interval of each probability :math:`\alpha`:

    .. math::
        P(|u - 1/2| \le \alpha / 2)

    for the probability integral transform :math:`u`, so that a calibrated ensemble has coverage :math:`\alpha` at
    any size: quantiles of few draws need no correction. A truth outside all of :math:`S` draws still counts in
    part, by up to :math:`1 - (1 - \alpha)(S + 1) / 2`, if an ensemble is too small to resolve the tail.

    Args:
        low: The lower ends of the transform, with dimensions ``(case, time, channel[, y, x])``.
        high: The upper ends.

    Returns:
        The coverage over channels and grid, with dimensions ``(case, time, level)``.
    """
    level = levels()
    inside = _distribution(low, high, (1 + level) / 2) - _distribution(low, high, (1 - level) / 2)
    return over_entries(inside)


def levels() -> xr.DataArray:
    """The probabilities at which coverage is scored, labelled by themselves, with dimension ``(level,)``."""
    return xr.DataArray(list(LEVELS), dims="level", coords={"level": list(LEVELS)})


def expected_log_likelihood(log_likelihood: xr.DataArray) -> xr.DataArray:
    r"""The mean over the draws of the log-likelihood, :math:`E_{q(x)} \log p(y | x)`.

    Args:
        log_likelihood: The log-likelihood of each draw, with dimensions ``(case, sample)``.

    Returns:
        The expectation, with dimension ``(case,)``, in nats.
    """
    return log_likelihood.mean("sample", skipna=False, dtype=np.float64)


def calibrated_log_likelihood(observation: xr.DataArray, std: xr.DataArray) -> xr.DataArray:
    r"""The expected log-likelihood of a calibrated posterior, over draws of the joint:

    .. math::
        E_{p(x, y)} \log p(y | x) = -\frac{1}{2} \sum_{\mathrm{observed}} \log(2 \pi e \sigma^2) .

    A posterior above it fits the noise, one below it misses the data.

    Args:
        observation: The observations, with dimensions ``(case, time, obs_channel[, obs_y, obs_x])``, NaN where
            missing.
        std: Their standard deviations, with the same dimensions.

    Returns:
        The expectation, with dimension ``(case,)``, in nats; zero where nothing is observed.
    """
    observed = std.where(observation.notnull()).astype(np.float64)
    entropy: xr.DataArray = 0.5 * (1 + np.log(2 * np.pi)) + xr.ufuncs.log(observed)
    return -entropy.sum([name for name in OBSERVED if name in observation.dims])


def misfit(log_likelihood: xr.DataArray, observation: xr.DataArray, std: xr.DataArray) -> xr.DataArray:
    r"""The root-mean-square misfit of the draws to the observations, in standard deviations of their noise,

    .. math:: \Big( \frac{1}{n} \sum_{\mathrm{observed}} \frac{(y - H(x_s))^2}{\sigma^2} \Big)^{1/2} ,

    a mean over the draws too. Over draws of the joint its square is one for a calibrated posterior: less fits the
    noise, more misses the data. It follows from the likelihood, which is Gaussian.

    Args:
        log_likelihood: The log-likelihood of each draw, with dimensions ``(case, sample)``.
        observation: The observations, with dimensions ``(case, time, obs_channel[, obs_y, obs_x])``, NaN where
            missing.
        std: Their standard deviations, with the same dimensions.

    Returns:
        The misfit, with dimension ``(case,)``; NaN where nothing is observed.
    """
    count = observation.notnull().sum([name for name in OBSERVED if name in observation.dims])
    gap = calibrated_log_likelihood(observation, std) - expected_log_likelihood(log_likelihood)
    return (1 + 2 * gap / count.where(count > 0)).clip(min=0) ** 0.5


def _distribution(low: xr.DataArray, high: xr.DataArray, u: xr.DataArray) -> xr.DataArray:
    """The distribution function, at ``u``, of a variable that is uniform between two ends."""
    return ((u - low) / (high - low)).clip(0, 1).transpose(..., *u.dims)
