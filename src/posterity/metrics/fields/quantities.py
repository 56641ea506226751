"""Quantities of states on periodic grids: channels, and what derives from those of a velocity."""

from collections.abc import Hashable, Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...errors import PosterityError, nearest

#: The axes of a grid.
AXES = ("y", "x")

#: What is made of a velocity, by names that the names of a pair of channels end alike.
VORTICITY, SPEED = "vorticity", "speed"


def axes_of(state: xr.DataArray) -> tuple[str, ...]:
    """The axes of the grid of a state, the last one ``x``; none without a grid."""
    return tuple(name for name in AXES if name in state.dims)


def length(state: xr.DataArray, axis: str) -> float:
    """The length of the periodic domain along an axis.

    It is the attribute ``length`` of its coordinate. Without one it follows from the places of the sites, and without
    places as numbers their distance is one.

    Args:
        state: A state.
        axis: Its axis.

    Returns:
        The length, in the units of the coordinate.
    """
    sites = state[axis]
    if "length" in sites.attrs:
        return float(sites.attrs["length"])
    size = state.sizes[axis]
    if sites.dtype.kind not in "iuf" or size == 1:
        return float(size)
    return float(abs(sites.values[-1] - sites.values[0])) * size / (size - 1)


def wave_numbers(size: int, extent: float, half: bool = False) -> NDArray[np.float64]:
    """The angular wave numbers of derivatives along an axis, zero for the highest wave of an even number of sites.

    Args:
        size: The number of sites.
        extent: The length of the axis.
        half: Whether they are those of a real transform.
    """
    numbers = np.asarray((np.fft.rfftfreq if half else np.fft.fftfreq)(size, 1 / size), dtype=np.float64)
    # The highest wave of an even number of sites has no derivative at them.
    numbers[2 * np.abs(numbers) == size] = 0
    return 2 * np.pi / extent * numbers


def derivative(field: xr.DataArray, axis: str) -> xr.DataArray:
    """The derivative of a field along an axis of a periodic grid, exact for what the grid resolves.

    Args:
        field: The field, with the dimension of the axis; it may be lazy.
        axis: The axis.

    Returns:
        The derivative, with the same dimensions.
    """
    size = field.sizes[axis]
    waves = 1j * wave_numbers(size, length(field, axis), half=True)

    def along(values: np.ndarray) -> np.ndarray:
        """The derivative along the last axis."""
        found: np.ndarray = np.fft.irfft(np.fft.rfft(values) * waves, size).astype(values.dtype)
        return found

    whole = field if field.chunks is None else field.chunk({axis: -1})
    found: xr.DataArray = xr.apply_ufunc(
        along,
        whole,
        input_core_dims=[[axis]],
        output_core_dims=[[axis]],
        dask="parallelized",
        output_dtypes=[field.dtype],
    )
    return found.transpose(*field.dims)


def velocities(state: xr.DataArray) -> dict[str, tuple[int, int]]:
    """The velocities among the channels of a state in the plane: ``u`` along x with ``v`` along y.

    Args:
        state: A state.

    Returns:
        The places of both components, by what stands behind ``u`` and ``v`` in their names, as the number of a layer;
        nothing if the grid has not two axes.
    """
    if axes_of(state) != AXES or "channel" not in state.dims:
        return {}
    places = {str(name): place for place, name in enumerate(state["channel"].values)}
    ends = (name[1:] for name in places if name.startswith("u"))
    return {end: (places[f"u{end}"], places[f"v{end}"]) for end in ends if f"v{end}" in places}


def divergence(state: xr.DataArray) -> xr.DataArray:
    r"""The divergence of the velocities of states relative to their gradient, over the plane and all velocities,

    .. math::
        \left( \frac{\sum (\partial_x u + \partial_y v)^2}{\sum (\partial_x u)^2 + (\partial_y u)^2
        + (\partial_x v)^2 + (\partial_y v)^2} \right)^{1/2} ,

    zero for incompressible flow, one for a flow that is a gradient.

    Args:
        state: The states, with a velocity (see :func:`velocities`); they may be lazy.

    Returns:
        The ratio, without ``channel`` and the axes of the grid; NaN of a velocity without a gradient.
    """
    diverging, total = xr.DataArray(0.0), xr.DataArray(0.0)
    for pair in velocities(state).values():
        u, v = (state.isel(channel=place, drop=True) for place in pair)
        along = derivative(u, "x"), derivative(v, "y")
        across = derivative(u, "y"), derivative(v, "x")
        diverging = diverging + ((along[0] + along[1]) ** 2).sum(AXES, skipna=False)
        total = total + sum((part**2).sum(AXES, skipna=False) for part in (*along, *across))
    return (diverging / total.where(total > 0)) ** 0.5


def quantities(state: xr.DataArray) -> list[str]:
    """The names of what :func:`quantity` makes of a state, what is shown by default first."""
    derived = [f"{name}{end}" for name in (VORTICITY, SPEED) for end in velocities(state)]
    return [*derived, *(str(name) for name in state["channel"].values)]


def quantity(state: xr.DataArray, name: str | None = None) -> xr.DataArray:
    r"""A quantity of states: one of their channels, or vorticity or speed of a velocity :math:`(u, v)`,

    .. math:: \omega = \partial_x v - \partial_y u , \qquad (u^2 + v^2)^{1/2} .

    Args:
        state: The states, with the dimension ``channel``; they may be lazy.
        name: A channel, ``vorticity`` or ``speed``, the latter with what stands behind ``u`` and ``v`` in the names of
            the channels. If omitted, the vorticity of the first velocity or, if there is none, the first channel.

    Returns:
        The quantity, without ``channel``, named, and with its units.

    Raises:
        PosterityError: If states have no such quantity.
    """
    known = quantities(state)
    name = known[0] if name is None else name
    if name not in known:
        raise PosterityError(f"figures.quantity: these states have no '{name}'{nearest(name, known)}")
    own = velocities(state)
    channels = [str(channel) for channel in state["channel"].values]
    if name in channels:
        return _named(state.isel(channel=channels.index(name), drop=True), name, state.attrs)
    made = VORTICITY if name.startswith(VORTICITY) else SPEED
    u, v = (state.isel(channel=place, drop=True) for place in own[name.removeprefix(made)])
    if made == SPEED:
        return _named((u**2 + v**2) ** 0.5, name, state.attrs)
    return _named(derivative(v, "x") - derivative(u, "y"), name, {"units": _per_length(state)})


def _named(field: xr.DataArray, name: str, attributes: Mapping[Hashable, object]) -> xr.DataArray:
    """The field under a name, with the units that attributes say."""
    units = {"units": attributes["units"]} if "units" in attributes else {}
    return field.rename(name).assign_attrs(units)


def _per_length(state: xr.DataArray) -> str:
    """The units of a gradient."""
    units, sites = str(state.attrs.get("units", "1")), str(state["x"].attrs.get("units", "1"))
    if sites == "1":
        return "1" if units == "1" else f"{units} per unit of length"
    return f"{units} / {sites}"
