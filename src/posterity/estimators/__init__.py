"""Learned posteriors, and how they are trained."""

from .avi import AmortizedVariational
from .batches import Batches, States
from .diffusion import Denoiser, Schedule, denoising_loss
from .dpe import DirectPosterior
from .estimator import DensityEstimator, Estimator, pieces
from .features import Features, Standardizer
from .gaussians import Delta, DiagonalGaussian, FullGaussian
from .npe import NeuralPosterior
from .refinement import Refined, Refinement
from .samplers import Sampler
from .target import ControlTarget, StateTarget, Target
from .training import OutOfTimeError, Training, TrainingError

__all__ = [
    "AmortizedVariational",
    "Batches",
    "ControlTarget",
    "Delta",
    "Denoiser",
    "DensityEstimator",
    "DiagonalGaussian",
    "DirectPosterior",
    "Estimator",
    "Features",
    "FullGaussian",
    "NeuralPosterior",
    "OutOfTimeError",
    "Refined",
    "Refinement",
    "Sampler",
    "Schedule",
    "Standardizer",
    "StateTarget",
    "States",
    "Target",
    "Training",
    "TrainingError",
    "denoising_loss",
    "pieces",
]
