"""Families of spectra, isotropic in wave vectors."""

import abc
from dataclasses import dataclass

from torch import Tensor


class Spectrum(abc.ABC):
    r"""Abstract spectral density of an isotropic field, up to a factor."""

    @abc.abstractmethod
    def __call__(self, k: Tensor, dims: int) -> Tensor:
        r"""The density.

        Args:
            k: The wave numbers :math:`\kappa = |k| \ell`, in radians per correlation length.
            dims: The number of dimensions of the grid.

        Returns:
            The density at each of them, not negative.
        """


@dataclass(frozen=True)
class GaussianSpectrum(Spectrum):
    r"""Gaussian spectrum :math:`\exp(-\kappa^2 / 2)`, whose correlation is :math:`\exp(-r^2 / 2 \ell^2)`.

    So smooth that small scales are all but certain.
    """

    def __call__(self, k: Tensor, dims: int) -> Tensor:
        """The density at wave numbers."""
        return (-k.square() / 2).exp()


@dataclass(frozen=True)
class MaternSpectrum(Spectrum):
    r"""Matérn spectrum :math:`(2 \nu + \kappa^2)^{-(\nu + d / 2)}` in :math:`d` dimensions.

    Its correlation is :math:`e^{-r / \ell}` for a smoothness of one half, and Gaussian for an infinite one.

    Args:
        smoothness: The smoothness :math:`\nu`: how many derivatives fields have.
    """

    smoothness: float = 1.5

    def __post_init__(self) -> None:
        """Checks that the smoothness is positive."""
        if self.smoothness <= 0:
            raise ValueError(f"smoothness: must be positive, not {self.smoothness}")

    def __call__(self, k: Tensor, dims: int) -> Tensor:
        """The density at wave numbers."""
        return (1 + k.square() / (2 * self.smoothness)) ** -(self.smoothness + dims / 2)


@dataclass(frozen=True)
class PowerLaw(Spectrum):
    r"""Power law :math:`(1 + \kappa^2)^{-p / 2}`: flat at scales above the correlation length, steep below it.

    In two dimensions the energy at wave number :math:`|k|`, of all directions together, then falls as
    :math:`|k|^{1 - p}`.

    Args:
        slope: The slope :math:`p`.
    """

    slope: float = 4.0

    def __post_init__(self) -> None:
        """Checks that the slope is positive."""
        if self.slope <= 0:
            raise ValueError(f"slope: must be positive, not {self.slope}")

    def __call__(self, k: Tensor, dims: int) -> Tensor:
        """The density at wave numbers."""
        return (1 + k.square()) ** (-self.slope / 2)
