"""Missing values: what a file says are none, by the conventions, and what looks like one though it does not say so."""

from collections.abc import Iterable

import netCDF4
import numpy as np
import xarray as xr

#: How many times the spread of all others a value must be away from them to look like a mark of a missing one.
FAR = 50.0


def marked(raw: xr.Dataset, names: Iterable[str]) -> xr.Dataset:
    """Marks what the conventions call missing, so that decoding makes NaN of it.

    That is, beside ``_FillValue`` and ``missing_value``, the default fill of the netCDF library where a variable names
    none, and what lies outside ``valid_range``, ``valid_min`` or ``valid_max``.

    Args:
        raw: The dataset as the file holds it, not decoded.
        names: The variables to look at.

    Returns:
        The dataset, still not decoded.

    References:
        | NetCDF Climate and Forecast (CF) Metadata Conventions (Eaton et al., 2023), sections 2.5.1 and 8.1,
          https://cfconventions.org/cf-conventions/cf-conventions.html
    """
    return raw.assign({name: _marked(raw[name].variable) for name in names if name in raw.variables})


def _marked(variable: xr.Variable) -> xr.Variable:
    if variable.dtype.kind not in "fiu" or variable.dtype.itemsize == 1:
        return variable
    attributes = dict(variable.attrs)
    if "missing_value" not in attributes:
        attributes.setdefault("_FillValue", variable.dtype.type(netCDF4.default_fillvals[variable.dtype.str[1:]]))
    low, high = _valid(variable)
    if low == -np.inf and high == np.inf:
        return xr.Variable(variable.dims, variable, attributes, variable.encoding)
    fill = np.ravel(attributes["_FillValue" if "_FillValue" in attributes else "missing_value"])[0]
    lazy = variable.chunk()
    return lazy.where((lazy >= low) & (lazy <= high), fill)._replace(attrs=attributes)


def _valid(variable: xr.Variable) -> tuple[float, float]:
    """The range of valid values, as the file holds them: packed if they are."""
    attributes = variable.attrs
    ends = attributes.get("valid_range", (attributes.get("valid_min", -np.inf), attributes.get("valid_max", np.inf)))
    low, high = (float(end) for end in ends)
    if variable.dtype.kind in "iu" and np.asarray(ends).dtype.kind == "f" and "valid_range" in attributes:
        scale, offset = float(attributes.get("scale_factor", 1)), float(attributes.get("add_offset", 0))
        low, high = sorted(((low - offset) / scale, (high - offset) / scale))
    return low, high


def suspects(values: np.ndarray) -> list[tuple[float, int]]:
    """Values far from all others, as marks of missing ones are, ``-999`` or ``1e20``, and how often each stands.

    Args:
        values: The values, of any shape; NaN is left out.

    Returns:
        The smallest and the largest value, if they are far from the median of the others: 50 times the distance of the
        quartiles of these.
    """
    known = values[np.isfinite(values)]
    found = []
    for value in np.unique([known.min(), known.max()]) if known.size else ():
        others = known[known != value]
        low, middle, high = np.quantile(others, (0.25, 0.5, 0.75)) if others.size else (0.0, 0.0, 0.0)
        if np.abs(value - middle) > FAR * (high - low):
            found.append((float(value), int(known.size - others.size)))
    return found
