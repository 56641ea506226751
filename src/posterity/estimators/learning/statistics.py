"""What estimators take of more training cases than fit the memory: statistics, and what is settled in the end."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod

from ...problems import Problem, Twin
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
    size = _part(problem, train)
    twins = _observed(problem, train, STATISTICS)
    first = next(twins)
    estimator.standardize(first)
    if train.cases > size:
        estimator.measure(chain([first], twins))


def settle(estimator: Learned, problem: Problem, train: Batches, epochs: int) -> None:
    """Has an estimator take what it draws by, of as many cases as a tenth of its training had.

    Args:
        estimator: The estimator.
        problem: The problem that observations are drawn from.
        train: The training set.
        epochs: The epochs of its training.
    """
    estimator.settle(Rounds(problem, train, -(-train.cases * epochs // 10)))


@dataclass(frozen=True)
class Rounds:
    """Draws of the joint in parts, of so many cases of a set, which is gone through again and again.

    Args:
        problem: The problem that observations are drawn from.
        train: The set.
        cases: The number of cases.
    """

    problem: Problem
    train: Batches
    cases: int

    def __iter__(self) -> Iterator[Twin]:
        """The parts, from the start."""
        for done in range(0, self.cases, self.train.cases):
            yield from _observed(self.problem, self.train, self.cases - done)


def _observed(problem: Problem, train: Batches, most: int) -> Iterator[Twin]:
    """The first cases of the set, observed, in parts."""
    for states in train.parts(_part(problem, train), most):
        yield states.observe(problem)


def _part(problem: Problem, train: Batches) -> int:
    """The number of cases of a part: a batch fits the memory with its gradients, and so does one without."""
    return max(train.batch, min(STATISTICS, NUMBERS // (problem.steps * prod(problem.shape))))
