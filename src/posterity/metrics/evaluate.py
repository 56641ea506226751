"""All scores of one method."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from . import calibration, scores

#: Descriptions of the scores, for files and figures.
NAMES: Mapping[str, str] = {
    "mean": "mean of the draws",
    "std": "standard deviation of the draws",
    "rmse": "RMSE of the mean",
    "spread": "spread",
    "crps": "fair CRPS",
    "rank_histogram": "entries per bin of ranks",
    "coverage": "coverage of the central interval",
    "log_likelihood": "expected log-likelihood",
    "calibrated_log_likelihood": "expected log-likelihood if calibrated",
    "samples": "draws",
}

#: The scores in units of the state, and those in nats.
IN_STATE_UNITS = ("mean", "std", "rmse", "spread", "crps")
IN_NATS = ("log_likelihood", "calibrated_log_likelihood")


def evaluate(twin: xr.Dataset, posterior: xr.Dataset) -> xr.Dataset:
    """Scores a posterior against the truth.

    Without a truth, as with a user's own observations, what needs none is left: mean, standard deviation, spread
    and log-likelihoods.

    Args:
        twin: A ``twin`` dataset, with the cases of the posterior and, if it has a ``state``, its times and maybe more.
        posterior: A ``posterior`` dataset; its ``info_*`` variables are passed on.

    Returns:
        A ``metrics`` dataset, lazy if the posterior is.

    Raises:
        ValueError: If the cases of truth and posterior differ.
        KeyError: If the truth lacks times of the posterior.
    """
    state = posterior["state"]
    if state.chunks is not None:
        state = state.chunk(sample=-1)
    average, var = scores.mean(state), scores.variance(state)
    found: dict[str, xr.DataArray] = {"mean": average, "std": var**0.5, "spread": scores.spread(var)}
    if "state" in twin:
        found |= _against_truth(twin["state"], state, average)
    if "log_likelihood" in posterior:
        found["log_likelihood"] = calibration.expected_log_likelihood(posterior["log_likelihood"])
    found["calibrated_log_likelihood"] = calibration.calibrated_log_likelihood(
        twin["observation"], twin["observation_std"]
    )
    found["samples"] = xr.full_like(state["case"], state.sizes["sample"], dtype=np.int32)
    for name, score in found.items():
        units = state.attrs.get("units", "1") if name in IN_STATE_UNITS else "nat" if name in IN_NATS else "1"
        score.attrs = {"long_name": NAMES[name], "units": units}
    info = posterior[[name for name in posterior.data_vars if str(name).startswith("info_")]]
    # Curves of different lengths are joined by their iterations later on.
    curves = {"iteration": np.arange(info.sizes["iteration"])} if "iteration" in info.dims else {}
    return xr.Dataset(found).merge(info.assign_coords(curves), join="exact", compat="override")


def _against_truth(truth: xr.DataArray, state: xr.DataArray, average: xr.DataArray) -> dict[str, xr.DataArray]:
    """The scores that need a truth."""
    truth, state, average = xr.align(truth.sel(time=state["time"]), state, average, join="exact")
    if state.chunks is not None:
        truth = truth.chunk({name: state.chunksizes[name] for name in truth.dims})
    low, high = calibration.pit(state, truth)
    return {
        "rmse": scores.rmse(average, truth),
        "crps": scores.crps(state, truth),
        "rank_histogram": calibration.rank_histogram(low, high, state.sizes["sample"]),
        "coverage": calibration.coverage(low, high),
    }
