"""Learned posteriors and their training."""

from .avi import AmortizedVariational
from .classifier import Classifier, ObservationView, Pairs, StateView, View
from .continuous import ContinuousFlow, Diffusion, FlowMatching, NeuralScore
from .estimator import DensityEstimator, Estimator, network_chunks
from .features import Features, Standardizer
from .guided_score import GuidedScore
from .learned import Learned
from .learning.batches import Batches, States, TrainingError
from .learning.training import OutOfTimeError, Training
from .npe import NeuralPosterior
from .nre import NeuralRatio
from .refinement import Refined, Refinement
from .target import ControlTarget, StateTarget, Target

__all__ = [
    "AmortizedVariational",
    "Batches",
    "Classifier",
    "ContinuousFlow",
    "ControlTarget",
    "DensityEstimator",
    "Diffusion",
    "Estimator",
    "Features",
    "FlowMatching",
    "GuidedScore",
    "Learned",
    "NeuralPosterior",
    "NeuralRatio",
    "NeuralScore",
    "ObservationView",
    "OutOfTimeError",
    "Pairs",
    "Refined",
    "Refinement",
    "Standardizer",
    "StateTarget",
    "StateView",
    "States",
    "Target",
    "Training",
    "TrainingError",
    "View",
    "network_chunks",
]
