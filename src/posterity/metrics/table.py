"""The table of scores, in the order of the columns of tables.

The variables of files, the averages of a summary and the columns of tables derive from it. A new score is a function, a
call of it in :mod:`posterity.metrics.evaluate` (for parameters in :mod:`posterity.metrics.parameters`, for distances to
the reference in :mod:`posterity.metrics.reference`), and an entry here.
"""

from collections.abc import Iterator
from math import inf

from .averages import Average, cost, credible, mean, uniform, with_error
from .score import FLOOR, Head, Quantity, Score, Source, Units

#: Dimensions of fields, and of scores at each time, of each case, and of each of its parameters.
FIELD, TIMED = ("case", "time", "channel", "*"), ("case", "time")
TOTAL, PARAMETER = ("case",), ("case", "parameter")
SPECTRUM = (*TIMED, "field", "wavenumber")

ONE, STATE, SQUARE, NAT = Units.ONE, Units.STATE, Units.SQUARE, Units.NAT
REFERENCE, NOISE = Units.REFERENCE, Units.NOISE


def _at(place: int, text: str, ideal: float = -inf) -> Head:
    """The head of a score at one moment."""
    return Head(place, "at the {moment}", text, ideal=ideal)


def _distance(
    name: str, dims: tuple[str, ...], label: str, units: Units, heading: str, head: Head | None = None
) -> Score:
    """A distance to the reference, with its floor."""
    shown = (
        Quantity(name, heading, error=True, head=head),
        Quantity(name + FLOOR, f"{heading} between runs of the reference"),
    )
    return Score(name, dims, label, units, "reference", with_error, shown, optional=True, floor=True)


def _credibility(region: str, label: str, needs: str, heading: str, place: int) -> Score:
    """The credibility of the region, of some kind, at whose edge the truth is."""
    coverage, head = f"{region}_coverage", Head(place, "{level} regions", region.upper())
    shown = (
        Quantity(coverage, f"coverage of {{level}} % {heading}", head=head),
        Quantity(f"{region}_uniformity", f"p-value of credibilities {heading}", 2, beside=coverage),
    )
    return Score(f"{region}_rank", TOTAL, label, ONE, needs, credible, shown, optional=True)


def _of_parameter(name: str, heading: str, digits: int = 4, error: bool = False) -> tuple[Quantity, ...]:
    """A quantity of each parameter; tables leave it out without a truth."""
    return (Quantity(name, heading, digits, error, beside="parameter_error"),)


def _cost(
    name: str, label: str, heading: str, digits: int = 4, head: Head | None = None, optional: bool = False
) -> Score:
    """A cost of the draws of a case, or of one of them, which methods tell in their diagnostics."""
    shown = (Quantity(name, heading, digits, head=head),)
    return Score(f"info_{name}", TOTAL, label, average=cost, shown=shown, optional=optional, source=Source.DIAGNOSTIC)


SCORES: tuple[Score, ...] = (
    Score("mean", FIELD, "mean of the draws", STATE, required=True),
    Score("std", FIELD, "standard deviation of the draws", STATE, required=True),
    Score("rmse", TIMED, "RMSE of the mean", STATE, "truth", with_error, (Quantity("rmse", "RMSE", error=True),)),
    Score("spread", TIMED, "spread", STATE, "", mean, (Quantity("spread", "spread"),)),
    Score(
        "spread_skill", TIMED, "ratio of spread and error of the mean", ONE, "truth",
        shown=(Quantity("spread_skill", "spread-skill ratio", error=True, head=_at(2, "spread /\nskill", 1)),),
        source=Source.SUMMARY,
    ),
    Score(
        "crps", TIMED, "fair CRPS", STATE, "truth", with_error,
        shown=(Quantity("crps", "CRPS", error=True, head=_at(1, "CRPS")),),
    ),
    Score(
        "energy_score", TIMED, "fair energy score", STATE, "truth", with_error,
        shown=(Quantity("energy_score", "energy score", error=True),),
        optional=True,
    ),
    Score(
        "variogram_score", TIMED, "fair variogram score", STATE, "truth", with_error,
        shown=(Quantity("variogram_score", "variogram score", error=True),),
        optional=True,
    ),
    Score("rank_histogram", (*TIMED, "bin"), "entries per bin of ranks", ONE, "truth"),
    Score(
        "coverage", (*TIMED, "level"), "coverage of the central interval", ONE, "truth", mean,
        shown=(Quantity("coverage", "coverage of {level} %", head=_at(3, "{level}\ncoverage")),),
    ),
    Score(
        "rank", TIMED, "rank of the truth, one entry of each case", ONE, "truth", uniform,
        shown=(Quantity("rank_uniformity", "p-value of uniform ranks", 2),),
    ),
    Score(
        "divergence", TIMED, "divergence relative to the gradient of the velocity", ONE, "a plane", mean,
        shown=(Quantity("divergence", "relative divergence", 3),),
        optional=True,
    ),
    Score(
        "model_residual", TIMED, "distance of the draws from what the model makes of their last state", STATE,
        "a method that is trained", mean,
        shown=(Quantity("model_residual", "residual of the model", 3),),
        optional=True,
    ),
    Score(
        "transition_gap", TOTAL, "log-density of the draws' transitions above that of the model's trajectories", NAT,
        "an error of the model in every entry", with_error,
        shown=(Quantity("transition_gap", "log-density gap of transitions", error=True),),
        optional=True,
    ),
    Score("spectrum", SPECTRUM, "mean of the spectra of the draws", SQUARE, "a grid"),
    Score("spectrum_quantile", (*SPECTRUM, "quantile"), "quantiles of the spectra of the draws", SQUARE, "a grid"),
    Score("spread_spectrum", SPECTRUM, "spectrum of the spread", SQUARE, "a grid"),
    Score("truth_spectrum", SPECTRUM, "spectrum of the truth", SQUARE, "a grid, truth"),
    Score("error_spectrum", SPECTRUM, "spectrum of the error of the mean", SQUARE, "a grid, truth"),
    Score("reference_spectrum", SPECTRUM, "mean of the spectra of the reference's draws", SQUARE, "a grid, reference"),
    _distance(
        "mean_error", TIMED, "error of the mean", REFERENCE, "error of the mean to the reference",
        head=Head(9, "to reference", "mean\n(s.d.)"),
    ),
    _distance(
        "std_error", TIMED, "relative error of the standard deviation", ONE,
        heading="error of the standard deviation to the reference",
    ),
    _distance(
        "covariance_error", TIMED, "relative error of the covariance", ONE,
        heading="error of the covariance to the reference",
    ),
    _distance(
        "sliced_wasserstein", TIMED, "sliced Wasserstein-1 distance", REFERENCE,
        heading="sliced Wasserstein distance",
    ),
    Score(
        "log_likelihood", TOTAL, "expected log-likelihood", NAT, "log-likelihood of draws", with_error,
        shown=(Quantity("log_likelihood", "log-likelihood", 5, error=True),),
    ),
    Score(
        "calibrated_log_likelihood", TOTAL, "expected log-likelihood if calibrated", NAT, "", mean,
        shown=(Quantity("calibrated_log_likelihood", "log-likelihood if calibrated", 5),),
    ),
    Score(
        "log_likelihood_gap", TOTAL, "log-likelihood above the calibrated one", NAT, "log-likelihood of draws",
        average=with_error,
        shown=(
            Quantity(
                "log_likelihood_gap", "log-likelihood gap", error=True,
                head=Head(4, "log-lik.", "gap\n(nat)", ideal=0),
            ),
        ),
        source=Source.SUMMARY,
    ),
    Score(
        "misfit", TOTAL, "misfit of the draws to the observations", NOISE, "log-likelihood of draws", with_error,
        shown=(Quantity("misfit", "misfit to the observations (σ)", error=True),),
    ),
    Score(
        "log_score", TOTAL, "log score of the truth", NAT, "log-density of the truth", with_error,
        shown=(Quantity("log_score", "log score", 5, error=True, head=Head(5, "truth", "−log q\n(nat)")),),
        optional=True,
    ),
    _credibility(
        "hpd", "credibility of the region of highest density at the truth", "log-densities of truth and draws",
        "by highest density", 6,
    ),
    _credibility(
        "tarp", "credibility of the ball about a random point at the truth", "truth", "about random points", 7
    ),
    Score(
        "predictive_coverage", (*TOTAL, "level"), "coverage of the posterior predictive of the observations", ONE,
        "new observations", mean,
        shown=(Quantity("predictive_coverage", "coverage of {level} % of new observations"),),
        optional=True,
    ),
    Score(
        "auc", ("space",), "area under the curve", ONE, "truth",
        shown=(Quantity("auc", "AUC", error=True, head=Head(8, "AUC", "{space}", ideal=0.5)),),
        required=True,
        source=Source.CLASSIFIER,
    ),
    Score(
        "auc_std", ("space",), "standard error of the area under the curve", ONE, "truth",
        required=True,
        source=Source.CLASSIFIER,
    ),
    Score(
        "true_positive_rate", ("space", "false_positive_rate"), "true positive rate", ONE, "truth",
        required=True,
        source=Source.CLASSIFIER,
    ),
    _distance("wasserstein", TOTAL, "Wasserstein-1 distance", REFERENCE, "Wasserstein distance"),
    _distance(
        "trajectory_wasserstein", TOTAL, "Wasserstein-1 distance of trajectories", STATE,
        "Wasserstein distance of trajectories",
    ),
    _distance("energy_distance", TOTAL, "squared energy distance", REFERENCE, "energy distance"),
    _distance("mmd", TOTAL, "squared maximum mean discrepancy", ONE, "MMD"),
    _distance(
        "c2st", TOTAL, "accuracy of the classifier test", ONE, "C2ST",
        head=Head(10, "to reference", "C2ST", ideal=0.5),
    ),
    Score("c2st_std", TOTAL, "standard error of the classifier test", ONE, "reference"),
    Score("reference_gap", TOTAL, "largest gap between runs of the reference", REFERENCE, "reference", mean),
    Score("samples", TOTAL, "draws", average=mean),
    Score("parameter_mean", PARAMETER, "mean of the parameter", ONE, "parameters"),
    Score(
        "parameter_error", PARAMETER, "absolute error of the parameter's mean", ONE, "parameters, truth", with_error,
        shown=_of_parameter("parameter_error", "error of {parameter}", error=True),
    ),
    Score(
        "parameter_std", PARAMETER, "standard deviation of the parameter", ONE, "parameters", with_error,
        shown=_of_parameter("parameter_std", "standard deviation of {parameter}"),
    ),
    Score(
        "parameter_crps", PARAMETER, "fair CRPS of the parameter", ONE, "parameters, truth", with_error,
        shown=_of_parameter("parameter_crps", "CRPS of {parameter}", error=True),
    ),
    Score(
        "parameter_coverage", (*PARAMETER, "level"), "coverage of the parameter's central interval", ONE,
        "parameters, truth", mean,
        shown=_of_parameter("parameter_coverage", "coverage of {level} % of {parameter}"),
    ),
    Score(
        "parameter_rank", PARAMETER, "rank of the true parameter", ONE, "parameters, truth", uniform,
        shown=_of_parameter("parameter_rank_uniformity", "p-value of uniform ranks of {parameter}", 2),
    ),
    _distance(
        "parameter_mean_gap", PARAMETER, "error of the parameter's mean", REFERENCE,
        heading="error of the mean of {parameter} to the reference",
    ),
    _distance(
        "parameter_std_gap", PARAMETER, "relative error of the parameter's standard deviation", ONE,
        heading="error of the standard deviation of {parameter} to the reference",
    ),
    _distance(
        "parameter_wasserstein", PARAMETER, "Wasserstein-1 distance of the parameter", REFERENCE,
        heading="Wasserstein distance of {parameter}",
    ),
    _cost("seconds", "wall time", "wall time per case (s)", 3, Head(11, "cost per case", "time\n(s)")),
    Score(
        "seconds_per_draw", TOTAL, "wall time of a draw", Units.SECOND, average=mean,
        shown=(Quantity("seconds_per_draw", "wall time per draw", 3),),
        source=Source.SUMMARY,
    ),
    _cost("model_steps", "model steps", "model steps per case", 4, Head(12, "cost per case", "steps\n(10³)", 1e3)),
    _cost("gradients", "gradients", "gradients per case", 4, Head(13, "cost per case", "gradients\n(10³)", 1e3)),
    _cost(
        "network_calls", "evaluations of networks", "network calls per draw", 4,
        Head(14, "networks, per draw", "calls"), optional=True,
    ),
    _cost(
        "network_pullbacks", "sweeps back through networks", "network pullbacks per draw", 4,
        Head(15, "networks, per draw", "sweeps\nback"), optional=True,
    ),
    _cost("failed", "failed draws", "failed draws per case", 3),
)  # fmt: skip


def scores_of(source: Source) -> tuple[Score, ...]:
    """The scores that come from somewhere."""
    return tuple(score for score in SCORES if score.source is source)


def averaged() -> Iterator[tuple[str, Score, Average]]:
    """The variables that a summary averages over cases, floors among them, with the score that each belongs to."""
    for score in SCORES:
        if score.average is not None:
            yield from ((name, score, score.average) for name in score.names)


def headed() -> list[tuple[Quantity, Head]]:
    """The quantities of the figure ``table``, in order."""
    found = [(quantity, quantity.head) for score in SCORES for quantity in score.shown if quantity.head is not None]
    return sorted(found, key=lambda pair: pair[1].place)


def attributes(name: str, units: str = "1") -> dict[str, str]:
    """The attributes of a variable of a file.

    Args:
        name: The name of a score, or of a floor.
        units: The units of the states.

    Returns:
        Its ``long_name`` and ``units``.
    """
    score = {known: score for score in SCORES for known in score.names}[name]
    label = score.label if name == score.name else f"{score.label}, between runs of the reference"
    return {"long_name": label, "units": score.units.of(units)}
