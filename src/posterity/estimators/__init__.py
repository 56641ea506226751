"""Learned posteriors, and how they are trained."""

from .dpe import DirectPosterior
from .estimator import Estimator
from .npe import NeuralPosterior
from .training import States, Training, TrainingError

__all__ = ["DirectPosterior", "Estimator", "NeuralPosterior", "States", "Training", "TrainingError"]
