"""Learned posteriors, and how they are trained."""

from .avi import AmortizedVariational
from .batches import Batches, States
from .classifier import Classifier, ObservationView, Pairs, StateView, View
from .composed import ComposedScore
from .continuous import ContinuousFlow
from .diffusion import Denoiser, Schedule, denoising_loss
from .dpe import DirectPosterior
from .estimator import DensityEstimator, Estimator, pieces
from .features import Features, Standardizer
from .fmpe import FlowMatching
from .gaussians import Delta, DiagonalGaussian, FullGaussian
from .guidance import DPSGuidance, Guidance, Likelihood, MomentMatching, SDAGuidance
from .npe import NeuralPosterior
from .nre import NeuralRatio
from .nse import NeuralScore
from .refinement import Refined, Refinement
from .samplers import Sampler
from .target import ControlTarget, StateTarget, Target
from .training import OutOfTimeError, Training, TrainingError

__all__ = [
    "AmortizedVariational",
    "Batches",
    "Classifier",
    "ComposedScore",
    "ContinuousFlow",
    "ControlTarget",
    "DPSGuidance",
    "Delta",
    "Denoiser",
    "DensityEstimator",
    "DiagonalGaussian",
    "DirectPosterior",
    "Estimator",
    "Features",
    "FlowMatching",
    "FullGaussian",
    "Guidance",
    "Likelihood",
    "MomentMatching",
    "NeuralPosterior",
    "NeuralRatio",
    "NeuralScore",
    "ObservationView",
    "OutOfTimeError",
    "Pairs",
    "Refined",
    "Refinement",
    "SDAGuidance",
    "Sampler",
    "Schedule",
    "Standardizer",
    "StateTarget",
    "StateView",
    "States",
    "Target",
    "Training",
    "TrainingError",
    "View",
    "denoising_loss",
    "pieces",
]
