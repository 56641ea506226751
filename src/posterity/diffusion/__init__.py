"""Diffusion: noise schedules, denoisers, guidance, samplers, and densities by ordinary differential equations."""

from .denoisers import DampedResidual, Denoiser, Residual, denoising_loss, stratified
from .guidance import DPSGuidance, Guidance, Likelihood, MomentMatching, SDAGuidance
from .ode import integrate, probe, transport
from .samplers import Ancestral, Heun, PredictorCorrector, Sampler
from .schedules import Cosine, LinearBeta, Schedule, VarianceExploding

__all__ = [
    "Ancestral",
    "Cosine",
    "DPSGuidance",
    "DampedResidual",
    "Denoiser",
    "Guidance",
    "Heun",
    "Likelihood",
    "LinearBeta",
    "MomentMatching",
    "PredictorCorrector",
    "Residual",
    "SDAGuidance",
    "Sampler",
    "Schedule",
    "VarianceExploding",
    "denoising_loss",
    "integrate",
    "probe",
    "stratified",
    "transport",
]
