"""Roots of covariances: what white noise becomes, of backgrounds and of model errors."""

from .climatology import Climatology, SolenoidalClimatology, SpectralClimatology
from .correlation import Correlation
from .root import Circulant, Dense, Diagonal, Root, Scaled
from .spectra import GaussianSpectrum, MaternSpectrum, PowerLaw, Spectrum
from .spectral import Solenoidal, Spectral

__all__ = [
    "Circulant",
    "Climatology",
    "Correlation",
    "Dense",
    "Diagonal",
    "GaussianSpectrum",
    "MaternSpectrum",
    "PowerLaw",
    "Root",
    "Scaled",
    "Solenoidal",
    "SolenoidalClimatology",
    "Spectral",
    "SpectralClimatology",
    "Spectrum",
]
