"""The statistics by which inputs are standardised, of more training cases than fit the memory."""

from itertools import chain
from math import prod

from ...problems import Problem
from ..learned import Learned
from .batches import Batches

#: Cases from which inputs are standardised, and numbers of the states of those that are in memory at once.
STATISTICS, NUMBERS = 65536, 2**22


def standardize(estimator: Learned, problem: Problem, train: Batches) -> None:
    """Has an estimator take its statistics, of many cases but of a part of them at a time.

    A set of one part is all that the estimator is given. Of a larger one the first part is what weights are initialised
    from, and the statistics are those of all parts.

    Args:
        estimator: The estimator.
        problem: The problem that observations are drawn from.
        train: The training set.
    """
    # A batch fits the memory with its gradients, and so does one without.
    size = max(train.batch, min(STATISTICS, NUMBERS // (problem.steps * prod(problem.shape))))
    twins = (states.observe(problem) for states in train.parts(size, STATISTICS))
    first = next(twins)
    estimator.standardize(first)
    if train.cases > size:
        estimator.measure(chain([first], twins))
