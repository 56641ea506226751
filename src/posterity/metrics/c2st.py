"""The classifier two-sample test: how well the draws of a method can be told from those of the reference."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scores import unit

#: Parts of the draws, each of which is classified by the others.
FOLDS = 5

#: The most draws of each side. More would tell finer differences, and methods are compared on as many.
DRAWS = 1000

#: The most principal components that are looked at, and their least standard deviation relative to the largest:
#: files are in single precision.
COMPONENTS, RESOLUTION = 100, 1e-5

#: The weight of the identity in the covariance of ``p`` features of ``n`` draws is that of so many draws per feature.
SHRINKAGE = 0.1

Array = NDArray[np.float64]


class Gaussians(NamedTuple):
    """The means, covariances and number of draws of both sides, with a leading dimension of two."""

    mean: Array
    covariance: Array
    number: Array


def c2st(draws: np.ndarray, reference: np.ndarray, seed: int = 0) -> tuple[float, float]:
    r"""The accuracy of a classifier that tells draws from those of the reference, cross-validated in five folds:

    .. math::
        \frac{1}{2} P_{x \sim q}(\hat c(x) = q) + \frac{1}{2} P_{x \sim p}(\hat c(x) = p) .

    Chance is 0.5, and 1 is complete separation. As many draws of both sides take part, 1000 at most: the accuracy
    grows with their number, so that those of a method with few draws compare with no other's.

    The classifier sums the evidence of three discriminants: a quadratic one (means and covariances), and linear ones
    of piecewise linear functions of each entry, and of each principal component (shapes of marginals). Each weighs
    as well as it separates a fold that neither trains nor tests it. What none of them sees are differences at equal
    covariances and equal marginals in both bases, such as the sign of a product of three entries.

    Equal draws, which resampling leaves behind, share a fold: otherwise it would do to remember them.

    Args:
        draws: Draws of a method, with shape ``(samples, entries)``.
        reference: Draws of the reference, with shape ``(samples, entries)``, maybe more or fewer.
        seed: Seed of the choice of draws and of the folds.

    Returns:
        The accuracy and its standard error; NaN if draws are missing (NaN) or a side has fewer than ten different
        ones. The error is the binomial one of as many draws as the different ones are worth, times 1.5 for the
        training sets that folds share.

    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), https://arxiv.org/abs/1610.06545
        | Inference for the Generalization Error (Nadeau & Bengio, 2003), https://doi.org/10.1023/A:1024068626366
    """
    if not (np.isfinite(draws).all() and np.isfinite(reference).all()):
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    count = min(len(draws), len(reference), DRAWS)
    sides = [rng.permutation(side)[:count].astype(np.float64) for side in (draws, reference)]
    groups = [_groups(side) for side in sides]
    if min(len(copies) for _, copies in groups) < 2 * FOLDS:
        return np.nan, np.nan
    fold = np.concatenate([(rng.permutation(len(copies)) % FOLDS)[group] for group, copies in groups])
    accuracy = _accuracy(*_bases(*sides), np.repeat([False, True], count), fold)
    # One over Kish's number of different draws, averaged over the mean of both sides.
    lost = sum(float((copies.astype(np.float64) ** 2).sum()) / count**2 for _, copies in groups) / 4
    # Folds are 1 / (FOLDS - 1) of their training sets, which they share.
    return accuracy, ((1 + FOLDS / (FOLDS - 1)) * accuracy * (1 - accuracy) * lost) ** 0.5


def _groups(draws: Array) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """The group of equal draws that each one belongs to, by first appearance, and the number of draws of each group."""
    first, group, copies = np.unique(draws, axis=0, return_index=True, return_inverse=True, return_counts=True)[1:]
    # Sorted by their values, as they are found, the same ranks would be tested in every case: that is no chance.
    order = first.argsort()
    return order.argsort()[group], copies[order]


def _bases(draws: Array, reference: Array) -> tuple[Array, Array]:
    """Entries in units of the reference's standard deviation, and principal components of both sides, of variance one.

    Of many entries the leading components take the place.
    """
    mean = reference.mean(axis=0)
    entries = (np.concatenate([draws, reference]) - mean) / unit(mean, reference.std(axis=0))
    if entries.shape[1] <= COMPONENTS:
        components, values, _ = np.linalg.svd(entries - entries.mean(axis=0), full_matrices=False)
        components = components * (len(entries) - 1) ** 0.5
    else:
        # Takes longer to import than all else that reads metrics, and only the leading ones of many need it.
        from sklearn.decomposition import PCA

        pca = PCA(min(*entries.shape, COMPONENTS), whiten=True, random_state=0).fit(entries)
        components, values = pca.transform(entries), pca.singular_values_
    components = components[:, values > RESOLUTION * values[0]]
    return entries if entries.shape[1] <= COMPONENTS else components, components


def _accuracy(entries: Array, components: Array, label: NDArray[np.bool_], fold: NDArray[np.int_]) -> float:
    """The accuracy over all folds, each classified by the others."""
    views = [(_quadratic, components), (_linear, _hinges(entries)), (_linear, _hinges(components))]
    sums = [_sums(features, label, fold) for _, features in views]

    def evidence(folds: list[int], tested: NDArray[np.bool_]) -> Array:
        """The evidence of each discriminant, trained on some folds, for some draws."""
        fits = [_gaussians(own, folds) for own in sums]
        return np.stack([view(fit, x[tested]) for (view, x), fit in zip(views, fits, strict=True)], axis=1)

    correct = 0
    for test in range(FOLDS):
        held = (test + 1) % FOLDS
        others = [k for k in range(FOLDS) if k not in (test, held)]
        tried = evidence(others, fold == held)
        scale = np.median(np.abs(tried), axis=0) + np.finfo(np.float64).tiny
        weight = _separation(np.arctan(tried / scale), label[fold == held])
        found = np.arctan(evidence([*others, held], fold == test) / scale) @ weight > 0
        correct += int((found == label[fold == test]).sum())
    return correct / len(label)


def _hinges(x: Array) -> Array:
    """Piecewise linear functions of each column with kinks at -1, 0 and 1, of variance one."""
    features = np.concatenate([x, *(np.abs(x - kink) for kink in (-1, 0, 1))], axis=1)
    std = features.std(axis=0)
    centred: Array = (features - features.mean(axis=0)) / np.where(std > RESOLUTION, std, 1)
    return centred


def _sums(x: Array, label: NDArray[np.bool_], fold: NDArray[np.int_]) -> Gaussians:
    """The sums of draws, of their squares, and their number, of each side and fold: those of several folds add up."""
    parts = [[x[(label == side) & (fold == k)] for k in range(FOLDS)] for side in (False, True)]
    return Gaussians(
        np.array([[part.sum(axis=0) for part in side] for side in parts]),
        np.array([[part.T @ part for part in side] for side in parts]),
        np.array([[float(len(part)) for part in side] for side in parts]),
    )


def _gaussians(sums: Gaussians, folds: list[int]) -> Gaussians:
    """The Gaussians of both sides, fitted to some folds; covariances are shrunk towards the identity."""
    total, squares, count = (part[:, folds].sum(axis=1) for part in sums)
    mean = total / count[:, None]
    covariance = squares / count[:, None, None] - mean[:, :, None] * mean[:, None, :]
    size = mean.shape[1]
    share = (SHRINKAGE * size / (SHRINKAGE * size + count))[:, None, None]
    return Gaussians(mean, (1 - share) * covariance + share * np.eye(size), count)


def _linear(fit: Gaussians, x: Array) -> Array:
    """Fisher's discriminant: the log ratio of two Gaussians of the same covariance."""
    slope = np.linalg.solve(fit.covariance.mean(axis=0), fit.mean[1] - fit.mean[0])
    score: Array = (x - fit.mean.mean(axis=0)) @ slope
    return score


def _quadratic(fit: Gaussians, x: Array) -> Array:
    """The log ratio of two Gaussians."""
    factor = np.linalg.cholesky(fit.covariance)
    z = np.linalg.solve(factor, (x - fit.mean[:, None]).swapaxes(1, 2))
    log_density = -0.5 * (z**2).sum(axis=1) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)[:, None]
    score: Array = log_density[1] - log_density[0]
    return score


def _separation(evidence: Array, label: NDArray[np.bool_]) -> Array:
    """How far apart each column sets the sides, squared, in its own standard deviations; none if the wrong way."""
    apart = evidence[label].mean(axis=0) - evidence[~label].mean(axis=0)
    weight: Array = (apart.clip(min=0) / (evidence.std(axis=0) + np.finfo(np.float64).tiny)) ** 2 + 1e-6
    return weight
