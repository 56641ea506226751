"""The kinds of files that hold scores, made of the table of scores.

Apart from the other kinds, so that a new score redoes no training and no draw: what makes those does not import this.
"""

from collections.abc import Mapping
from dataclasses import replace

from ..metrics.score import Source, Units
from ..metrics.table import scores_of
from .schema import Schema, Variable


def _variables(source: Source) -> dict[str, Variable]:
    """The variables that hold the scores of some source, and their floors."""
    return {
        name: Variable(score.dims, score.required, score.label) for score in scores_of(source) for name in score.names
    }


#: The scores of one method, and how well a network tells the truth from its draws.
_METRICS, _CLASSIFIER = _variables(Source.METRICS), _variables(Source.CLASSIFIER)

#: The scores of all methods, side by side.
_COMPARISON = _METRICS | {name: replace(variable, required=False) for name, variable in _CLASSIFIER.items()}

#: The numbers of each training of each method, for the comparison of variants: descriptions and units.
TRAININGS: Mapping[str, tuple[str, Units]] = {
    "log_score": ("log score of the truth, of standardised states", Units.NAT),
    "log_score_error": ("its standard error over cases", Units.NAT),
    "auc": ("area under the curve of the classifier in state space", Units.ONE),
    "auc_error": ("its standard error over cases", Units.ONE),
    "crps": ("fair CRPS at the end of the window", Units.STATE),
    "crps_error": ("its standard error over cases", Units.STATE),
    "sampling_seconds": ("wall time per 1000 draws of a case", Units.SECOND),
    "valid_loss": ("best validation loss", Units.ONE),
    "training_seconds": ("wall time of the training", Units.SECOND),
    "parameters": ("number of weights", Units.ONE),
}

#: The same as variables of a file, and what they stand beside.
_SCALING = {name: Variable(("variant", "method", "seed"), True, label) for name, (label, _) in TRAININGS.items()} | {
    "parameter_coverage": Variable(("variant", "method", "seed", "parameter"), False, "coverage of parameters"),
    "published_log_score": Variable(("variant", "method"), True, "the log score that is published"),
    "size": Variable(("variant",), True, "number of entries of a state"),
    "window": Variable(("variant",), True, "number of assimilated states"),
}

SCORES: Schema = {
    "metrics": _METRICS,
    "classifier": _CLASSIFIER,
    "comparison": {name: replace(v, dims=("method", *v.dims)) for name, v in _COMPARISON.items()},
    "scaling": _SCALING,
}
