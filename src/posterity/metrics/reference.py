"""All distances of one method to a reference."""

import numpy as np
import xarray as xr

from . import distances, scores
from .fields import spectra
from .fields.quantities import axes_of
from .table import FLOOR, SCORES


def against_reference(
    posterior: xr.Dataset, reference: xr.Dataset, time: int | None, whole: bool = False
) -> dict[str, xr.DataArray]:
    r"""The distances of a posterior to a reference, and how far they can be trusted.

    Beside each distance stands its ``*_floor``, if the reference has several runs: the distance of draws of one half
    of its runs to those of the other half, as many as the posterior has if there are. A method near the floor cannot
    be told from the reference. Errors of means, and sliced Wasserstein distances, of :math:`S` draws of the reference
    itself are a little below it, by :math:`((1 / S + 1 / R) / (1 / S + 2 / R))^{1/2}` for :math:`R` draws of all runs.

    Args:
        posterior: A ``posterior`` dataset.
        reference: Another one, with the same cases and times, and maybe the variables ``run(sample)``, which numbers
            independent runs, and ``info_gap(case)``.
        time: The place of the time at which states, with the parameters if both have them, are compared as one
            vector; None for no such comparison.
        whole: Whether the draws are trajectories, from the first time to the last, and compared as such.

    Returns:
        The distances by name, ``c2st_std`` and, from ``info_gap``, ``reference_gap``.
    """
    if "theta" not in posterior:
        # Floors are then of what is compared.
        reference = reference.drop_vars("theta", errors="ignore")
    found = _distances(posterior, reference, time, whole)
    if "info_gap" in reference:
        found["reference_gap"] = reference["info_gap"].rename("reference_gap")
    if axes_of(reference["state"]):
        found["reference_spectrum"] = spectra.spectrum(reference["state"]).mean("sample", skipna=False)
    if halves := _halves(reference, posterior.sizes["sample"]):
        floor = _distances(*halves, time, whole)
        found |= {
            name + FLOOR: floor[name] for name in (score.name for score in SCORES if score.floor) if name in floor
        }
    return found


def _halves(reference: xr.Dataset, samples: int) -> tuple[xr.Dataset, xr.Dataset] | None:
    """The draws of one half of the runs, thinned to some number, and those of the other half."""
    if "run" not in reference:
        return None
    run = reference["run"].to_numpy()
    early = np.isin(run, np.unique(run)[: len(np.unique(run)) // 2])
    if not early.any():
        return None
    one, other = np.flatnonzero(early), np.flatnonzero(~early)
    samples = min(samples, len(one))
    return reference.isel(sample=one[np.arange(samples) * len(one) // samples]), reference.isel(sample=other)


def _distances(posterior: xr.Dataset, reference: xr.Dataset, time: int | None, whole: bool) -> dict[str, xr.DataArray]:
    """The distances between two posteriors."""
    state, own = (scores.whole(dataset["state"]) for dataset in (posterior, reference))
    others = own.rename(sample="draw")
    found = _marginal(state, own) | {"covariance_error": distances.covariance_error(state, others)}
    common = "theta" in posterior and "theta" in reference
    if common:
        # A parameter is an entry for itself: of one entry the sliced distance is the Wasserstein distance.
        apart = _marginal(*(scores.whole(dataset["theta"]) for dataset in (posterior, reference)))
        names = {"mean_error": "mean_gap", "std_error": "std_gap", "sliced_wasserstein": "wasserstein"}
        found |= {f"parameter_{name}": apart[key] for key, name in names.items()}
    if whole:
        found["trajectory_wasserstein"] = distances.trajectory_wasserstein(state, others)
    if time is not None:
        vector, target = (_vector(dataset, time, common) for dataset in (posterior, reference))
        target = target.rename(sample="draw")
        found["energy_distance"], found["mmd"] = distances.kernel_distances(vector, target)
        found["wasserstein"] = distances.wasserstein(vector, target)
        found["c2st"], found["c2st_std"] = distances.classifier_test(vector, target)
    return found


def _marginal(draws: xr.DataArray, reference: xr.DataArray) -> dict[str, xr.DataArray]:
    """The distances between draws at each time, of their entries together, or of those that stand apart."""
    average, var = scores.mean(reference), scores.variance(reference)
    return {
        "mean_error": distances.mean_error(scores.mean(draws), average, var),
        "std_error": distances.std_error(scores.variance(draws), average, var),
        "sliced_wasserstein": distances.sliced_wasserstein(draws, reference.rename(sample="draw")),
    }


def _vector(posterior: xr.Dataset, time: int, parameters: bool) -> xr.DataArray:
    """The state at one time and the parameters as one vector, with dimensions ``(case, sample, entry)``."""
    parts = [
        posterior["state"]
        .isel(time=time)
        .stack(entry=[name for name in scores.ENTRIES if name in posterior["state"].dims], create_index=False)
    ]
    if parameters:
        parts.append(posterior["theta"].rename(parameter="entry"))
    bare = [part.drop_vars([name for name in part.coords if name != "case"]) for part in parts]
    return scores.whole(xr.concat(bare, "entry"))
