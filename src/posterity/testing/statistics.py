"""Comparisons of draws with what is known of them, that carry their Monte Carlo errors."""

import torch
from torch import Tensor

from ..problems import Ensemble, GaussianPosterior, Twin
from .expect import expect

#: The two-sided level of a test at four standard errors.
LEVEL = 6.3e-5


def check_gaussian(x: Tensor, exact: GaussianPosterior) -> None:
    r"""Compares independent draws of trajectories with their exact posterior, in Monte Carlo errors.

    There are thousands of comparisons, of which some exceed 4 Monte Carlo errors by chance. So the level of the
    4-error test, 6e-5, is spent three times: on the largest of all the deviations of the mean, shared out by
    Bonferroni; and on the sum of all squared deviations of mean and of covariance, which is where a small
    bias that all cases share would show. The draws of the first state are whitened by the exact posterior, so that
    their coordinates are independent and the sums have known distributions.

    Args:
        x: Draws, with shape ``(samples, case, time, channel, n)``.
        exact: The exact posterior, of the same times.

    Raises:
        AssertionError: If mean, covariance or total variance deviate.
    """
    samples, cases = x.shape[:2]
    deviation = x.flatten(3) - exact.mean
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    z = deviation.mean(dim=0) / std * samples**0.5
    bound = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - LEVEL / z.numel() / 2))
    worst = float(z.abs().max())
    expect(worst < float(bound), f"a mean is {worst:.2f} Monte Carlo errors off, and {float(bound):.2f} are allowed")

    white = _whitened(deviation[:, :, 0].movedim(0, -1), exact.covariance[:, 0])
    n = white.shape[1]
    _expect_chi2(samples * white.mean(dim=-1).square().sum(), cases * n, "squared deviations of the mean")

    # Covariance, over all cases together: each entry of the whitened one is 1 or 0, with variance 2 or 1 over
    # the number of draws.
    pooled = torch.einsum("cis,cjs->ij", white, white) / (samples * cases)
    error = ((1 + torch.eye(n)) / (samples * cases)).sqrt()
    z = ((pooled - torch.eye(n)) / error)[tuple(torch.tril_indices(n, n))]
    _expect_chi2(z.square().sum(), len(z), "squared deviations of the covariance")
    # And the total variance by itself, so that a spread that is everywhere too large cannot hide among n² entries.
    _expect_chi2(white.square().sum(), white.numel(), "total variance")


def _whitened(deviation: Tensor, covariance: Tensor) -> Tensor:
    """Deviations in coordinates in which they are white; of a singular covariance, those that vary.

    Args:
        deviation: The deviations, with shape ``(case, n, samples)``.
        covariance: Their covariances, with shape ``(case, n, n)``.

    Returns:
        The coordinates, with shape ``(case, rank, samples)``.

    Raises:
        AssertionError: If a singular covariance says that there is no deviation, and there is.
    """
    values, vectors = torch.linalg.eigh(covariance)
    rank = int((values > 1e-9 * values[:, -1:]).sum(dim=-1).max())
    if rank == len(covariance[0]):
        return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), deviation, upper=False)
    outside = float((vectors[..., :-rank].mT @ deviation).abs().max() / values.max().sqrt())
    expect(outside < 1e-4, f"draws vary by {outside:.2g} standard deviations where the exact posterior has one value")
    return vectors[..., -rank:].mT @ deviation / values[:, -rank:].sqrt().unsqueeze(-1)


def _expect_chi2(chi2: Tensor, freedom: int, name: str) -> None:
    """Raises unless a sum is within 4 standard deviations of a chi-squared variable of some degrees of freedom."""
    off = (float(chi2) - freedom) / (2 * freedom) ** 0.5
    expect(abs(off) < 4, f"the {name}, in units of the exact posterior, is {off:+.1f} Monte Carlo errors off its own")


def check_ranks(posterior: Ensemble, twin: Twin) -> None:
    r"""Simulation-based calibration: the truth is one more draw, so its rank among the draws is uniform.

    Every rank of the first and last state of the window, and of the parameters, has a count over the cases, which are
    independent. Its chi-squared statistic must stay within the level of the 4-error test, shared out among the
    quantities by Bonferroni.

    Args:
        posterior: Independent draws, from the first state of the window on.
        twin: What they are posteriors of.

    Raises:
        AssertionError: If some quantity's ranks are not uniform.

    References:
        | Validating Bayesian inference algorithms with simulation-based calibration (Talts et al., 2018),
          https://arxiv.org/abs/1804.06788
    """
    last = twin.window.y.shape[1] - 1
    draws = [posterior.x[:, :, 0].flatten(2), posterior.x[:, :, last].flatten(2), posterior.theta]
    truth = [twin.x[:, 0].flatten(1), twin.x[:, last].flatten(1), twin.theta]
    rank = (torch.cat(draws, dim=-1) < torch.cat(truth, dim=-1)).sum(dim=0)
    bins = len(posterior.x) + 1
    expected = len(rank) / bins
    counts = torch.stack([torch.bincount(each, minlength=bins) for each in rank.mT])
    chi2 = ((counts - expected) ** 2 / expected).sum(dim=-1)
    # The distribution function of chi-squared is a regularised incomplete gamma function.
    half = torch.tensor((bins - 1) / 2)
    p_value = torch.special.gammaincc(half, chi2 / 2)
    least = float(p_value.min())
    expect(least > LEVEL / len(chi2), f"the ranks of quantity {int(p_value.argmin())} are uniform with p = {least:.1e}")
