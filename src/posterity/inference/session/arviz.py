"""Draws as ArviZ has them."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from ...data import accept

#: The groups of ArviZ, with the variables of each by the names that they have here.
GROUPS: Mapping[str, Mapping[str, str]] = {
    "posterior": {"state": "state", "theta": "theta"},
    "log_likelihood": {"log_likelihood": "observation"},
    "sample_stats": {"log_q": "lp"},
}


def to_arviz(posterior: xr.Dataset, twin: xr.Dataset | None = None) -> xr.DataTree:
    """Converts draws for ArviZ, which takes them as they are (``arviz_stats.summary``, ``arviz.plot_trace``, …).

    Independent runs become chains, else there is one. The case stays a dimension of each variable.

    Args:
        posterior: A ``posterior`` dataset.
        twin: The ``twin`` dataset that it is of, for the observations.

    Returns:
        A tree with the groups ``posterior`` (``state`` and ``theta``), ``log_likelihood`` and ``sample_stats``, as far
        as the dataset has them, with dimensions ``(chain, draw, case, …)``, and ``observed_data``: the trees
        of xarray that ArviZ 1.0 and later takes.

    Raises:
        DataError: If a dataset is not of its kind.
    """
    draws = accept(posterior, "posterior", "posterior")
    chains = int(draws["run"].max()) + 1 if "run" in draws else 1
    chain, draw = np.divmod(np.arange(draws.sizes["sample"]), draws.sizes["sample"] // chains)
    draws = draws.drop_vars("sample", errors="ignore").assign_coords(chain=("sample", chain), draw=("sample", draw))
    draws = draws.set_index(sample=("chain", "draw"))
    groups = {}
    for group, names in GROUPS.items():
        if found := {new: name for name, new in names.items() if name in draws}:
            chosen = draws[list(found.values())].rename({name: new for new, name in found.items() if name != new})
            groups[group] = chosen.unstack("sample").transpose("chain", "draw", ...)
    if twin is not None:
        groups["observed_data"] = accept(twin, "twin", "twin")[["observation"]]
    return xr.DataTree.from_dict(groups)
