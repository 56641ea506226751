"""Learned posteriors, and how they are trained."""

from .batches import Batches, States
from .diffusion import Denoiser, Schedule, denoising_loss
from .dpe import DirectPosterior
from .estimator import DensityEstimator, Estimator, pieces
from .features import Features, Standardizer
from .npe import NeuralPosterior
from .refinement import Refined, Refinement
from .samplers import Sampler
from .target import ControlTarget, StateTarget, Target
from .training import OutOfTimeError, Training, TrainingError

__all__ = [
    "Batches",
    "ControlTarget",
    "Denoiser",
    "DensityEstimator",
    "DirectPosterior",
    "Estimator",
    "Features",
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
