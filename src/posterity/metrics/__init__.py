"""Scores and diagnostics of posteriors: NumPy and xarray, lazily over dask."""

from .calibration import calibrated_log_likelihood, coverage, expected_log_likelihood, pit, rank_histogram
from .evaluate import evaluate
from .scores import crps, mean, rmse, spread, variance
from .summary import spread_skill, standard_error, summarize

__all__ = [
    "calibrated_log_likelihood",
    "coverage",
    "crps",
    "evaluate",
    "expected_log_likelihood",
    "mean",
    "pit",
    "rank_histogram",
    "rmse",
    "spread",
    "spread_skill",
    "standard_error",
    "summarize",
    "variance",
]
