"""Correlations of the climatology, estimated from the ensemble of a problem's own system."""

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ...tensors import defaults_of, own_random_numbers
from .correlation import Correlation
from .root import Dense, Root
from .spectral import Homogeneous, _OfVelocity, check_plane, directions, matrix_root, normalised, solenoidal_root

if TYPE_CHECKING:
    from ..problem import Problem

#: The random numbers of the ensemble: the same in all jobs, which must have the same covariance.
SEED = 2718281828

#: The most entries of a state of which a matrix is made.
MOST = 4096


def check_estimate(scale: float, draws: int) -> None:
    """Checks that a climatological covariance has a positive factor, and draws enough to be estimated from."""
    if scale <= 0:
        raise ValueError(f"scale: the factor of the climatological covariance must be positive, not {scale}")
    if draws < 2:
        raise ValueError(f"draws: a covariance needs at least 2, not {draws}")


@dataclass(frozen=True)
class Estimated(Correlation):
    """Abstract correlation that is estimated from an ensemble of the climatology, once for each system.

    Args:
        draws: The number of draws of the ensemble.
        scale: The factor of the climatological covariance, where the problem gives no standard deviations.
    """

    has_std: ClassVar[bool] = True

    draws: int = 1000
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Checks that there are two draws, and a positive factor."""
        check_estimate(self.scale, self.draws)
        # Problems that differ in other things share their system, and its ensemble.
        object.__setattr__(self, "_known", [])

    def anomalies(self, problem: "Problem") -> Tensor:
        r"""The ensemble's anomalies, over :math:`\sqrt{N - 1}`, with shape ``(draws, *shape)``.

        Raises:
            ValueError: If all draws but one diverge.
        """
        known: list[tuple[object, object, tuple[int, int], Tensor]] = self._known  # type: ignore[attr-defined]
        for system, library, start, found in known:
            if system is problem.system and library is problem.library and start == problem.start:
                return found
        like = torch.empty(0, dtype=torch.double, device="cpu")
        with torch.inference_mode(False), torch.no_grad(), defaults_of(like), own_random_numbers(SEED):
            library = None if problem.library is None else problem.library.reference()
            x = replace(problem, library=library).climatology(problem.system, problem.draw_starts((self.draws,)))
            x = x[x.flatten(1).isfinite().all(dim=-1)]
            if len(x) < 2:
                raise ValueError(
                    f"correlation: {len(x)} of {self.draws} draws of the climatology are finite, and two are needed; "
                    "raise draws, or choose another kind"
                )
            found = (x - x.mean(dim=0)) / (len(x) - 1) ** 0.5
        known.append((problem.system, problem.library, problem.start, found))
        return found

    def variance(self, problem: "Problem") -> Tensor:
        """The climatological variances, with the shape of a state."""
        found = self.anomalies(problem).square().sum(dim=0)
        if not (found > 0).all():
            raise ValueError(
                "correlation: some entries of the climatology are the same in all draws, and have no correlation; "
                "choose another kind"
            )
        return found

    def std(self, problem: "Problem", like: Tensor) -> Tensor:
        """The climatological standard deviations, times the root of the factor."""
        return (self.scale * self.variance(problem)).sqrt().to(like).expand(problem.shape)


@dataclass(frozen=True)
class Climatology(Estimated):
    r"""Climatological correlation, as a matrix: for small states.

    Of as many draws as it takes: of :math:`N` draws its rank is below :math:`N`. Where the problem gives no standard
    deviations, the covariance is the climatological one, times a factor, and what is linear and common to all states,
    such as that they have no divergence, is common to all draws. Other standard deviations take that away.

    Args:
        draws: The number of draws of the ensemble.
        scale: The factor of the climatological covariance, where the problem gives no standard deviations.
    """

    def control(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a state."""
        if prod(shape) > MOST:
            raise ValueError(
                f"correlation: a matrix of {prod(shape)} x {prod(shape)} entries is too large; choose "
                "'climatology-spectral', or 'climatology-solenoidal'"
            )
        return shape

    def root(self, problem: "Problem", like: Tensor) -> Root:
        """The symmetric root."""
        with torch.inference_mode(False), torch.no_grad():
            root, inverse, full = matrix_root(self.matrix(problem))
            return Dense(root.to(like), inverse.to(like), problem.shape, full)

    def matrix(self, problem: "Problem") -> Tensor:
        """The correlation of the draws."""
        standard = (self.anomalies(problem) / self.variance(problem).sqrt()).flatten(1)
        return standard.mT @ standard


@dataclass(frozen=True)
class SpectralClimatology(Estimated, Homogeneous):
    r"""Climatological correlation on a periodic grid on which no place differs from others, by its cross-spectra.

    A Hermitian matrix of all channels for each wave vector, averaged over the draws, and so over all places.

    Args:
        draws: The number of draws of the ensemble.
        scale: The factor of the climatological covariance, where the problem gives no standard deviations.
    """

    def cross_spectrum(self, problem: "Problem") -> Tensor:
        """The mean periodogram of the draws, over the standard deviations of the channels."""
        standard = self.anomalies(problem) / self.variance(problem).sqrt()
        found = torch.fft.fftn(standard, dim=tuple(range(2, standard.ndim)))
        return torch.einsum("ni...,nj...->ij...", found, found.conj()) / prod(problem.shape[1:])

    def variance(self, problem: "Problem") -> Tensor:
        """The climatological variance of each channel, everywhere the same."""
        found = super().variance(problem)
        return found.flatten(1).mean(dim=1).reshape(-1, *([1] * (found.ndim - 1))).expand(found.shape)


@dataclass(frozen=True)
class SolenoidalClimatology(Estimated):
    r"""Climatological correlation of velocities without divergence on a periodic plane, by their energy spectrum.

    One number for each wave vector, averaged over the draws. The whitened field has one channel, see
    :class:`~posterity.problems.covariances.spectral.Solenoidal`. What the draws have of a mean, of a divergence, and of
    waves of two grid spacings is left out.

    Args:
        draws: The number of draws of the ensemble.
        scale: The factor of the climatological covariance, where the problem gives no standard deviations.
    """

    uniform: ClassVar[bool] = True

    def control(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(1, H, W)``."""
        return check_plane(shape)

    def root(self, problem: "Problem", like: Tensor) -> Root:
        """Velocities of a streamfunction."""
        return solenoidal_root(normalised(self._energy(problem)), like)

    def matrix(self, problem: "Problem") -> Tensor:
        """The correlation as a matrix, by the sum over all wave vectors."""
        return _OfVelocity(normalised(self._energy(problem))).matrix(problem)

    def variance(self, problem: "Problem") -> Tensor:
        """The climatological variance, the same for all entries, in the mean over both channels."""
        return (self._energy(problem).mean() / 2).expand(problem.shape)

    def _energy(self, problem: "Problem") -> Tensor:
        """The mean periodogram of the velocity across each wave vector, with shape ``(H, W)``."""
        grid = problem.shape[1:]
        found = torch.fft.fftn(self.anomalies(problem), dim=(2, 3))
        across = (directions(grid).conj() * found).sum(dim=1)
        return across.abs().square().sum(dim=0) / prod(grid)
