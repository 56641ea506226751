"""Scores and diagnostics of posteriors: NumPy and xarray, lazily over dask."""

from .c2st import c2st
from .calibration import calibrated_log_likelihood, coverage, expected_log_likelihood, pit, rank_histogram
from .distances import (
    classifier_test,
    covariance_error,
    kernel_distances,
    mean_error,
    sliced_wasserstein,
    std_error,
)
from .evaluate import evaluate
from .parameters import parameter_scores
from .ranks import entry_rank, parameter_rank, uniformity
from .reference import against_reference
from .scores import crps, mean, rmse, spread, variance
from .summary import calibrated, cycle_average, spread_skill, standard_error, summarize

__all__ = [
    "against_reference",
    "c2st",
    "calibrated",
    "calibrated_log_likelihood",
    "classifier_test",
    "covariance_error",
    "coverage",
    "crps",
    "cycle_average",
    "entry_rank",
    "evaluate",
    "expected_log_likelihood",
    "kernel_distances",
    "mean",
    "mean_error",
    "parameter_rank",
    "parameter_scores",
    "pit",
    "rank_histogram",
    "rmse",
    "sliced_wasserstein",
    "spread",
    "spread_skill",
    "standard_error",
    "std_error",
    "summarize",
    "uniformity",
    "variance",
]
