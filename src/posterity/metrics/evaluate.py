"""All scores of one method."""

import numpy as np
import xarray as xr

from . import calibration, credible, multivariate, ranks, scores
from .fields import spectra
from .fields.quantities import axes_of, divergence, velocities
from .parameters import parameter_scores
from .reference import against_reference
from .table import attributes


def evaluate(
    twin: xr.Dataset, posterior: xr.Dataset, reference: xr.Dataset | None = None, time: int | None = None
) -> xr.Dataset:
    """Scores a posterior against the truth, and against a reference if there is one.

    Without a truth, as with a user's own observations, what needs none is left: mean, standard deviation, spread,
    log-likelihoods and distances.

    Args:
        twin: A ``twin`` dataset, with the cases of the posterior and, if it has a ``state``, its times and maybe more.
        posterior: A ``posterior`` dataset; its ``info_*`` variables are passed on.
        reference: Another one, of the same cases, times and entries.
        time: The place of the time, of those of the posterior, at which distances compare the state, and the
            parameters if there are any, as one vector, and at which the state is tested as one: the end of the window.
            None leaves those out.

    Returns:
        A ``metrics`` dataset, lazy if the posterior is.

    Raises:
        ValueError: If the cases of truth and posterior differ.
        KeyError: If the truth lacks times of the posterior.
    """
    state = _whole_samples(posterior["state"])
    average, var = scores.mean(state), scores.variance(state)
    found: dict[str, xr.DataArray] = {"mean": average, "std": var**0.5, "spread": scores.spread(var)}
    if axes_of(state):
        found |= spectra.spectra(state, average)
    if velocities(state):
        found["divergence"] = divergence(state).mean("sample", skipna=False)
    if "model_residual" in posterior:
        found["model_residual"] = posterior["model_residual"].astype(np.float64)
    if "transition_gap" in posterior:
        found["transition_gap"] = posterior["transition_gap"].mean("sample", skipna=False, dtype=np.float64)
    if "state" in twin:
        found |= _against_truth(twin["state"], state, average, time)
    if "theta" in posterior:
        found |= parameter_scores(_whole_samples(posterior["theta"]), twin.get("theta"))
    found |= _densities(posterior)
    if "predictive_pit" in posterior:
        found["predictive_coverage"] = credible.predictive_coverage(posterior["predictive_pit"])
    if "log_likelihood" in posterior:
        found["log_likelihood"] = calibration.expected_log_likelihood(posterior["log_likelihood"])
        found["misfit"] = calibration.misfit(posterior["log_likelihood"], twin["observation"], twin["observation_std"])
    found["calibrated_log_likelihood"] = calibration.calibrated_log_likelihood(
        twin["observation"], twin["observation_std"]
    )
    found["samples"] = xr.full_like(state["case"], state.sizes["sample"], dtype=np.int32)
    if reference is not None:
        # Filters draw each time alone, and begin at the end of the window.
        whole = time is not None and state.sizes["time"] == twin.sizes["time"]
        found |= against_reference(posterior, reference, time, whole)
    for name, score in found.items():
        score.attrs = attributes(name, state.attrs.get("units", "1"))
    info = posterior[[name for name in posterior.data_vars if str(name).startswith("info_")]]
    # Curves of different lengths are joined by their iterations later on.
    curves = {"iteration": np.arange(info.sizes["iteration"])} if "iteration" in info.dims else {}
    return xr.Dataset(found).merge(info.assign_coords(curves), join="exact", compat="override")


def _whole_samples(draws: xr.DataArray) -> xr.DataArray:
    """Draws in chunks that hold all samples."""
    return draws if draws.chunks is None else draws.chunk(sample=-1)


def _densities(posterior: xr.Dataset) -> dict[str, xr.DataArray]:
    """The scores that need the density of the truth, which only some methods have, and only if there is a truth."""
    if "truth_log_q" not in posterior:
        return {}
    found = {"log_score": scores.log_score(posterior["truth_log_q"])}
    if "log_q" in posterior:
        found["hpd_rank"] = credible.hpd_rank(_whole_samples(posterior["log_q"]), posterior["truth_log_q"])
    return found


def _against_truth(
    truth: xr.DataArray, state: xr.DataArray, average: xr.DataArray, end: int | None
) -> dict[str, xr.DataArray]:
    """The scores that need a truth; ``end`` is the place of the window's end, if the posterior covers it."""
    truth, state, average = xr.align(truth.sel(time=state["time"]), state, average, join="exact")
    if state.chunks is not None:
        truth = truth.chunk({name: state.chunksizes[name] for name in truth.dims})
    low, high = calibration.pit(state, truth)
    some = {} if end is None else {"tarp_rank": credible.tarp_rank(state.isel(time=end), truth.isel(time=end))}
    if axes_of(state):
        some["truth_spectrum"], some["error_spectrum"] = spectra.spectrum(truth), spectra.spectrum(average - truth)
    return some | {
        "rmse": scores.rmse(average, truth),
        "crps": scores.crps(state, truth),
        "energy_score": multivariate.energy_score(state, truth),
        "variogram_score": multivariate.variogram_score(state, truth),
        "rank_histogram": calibration.rank_histogram(low, high, state.sizes["sample"]),
        "coverage": calibration.coverage(low, high),
        "rank": ranks.entry_rank(low, high),
    }
