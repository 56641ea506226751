"""Homogeneous correlations on periodic grids, by their spectra."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import pi
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from .correlation import Correlation
from .root import Circulant, Root
from .spectra import GaussianSpectrum, Spectrum

if TYPE_CHECKING:
    from ..problem import Problem

#: The least standard deviation of a mode, in that of the largest one: smaller ones are beyond what single precision can
#: tell from none, and are none.
LEAST = 1e-5


def wave_vectors(grid: tuple[int, ...]) -> list[Tensor]:
    """The wave vectors of a periodic grid of unit spacing, in radians.

    Args:
        grid: The sizes of the axes.

    Returns:
        For each axis, the component along it, with shape ``grid``; in double precision, on the processor.
    """
    axes = [2 * pi * torch.fft.fftfreq(size, dtype=torch.double, device="cpu") for size in grid]
    return list(torch.meshgrid(*axes, indexing="ij"))


def half(spectrum: Tensor, grid: tuple[int, ...]) -> Tensor:
    """The wave vectors of a real Fourier transform, among all of those of a grid."""
    return spectrum[..., : grid[-1] // 2 + 1]


def matrix_root(matrices: Tensor) -> tuple[Tensor, Tensor, bool]:
    """The Hermitian roots of positive semidefinite matrices, without the modes that are next to none.

    Args:
        matrices: The matrices, with shape ``(*batch, n, n)``.

    Returns:
        The roots and their pseudo-inverses, with the same shape, and whether all matrices have an inverse.
    """
    values, vectors = torch.linalg.eigh(matrices)
    amplitude = values.clamp(min=0).sqrt()
    amplitude = torch.where(amplitude < LEAST * amplitude.max(), 0, amplitude)
    inverse = torch.where(amplitude > 0, 1 / amplitude, 0)
    root, pseudo = ((vectors * scale.unsqueeze(-2)) @ vectors.mH for scale in (amplitude, inverse))
    return root, pseudo, bool((amplitude > 0).all())


class Homogeneous(Correlation):
    r"""Abstract correlation that is the same everywhere on a periodic grid:

    .. math:: C_{ij}(r) = \frac1N \sum_k F_{ij}(k)\, e^{i k \cdot r},

    with a Hermitian matrix :math:`F(k)` of channels for each wave vector, and unit variance.
    """

    def control(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a state."""
        _check_grid(shape)
        return shape

    @abc.abstractmethod
    def cross_spectrum(self, problem: "Problem") -> Tensor:
        """The matrices :math:`F(k)`, with shape ``(channels, channels, *grid)``; complex, in double precision."""

    def root(self, problem: "Problem", like: Tensor) -> Root:
        """The Hermitian root of each matrix."""
        grid = problem.shape[1:]
        with torch.inference_mode(False), torch.no_grad():
            matrices = half(self.cross_spectrum(problem), grid).movedim((0, 1), (-2, -1))
            root, inverse, full = matrix_root(matrices)
            symbol, inverse = (found.movedim((-2, -1), (0, 1)) for found in (root, inverse))
            return circulant(symbol, inverse, grid, full, like)

    def matrix(self, problem: "Problem") -> Tensor:
        """The correlation as a matrix, by the sum over all wave vectors."""
        spectrum = self.cross_spectrum(problem)
        grid = spectrum.shape[2:]
        places = torch.meshgrid(*(torch.arange(size, dtype=torch.double, device="cpu") for size in grid), indexing="ij")
        along = zip(places, wave_vectors(tuple(grid)), strict=True)
        phase = torch.stack([torch.outer(x.flatten(), k.flatten()) for x, k in along]).sum(dim=0)
        waves = torch.polar(torch.ones_like(phase), phase)
        blocks = torch.einsum("xk,ijk,yk->ixjy", waves, spectrum.flatten(2), waves.conj()).real / phase.shape[1]
        return blocks.flatten(2).flatten(0, 1)


def circulant(symbol: Tensor, inverse: Tensor, grid: tuple[int, ...], full: bool, like: Tensor) -> Circulant:
    """A circulant root in the dtype and on the device of a tensor."""
    dtype = like.dtype.to_complex()
    return Circulant(symbol.to(like.device, dtype), inverse.to(like.device, dtype), grid, full)


@dataclass(frozen=True)
class Spectral(Homogeneous):
    r"""Isotropic correlation of each channel alone, by the spectrum of its fields on a periodic grid.

    Modes whose standard deviation is less than a hundred-thousandth of the largest one have none.

    Args:
        length: The correlation length :math:`\ell`, in grid spacings; or one for each channel.
        spectrum: The family of the spectrum, as a function of :math:`|k| \ell`.
    """

    length: float | Sequence[float] = 2.0
    spectrum: Spectrum = field(default_factory=GaussianSpectrum)

    def __post_init__(self) -> None:
        """Checks that lengths are positive."""
        if isinstance(self.length, Sequence):
            object.__setattr__(self, "length", tuple(self.length))
        if not all(length > 0 for length in _several(self.length, 1)):
            raise ValueError(f"length: correlation lengths must be positive, not {self.length}")

    def control(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a state."""
        if len(_several(self.length, shape[0])) != shape[0]:
            raise ValueError(
                f"length: {len(_several(self.length, shape[0]))} numbers for states of {shape[0]} channels; give one, "
                "or one for each channel"
            )
        return super().control(shape)

    def cross_spectrum(self, problem: "Problem") -> Tensor:
        """A diagonal matrix for each wave vector."""
        grid = problem.shape[1:]
        lengths = _several(self.length, problem.shape[0])
        densities = torch.stack([density(self.spectrum, length, grid) for length in lengths], dim=-1)
        return torch.diag_embed(densities).movedim((-2, -1), (0, 1)).to(torch.cdouble)


@dataclass(frozen=True)
class Solenoidal(Correlation):
    r"""Correlation of velocities without divergence on a periodic plane, made of one scalar field:

    .. math:: \hat\psi(k) = \sqrt{f(k)} / |k|\; \hat w(k), \qquad u = \partial_y \psi, \qquad v = -\partial_x \psi ,

    with :math:`f` the spectrum of the velocity, :math:`u` the first channel and along the last axis. The whitened field
    :math:`w` has one channel. Its mean, and on an axis of even size the waves of two grid spacings, which have no
    derivative there, move nothing. The variance is one in the mean over both channels.

    Args:
        length: The correlation length :math:`\ell`, in grid spacings.
        spectrum: The family of the spectrum, as a function of :math:`|k| \ell`.
    """

    uniform: ClassVar[bool] = True

    length: float = 2.0
    spectrum: Spectrum = field(default_factory=GaussianSpectrum)

    def __post_init__(self) -> None:
        """Checks that the length is positive."""
        if self.length <= 0:
            raise ValueError(f"length: a correlation length must be positive, not {self.length}")

    def control(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(1, H, W)``."""
        return check_plane(shape)

    def root(self, problem: "Problem", like: Tensor) -> Root:
        """Velocities of a streamfunction."""
        return solenoidal_root(self.density(problem), like)

    def matrix(self, problem: "Problem") -> Tensor:
        """The correlation as a matrix, by the sum over all wave vectors."""
        return _OfVelocity(self.density(problem)).matrix(problem)

    def density(self, problem: "Problem") -> Tensor:
        """The spectrum :math:`f(k)`, with shape ``(H, W)``."""
        return density(self.spectrum, self.length, problem.shape[1:], moving(problem.shape[1:]))


@dataclass(frozen=True)
class _OfVelocity(Homogeneous):
    """The correlation of velocities of a given spectrum, as a tensor of each wave vector."""

    spectrum: Tensor

    def cross_spectrum(self, problem: "Problem") -> Tensor:
        """Twice the spectrum, across the wave vector."""
        across = directions(problem.shape[1:])
        return 2 * self.spectrum * across.unsqueeze(1) * across.conj().unsqueeze(0)


def density(spectrum: Spectrum, length: float, grid: tuple[int, ...], there: Tensor | None = None) -> Tensor:
    """A spectrum of mean one on a grid, without the modes that are too small.

    Args:
        spectrum: The family.
        length: The correlation length.
        grid: The grid.
        there: Which modes there are, with shape ``grid``; all if omitted.

    Returns:
        The density, with shape ``grid``.
    """
    k = torch.stack(wave_vectors(grid)).square().sum(dim=0).sqrt()
    return normalised(spectrum(k * length, len(grid)), there)


def normalised(found: Tensor, there: Tensor | None = None) -> Tensor:
    """A density of mean one, without the modes that are too small, or not there."""
    found = found if there is None else torch.where(there, found, 0)
    found = torch.where(found < LEAST**2 * found.max(), 0, found)
    return found / found.mean()


def moving(grid: tuple[int, ...]) -> Tensor:
    """The modes of a streamfunction that have a velocity, with shape ``grid``."""
    waves = wave_vectors(grid)
    fast = torch.stack([k.abs() > pi - 1e-9 for k in waves]).any(dim=0)
    return ~fast & (torch.stack(waves).square().sum(dim=0) > 0)


def directions(grid: tuple[int, ...]) -> Tensor:
    """The velocity of a unit streamfunction, over the wave number, with shape ``(2, H, W)``; zero where it has none."""
    ky, kx = wave_vectors(grid)
    norm = (kx.square() + ky.square()).sqrt()
    across = 1j * torch.stack((ky, -kx)) / torch.where(norm > 0, norm, 1)
    return torch.where(moving(grid), across, 0)


def solenoidal_root(spectrum: Tensor, like: Tensor) -> Circulant:
    """The root of velocities without divergence, of a spectrum of mean one, with shape ``(H, W)``."""
    grid = tuple(spectrum.shape)
    with torch.inference_mode(False), torch.no_grad():
        amplitude = half((2 * spectrum).sqrt(), grid)
        across = half(directions(grid), grid)
        symbol = (amplitude * across).unsqueeze(1)
        inverse = (torch.where(amplitude > 0, 1 / amplitude, 0) * across.conj()).unsqueeze(0)
        return circulant(symbol, inverse, grid, False, like)


def check_plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Checks that states are velocities on a plane, and returns the shape of their streamfunction.

    Raises:
        ValueError: If they are not.
    """
    if len(shape) != 3 or shape[0] != 2:
        raise ValueError(
            f"correlation: velocities without divergence have two channels on a plane, (2, H, W), and states are "
            f"{shape}; choose another kind"
        )
    return (1, *shape[1:])


def _check_grid(shape: tuple[int, ...]) -> None:
    """Raises if states have no grid."""
    if len(shape) < 2:
        raise ValueError(f"correlation: a spectrum needs states on a grid, and they are {shape}; choose another kind")


def _several(length: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """One length for each channel."""
    return tuple(length) if isinstance(length, Sequence) else (length,) * channels
