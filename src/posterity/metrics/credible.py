"""Credible regions: whether the truth lies in them as often as they say.

Each function gives the credibility of the smallest region of its kind that holds the truth, as a fraction that is
uniform on [0, 1] over cases if the truth is one more draw.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .calibration import OBSERVED, levels
from .ranks import uniform
from .scores import ENTRIES, whole


def hpd_rank(log_q: xr.DataArray, truth_log_q: xr.DataArray) -> xr.DataArray:
    r"""The credibility of the region of highest density at whose edge the truth lies:

    .. math::
        \frac{\#\{s : q(z_s | y) > q(z | y)\} + v}{S + 1} , \qquad v \sim U(0, 1) ,

    the fraction of draws whose density exceeds that of the truth, made continuous as ranks are. Above a half on
    average, the posterior is overconfident (or wrong); below, it is too wide.

    Args:
        log_q: The log-density of each draw, with dimensions ``(case, sample)``.
        truth_log_q: That of the truth, with dimensions ``(case,)``.

    Returns:
        The fraction, with dimension ``(case,)``; :math:`v` depends on the number of the case alone.

    References:
        | A Trust Crisis In Simulation-Based Inference? Your Posterior Approximations Can Be Unfaithful
          (Hermans et al., 2022), https://arxiv.org/abs/2110.06581
    """
    known = log_q.notnull().all("sample") & truth_log_q.notnull()
    above, at_least = (log_q > truth_log_q).sum("sample"), (log_q >= truth_log_q).sum("sample")
    tie = xr.DataArray(uniform(log_q["case"], 1, "hpd")[:, 0], dims="case")
    return ((above + tie * (at_least - above + 1)) / (log_q.sizes["sample"] + 1)).where(known)


def tarp_rank(state: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    r"""The credibility of the ball about a random point at whose edge the truth lies:

    .. math::
        \frac{\#\{s \ne r : \|x_s - x_r\| < \|x - x_r\|\} + v}{S} , \qquad v \sim U(0, 1) ,

    a test of accuracy with random points (TARP): the fraction of draws that are closer to the point than the truth,
    made continuous as ranks are. The point is drawn from the posterior that is tested: it is one of the draws, which
    then does not count among the others, so that the fraction is exactly uniform for any number of draws if the truth
    is one more of them. Above a half on average, the posterior is overconfident (or wrong); below, it is too wide. No
    density is needed. Like every test of ranks it accepts the prior as a posterior, which is what scores are for.

    Args:
        state: The draws at one time, with dimensions ``(case, sample, channel[, y, x])``.
        truth: The true states, with dimensions ``(case, channel[, y, x])``.

    Returns:
        The fraction, with dimension ``(case,)``; which draw is the point, and :math:`v`, depend on the number of the
        case alone. NaN for a single draw.

    References:
        | Sampling-Based Accuracy Testing of Posterior Estimators for General Inference (Lemos et al., 2023),
          https://arxiv.org/abs/2302.03026
    """
    entries = [name for name in ENTRIES if name in state.dims]
    numbers = xr.DataArray(uniform(state["case"], 2, "tarp"), dims=("case", "number"))
    if state.chunks is not None:
        numbers = numbers.chunk(case=state.chunksizes["case"])
    found: xr.DataArray = xr.apply_ufunc(
        _tarp_rank,
        whole(state),
        whole(truth),
        numbers,
        input_core_dims=[["sample", *entries], entries, ["number"]],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found


def expected_coverage(rank: xr.DataArray) -> xr.DataArray:
    r"""The fraction of cases whose truth lies in the region of each credibility, :math:`P(f \le \alpha)`.

    Args:
        rank: The fractions of :func:`hpd_rank` or :func:`tarp_rank`, with dimensions ``(…, case)``.

    Returns:
        The coverage, with ``level`` instead of ``case``, over the cases that have a fraction.
    """
    return (rank <= levels()).where(rank.notnull()).mean("case")


def predictive_coverage(predictive_pit: xr.DataArray) -> xr.DataArray:
    r"""The fraction of observations inside the central interval of each probability of their posterior predictive:

    .. math::
        P(|u - 1/2| \le \alpha / 2) , \qquad u = \frac{1}{S} \sum_s \Phi\left(\frac{y' - H(x_s)}{\sigma}\right) .

    The observations :math:`y' = H(x) + \varepsilon'` are independent replicates of those that there are, since a
    posterior has seen these. With :math:`S` draws the coverage of a calibrated posterior is off by :math:`O(1/S)`.

    Args:
        predictive_pit: The transforms :math:`u`, with dimensions ``(case, time, obs_channel[, obs_y, obs_x])``, NaN
            where there is no observation.

    Returns:
        The coverage, with dimensions ``(case, level)``; NaN for a case without observations.

    References:
        | Posterior predictive assessment of model fitness via realized discrepancies (Gelman, Meng & Stern, 1996),
          https://www3.stat.sinica.edu.tw/statistica/j6n4/j6n41/j6n41.htm
    """
    inside = (abs(predictive_pit - 0.5) <= levels() / 2).where(predictive_pit.notnull())
    return inside.mean([name for name in OBSERVED if name in predictive_pit.dims])


def _tarp_rank(draws: np.ndarray, truth: np.ndarray, numbers: NDArray[np.float64]) -> float:
    """The fraction of one case, whose draws have the shape ``(sample, *entries)``."""
    x, point = draws.reshape(len(draws), -1).astype(np.float64), int(numbers[0] * len(draws))
    own = np.linalg.norm(truth.ravel() - x[point])
    others = np.linalg.norm(np.delete(x, point, axis=0) - x[point], axis=1)
    if len(others) == 0 or not np.isfinite(own + others.sum()):
        return np.nan
    closer, tied = (others < own).sum(), (others == own).sum()
    return float((closer + numbers[1] * (tied + 1)) / len(draws))
