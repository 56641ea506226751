"""Learned posteriors, and how they are trained."""

from .dpe import DirectPosterior
from .estimator import DensityEstimator, Estimator, pieces
from .features import Features, Standardizer
from .npe import NeuralPosterior
from .target import ControlTarget, StateTarget, Target
from .training import States, Training, TrainingError

__all__ = [
    "ControlTarget",
    "DensityEstimator",
    "DirectPosterior",
    "Estimator",
    "Features",
    "NeuralPosterior",
    "Standardizer",
    "StateTarget",
    "States",
    "Target",
    "Training",
    "TrainingError",
    "pieces",
]
