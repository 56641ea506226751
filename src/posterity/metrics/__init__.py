"""Scores and diagnostics of posteriors: NumPy and xarray, lazily over dask."""

from .averages import standard_error
from .c2st import c2st
from .calibration import (
    COVERED,
    calibrated_log_likelihood,
    coverage,
    expected_log_likelihood,
    misfit,
    pit,
    rank_histogram,
)
from .columns import rows
from .credible import expected_coverage, hpd_rank, predictive_coverage, tarp_rank
from .distances import (
    classifier_test,
    covariance_error,
    kernel_distances,
    mean_error,
    sliced_wasserstein,
    std_error,
    trajectory_wasserstein,
    wasserstein,
)
from .evaluate import evaluate
from .fields.quantities import axes_of, derivative, divergence, length, quantities, quantity, velocities
from .fields.spectra import fields_of, resolved, spectra, spectrum
from .judgement.verdict import Judged, Verdict, judge
from .multivariate import energy_score, variogram_score
from .parameters import parameter_scores
from .ranks import entry_rank, parameter_rank, uniformity
from .reference import against_reference
from .roc import RATES, auc, true_positive_rate
from .scores import crps, log_score, mean, rmse, spread, variance
from .summary import calibrated, cycle_average, judged_moment, spread_skill, summarize
from .table import attributes

__all__ = [
    "COVERED",
    "RATES",
    "Judged",
    "Verdict",
    "against_reference",
    "attributes",
    "auc",
    "axes_of",
    "c2st",
    "calibrated",
    "calibrated_log_likelihood",
    "classifier_test",
    "covariance_error",
    "coverage",
    "crps",
    "cycle_average",
    "derivative",
    "divergence",
    "energy_score",
    "entry_rank",
    "evaluate",
    "expected_coverage",
    "expected_log_likelihood",
    "fields_of",
    "hpd_rank",
    "judge",
    "judged_moment",
    "kernel_distances",
    "length",
    "log_score",
    "mean",
    "mean_error",
    "misfit",
    "parameter_rank",
    "parameter_scores",
    "pit",
    "predictive_coverage",
    "quantities",
    "quantity",
    "rank_histogram",
    "resolved",
    "rmse",
    "rows",
    "sliced_wasserstein",
    "spectra",
    "spectrum",
    "spread",
    "spread_skill",
    "standard_error",
    "std_error",
    "summarize",
    "tarp_rank",
    "trajectory_wasserstein",
    "true_positive_rate",
    "uniformity",
    "variance",
    "variogram_score",
    "velocities",
    "wasserstein",
]
