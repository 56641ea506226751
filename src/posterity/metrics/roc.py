"""How well a score tells two sides apart: the receiver operating characteristic and the area under it."""

import numpy as np
from numpy.typing import NDArray

#: The false positive rates at which curves are given.
RATES = np.linspace(0, 1, 101)

Array = NDArray[np.float64]


def auc(positive: Array, negative: Array) -> tuple[float, float]:
    r"""The area under the curve, the probability that a positive scores higher than a negative, ties half:

    .. math::
        A = \frac{1}{n^2} \sum_{i, j} \left( 1[s_i > t_j] + \tfrac12 1[s_i = t_j] \right) .

    One half is chance. Its variance is that of DeLong, for cases that have one positive and one negative each:
    :math:`n^{-1} \mathrm{Var}_i(a_i + b_i)` with :math:`a_i` the share of negatives below positive :math:`i`, and
    :math:`b_i` that of positives above negative :math:`i`. Where all are told apart it is zero.

    Args:
        positive: The scores :math:`s` of the positives, with shape ``(cases,)``.
        negative: The scores :math:`t` of the negatives of the same cases, with the same shape.

    Returns:
        The area and its standard error; the error is NaN for a single case.

    References:
        | Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves (DeLong, DeLong &
          Clarke-Pearson, 1988), https://doi.org/10.2307/2531595
        | Nonparametric Analysis of Clustered ROC Curve Data (Obuchowski, 1997), https://doi.org/10.2307/2533958
    """
    # Takes a second to import, which jobs without classifiers can do without.
    from scipy.stats import rankdata

    count = len(positive)
    ranks = rankdata(np.concatenate((positive, negative)))
    below = (ranks[:count] - rankdata(positive)) / count
    above = 1 - (ranks[count:] - rankdata(negative)) / count
    error = (below + above).std(ddof=1) / count**0.5 if count > 1 else np.nan
    return float(below.mean()), float(error)


def true_positive_rate(positive: Array, negative: Array, rates: Array = RATES) -> Array:
    """The share of positives that are found at given shares of negatives that are taken for such.

    Args:
        positive: The scores of the positives, with shape ``(cases,)``.
        negative: Those of the negatives, with shape ``(cases,)``.
        rates: The false positive rates, with shape ``(rates,)``.

    Returns:
        The true positive rates, with shape ``(rates,)``; between the points of the curve it is straight.
    """
    threshold = np.unique(np.concatenate((positive, negative)))[::-1]
    found = [
        np.concatenate(([0.0], 1 - np.searchsorted(np.sort(side), threshold) / len(side)))
        for side in (negative, positive)
    ]
    # Where the curve rises straight up, its upper end counts.
    last = np.append(np.diff(found[0]) > 0, True)
    rate: Array = np.interp(rates, found[0][last], found[1][last])
    return rate
