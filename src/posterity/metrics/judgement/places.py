"""Places of methods whose scores are known in the same cases: ties by the paired difference."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The level of the test that tells two methods apart.
TOLD = 0.05


def paired(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    r"""The p-value of Student's paired test that two scores have the same mean over cases:

    .. math:: t = \frac{\bar d}{s_d / \sqrt n} , \qquad d_c = a_c - b_c ,

    with :math:`n - 1` degrees of freedom. Cases differ in how hard they are far more than methods do in one case, so
    that differences are known better than the scores' own errors say.

    Args:
        one: The scores of one method, with shape ``(case,)``; NaN where it has none.
        other: Those of the other, of the same cases.

    Returns:
        The p-value, of both sides; one if less than two cases have both scores, or all differences are zero.
    """
    # Takes a second to import, which figures can do without.
    from scipy.stats import t

    both = np.isfinite(one) & np.isfinite(other)
    difference = (one - other)[both]
    if len(difference) < 2 or not difference.any():
        return 1.0
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(2 * t.sf(abs(difference.mean()) / error, len(difference) - 1)) if error > 0 else 0.0


def places(scores: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """The order of methods by their means, and the places that they take: one for those that are not told apart.

    The first of a place leads it. The next in order shares its place unless the paired test tells it from the leader
    (:data:`TOLD`), and leads a place of its own otherwise.

    Args:
        scores: The less the better, with shape ``(method, case)``; NaN where a method has none.

    Returns:
        The methods that have a score, from the best to the worst, and the place of each of them, from 1.
    """
    means = average(scores)
    order = [int(index) for index in np.argsort(means, kind="stable") if not np.isnan(means[index])]
    found: list[int] = []
    leader = 0
    for position, method in enumerate(order):
        if not position or told(scores, order[leader], method):
            leader = position
        found.append(leader + 1)
    return order, found


def told(scores: NDArray[np.float64], one: int, other: int) -> bool:
    """Whether the paired test tells two methods apart; one whose mean is infinite is told from one whose is not."""
    infinite = np.isinf(average(scores[[one, other]]))
    return bool(infinite[0] != infinite[1]) or paired(scores[one], scores[other]) < TOLD


def average(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The means over the cases that have a score, with shape ``(method,)``; NaN of a method that has none."""
    known = ~np.isnan(scores)
    totals = np.where(known, scores, 0.0).sum(axis=1)
    return np.divide(totals, known.sum(axis=1), out=np.full(len(scores), np.nan), where=known.any(axis=1))


def standard_errors(scores: NDArray[np.float64]) -> Sequence[float]:
    """The standard errors of the means; NaN of fewer than two cases, or of an infinite mean."""
    found = []
    for own in scores:
        known = own[~np.isnan(own)]
        few = len(known) < 2 or not np.isfinite(known).all()
        found.append(float("nan") if few else float(known.std(ddof=1) / np.sqrt(len(known))))
    return found
