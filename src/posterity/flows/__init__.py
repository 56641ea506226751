"""Normalizing flows: densities over fields and vectors, conditioned on a context."""

from .flow import ConditionalFlow, Flow
from .gaussians import Delta, DiagonalGaussian, FullGaussian
from .multiscale import MultiScale
from .vector import AutoregressiveSpline, CouplingSpline, MaskedAutoregressive

__all__ = [
    "AutoregressiveSpline",
    "ConditionalFlow",
    "CouplingSpline",
    "Delta",
    "DiagonalGaussian",
    "Flow",
    "FullGaussian",
    "MaskedAutoregressive",
    "MultiScale",
]
