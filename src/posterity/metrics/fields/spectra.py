"""Spectra of states on periodic grids, of draws, truth, error and spread: which scales a method gets right."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..scores import whole
from .quantities import axes_of, length, velocities, wave_numbers

Array = NDArray[np.float64]

#: The part of the draws between which the spectra of nine in ten lie.
QUANTILES = (0.05, 0.95)

#: Numbers in the largest array of a chunk: eight mebibytes.
CHUNK = 2**20

#: What is made of a velocity.
ENERGY, ENSTROPHY = "energy", "enstrophy"


class Grid(NamedTuple):
    """A periodic grid in Fourier space.

    Args:
        sizes: The sizes of its axes.
        shells: The parts of each wave in the mean square, by shells, a sparse matrix ``(waves, shell)``.
        waves: The wave numbers of derivatives along each axis, that broadcast against the waves.
    """

    sizes: tuple[int, ...]
    shells: Any
    waves: tuple[Array, ...]


class Field(NamedTuple):
    """What a spectrum is of: its name, the places of one channel or of both of a velocity, whether of its vorticity."""

    name: str
    channels: tuple[int, ...]
    rotation: bool = False


def spectrum(state: xr.DataArray) -> xr.DataArray:
    r"""The isotropic spectrum of states: parts of a mean over the grid, in shells of waves :math:`k` of equal length,

    .. math:: S(K) = \sum_{K - 1/2 \le |k| < K + 1/2} |\hat x_k|^2 , \qquad \sum_K S(K) = \langle x^2 \rangle

    for a channel, and for a velocity of energy :math:`\langle u^2 + v^2 \rangle / 2` and enstrophy
    :math:`\langle \omega^2 \rangle / 2` in place of the mean square. Waves are counted along the longest axis of the
    domain. Shells reach into the corners of the grid, so that nothing is left out, and are not whole there:
    see :func:`resolved`.

    Args:
        state: The states, with dimensions ``(…, channel[, y], x)``; they may be lazy.

    Returns:
        The spectrum, with dimensions ``(…, field, wavenumber)``: fields are ``energy`` and ``enstrophy`` of each
        velocity (see :func:`velocities`), with what stands behind ``u`` and ``v`` in its names, then all other
        channels.
    """
    axes, fields = axes_of(state), fields_of(state)
    grid = _grid(tuple(state.sizes[name] for name in axes), tuple(length(state, name) for name in axes))

    def transformed(values: np.ndarray) -> Array:
        """The spectra of states with shape ``(…, channel, *grid)``."""
        flat = values.reshape(-1, *values.shape[-1 - len(axes) :])
        rows = max(1, CHUNK // flat[0].size)
        found = [_spectra(flat[start : start + rows], fields, grid) for start in range(0, len(flat), rows)]
        return np.concatenate(found).reshape(*values.shape[: -1 - len(axes)], len(fields), -1)

    found: xr.DataArray = xr.apply_ufunc(
        transformed,
        whole(state),
        input_core_dims=[["channel", *axes]],
        output_core_dims=[["field", "wavenumber"]],
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"field": len(fields), "wavenumber": grid.shells.shape[1]}},
        output_dtypes=[np.float64],
    )
    names = [field.name for field in fields]
    return found.assign_coords(field=names, wavenumber=np.arange(grid.shells.shape[1]))


def spectra(state: xr.DataArray, average: xr.DataArray) -> dict[str, xr.DataArray]:
    r"""The spectra of draws: their mean, the middle nine tenths of them, and that of the spread.

    The latter is :math:`(S - 1)^{-1} \sum_s S_{x_s - \bar x}(K)` for :math:`S` draws; for a calibrated ensemble,
    :math:`(S + 1) / S` times it is in expectation the spectrum of the error of the mean.

    Args:
        state: The draws, with dimensions ``(case, sample, time, channel[, y], x)``.
        average: Their mean.

    Returns:
        ``spectrum``, ``spectrum_quantile`` and ``spread_spectrum``, with dimensions ``(case, time, field, wavenumber)``
        and ``quantile``; the last is NaN for a single draw.
    """
    own, samples = spectrum(state), state.sizes["sample"]
    mean = own.mean("sample", skipna=False)
    spread = (mean - spectrum(average)) * (samples / (samples - 1) if samples > 1 else np.nan)
    # Rounding may leave a little less than nothing.
    return {
        "spectrum": mean,
        "spectrum_quantile": own.quantile(QUANTILES, "sample", skipna=False).transpose(..., "quantile"),
        "spread_spectrum": spread.clip(min=0),
    }


def fields_of(state: xr.DataArray) -> list[Field]:
    """What the spectra of a state are of: of each velocity energy and enstrophy, and all other channels."""
    own = velocities(state)
    moving = {place for pair in own.values() for place in pair}
    found = [Field(ENERGY + end, pair) for end, pair in own.items()]
    found += [Field(ENSTROPHY + end, pair, rotation=True) for end, pair in own.items()]
    names = enumerate(state["channel"].values)
    return found + [Field(str(name), (place,)) for place, name in names if place not in moving]


def resolved(sizes: Mapping[str, int], lengths: Mapping[str, float]) -> int:
    """The number of shells that are whole: those below the highest wave of every axis.

    Args:
        sizes: The number of sites of each axis.
        lengths: The length of each axis.
    """
    longest = max(lengths.values())
    return int(min((size - 1) // 2 * longest / lengths[name] for name, size in sizes.items())) + 1


def shells(sizes: Sequence[int], lengths: Sequence[float]) -> int:
    """The number of all shells, up to the corner of the grid.

    Args:
        sizes: The number of sites of each axis.
        lengths: The length of each axis.
    """
    longest = max(lengths)
    corner = sum((size // 2 * longest / extent) ** 2 for size, extent in zip(sizes, lengths, strict=True))
    return int(np.floor(np.sqrt(corner) + 0.5)) + 1


def _grid(sizes: tuple[int, ...], lengths: tuple[float, ...]) -> Grid:
    """The waves of a grid, those of a real transform along its last axis."""
    from scipy.sparse import csr_array

    longest, last = max(lengths), len(sizes) - 1
    numbers = [
        np.fft.rfftfreq(size, 1 / size) if axis == last else np.fft.fftfreq(size, 1 / size)
        for axis, size in enumerate(sizes)
    ]
    scaled = [number * longest / extent for number, extent in zip(numbers, lengths, strict=True)]
    squares = sum(part**2 for part in np.meshgrid(*scaled, indexing="ij"))
    shell = np.floor(np.sqrt(squares) + 0.5).astype(int).ravel()
    # Of waves and their conjugates a real transform has one, but for those that are their own along the last axis.
    twice = np.where((numbers[last] == 0) | (2 * numbers[last] == sizes[last]), 1.0, 2.0)
    parts = np.broadcast_to(twice, [len(number) for number in numbers]).ravel()
    # Each wave is in one shell: of a million points, a matrix of all would have four gigabytes.
    matrix = csr_array((parts, shell, np.arange(shell.size + 1)), shape=(shell.size, shells(sizes, lengths)))
    waves = [
        wave_numbers(size, extent, half=axis == last)
        for axis, (size, extent) in enumerate(zip(sizes, lengths, strict=True))
    ]
    return Grid(sizes, matrix, tuple(np.meshgrid(*waves, indexing="ij", sparse=True)))


def _spectra(states: np.ndarray, fields: list[Field], grid: Grid) -> Array:
    """The spectra of states ``(state, channel, *grid)``, with shape ``(state, field, shell)``."""
    axes = tuple(range(2, states.ndim))
    coefficients = np.fft.rfftn(states.astype(np.float64), axes=axes) / np.prod(grid.sizes)
    found = np.empty((len(states), len(fields), grid.shells.shape[1]))
    for place, field in enumerate(fields):
        parts = [coefficients[:, channel] for channel in field.channels]
        if field.rotation:
            parts = [grid.waves[1] * parts[1] - grid.waves[0] * parts[0]]
        # One half of two squares for energy and enstrophy, and the mean square of a channel.
        squares = sum(part.real**2 + part.imag**2 for part in parts) / len(field.channels)
        found[:, place] = np.reshape(squares, (len(states), -1)) @ grid.shells
    return found
