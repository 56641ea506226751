"""The kinds of files that hold scores, made of the table of scores.

Apart from the other kinds, so that a new score redoes no training and no draw: what makes those does not import this.
"""

from collections.abc import Mapping
from dataclasses import replace

from ..metrics.table import Source, scores_of
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

#: What the variants of an experiment tell of each training of each method.
_SCALING: Mapping[str, Variable] = {
    "log_score": Variable(("variant", "method", "seed"), True, "minus the log-density of the truth, mean over cases"),
    "auc": Variable(("variant", "method", "seed"), True, "area under the curve of the classifier in state space"),
    "crps": Variable(("variant", "method", "seed"), True, "fair CRPS at the window's end, mean over cases"),
    "sampling_seconds": Variable(("variant", "method", "seed"), True, "wall time per 1000 draws of a case"),
    "valid_loss": Variable(("variant", "method", "seed"), True, "best validation loss"),
    "training_seconds": Variable(("variant", "method", "seed"), True, "wall time of the training"),
    "parameters": Variable(("variant", "method", "seed"), True, "number of weights"),
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
