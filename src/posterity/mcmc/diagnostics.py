"""Diagnostics of chains and of weights, by ArviZ."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from arviz_stats.base.array import BaseArray


#: The most coordinates that are diagnosed, evenly spread over those of a larger control.
COORDINATES = 512


class Convergence(NamedTuple):
    r"""Convergence diagnostics of the chains of each case, in the worst of its coordinates.

    Args:
        rhat: The rank-normalised split :math:`\hat R`, with shape ``(case,)``; 1 if chains agree.
        ess_bulk: The effective number of draws for the bulk, with shape ``(case,)``.
        ess_tail: That for the 5 % and 95 % quantiles, with shape ``(case,)``.
    """

    rhat: Tensor
    ess_bulk: Tensor
    ess_tail: Tensor


def convergence(draws: Tensor) -> Convergence:
    r"""Computes the convergence diagnostics of chains, in some three milliseconds per case and coordinate.

    Of large controls some hundred coordinates are taken, evenly spread.

    Args:
        draws: The draws, with shape ``(iteration, chain, case, n)``; at least 4 iterations of 2 chains.

    Returns:
        The diagnostics; those of chains that never moved are not finite.

    References:
        | Rank-Normalization, Folding, and Localization: An Improved R-hat for Assessing Convergence of MCMC
          (Vehtari et al., 2021), https://doi.org/10.1214/20-BA1221
    """
    every = -(-draws.shape[-1] // COORDINATES)
    chains = draws[..., ::every].detach().cpu().double().movedim((0, 1), (-1, -2)).numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        rhat = _arviz().rhat(chains).max(axis=-1)
        bulk = _arviz().ess(chains, method="bulk").min(axis=-1)
        tail = _arviz().ess(chains, method="tail", prob=(0.05, 0.95)).min(axis=-1)
    return Convergence(*(torch.as_tensor(each, device="cpu").to(draws) for each in (rhat, bulk, tail)))


def pareto_smooth(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Pareto-smooths the largest weights of each case.

    The shape :math:`\hat k` of the fit tells how far weights can be trusted: below 0.7 estimates are reliable with
    the number of draws that there are, beyond 1 not with any.

    Args:
        log_weights: Logarithms of the weights, with shape ``(draw, case)``, at least 25 draws; minus infinity where
            there is no weight.

    Returns:
        The logarithms of the smoothed weights, with the same shape, and :math:`\hat k`, with shape ``(case,)``. A case
        whose weights are all equal is left as it is, with :math:`\hat k = 0`, and so is one that has hardly any
        weights at all, with infinity.

    References:
        | Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao & Gabry, 2024),
          https://jmlr.org/papers/v25/19-556.html
    """
    smoothed, shape = log_weights.clone(), torch.full_like(log_weights[0], torch.inf)
    top = log_weights.sort(dim=0).values[-_tail(len(log_weights)) - 1 :]
    spread = top[-1] - top[0]
    # Weights that differ by rounding alone have no tail to fit.
    shape[spread < 1e-6] = 0.0
    fitted = (spread.isfinite() & (spread >= 1e-6)).nonzero().squeeze(-1)
    if len(fitted):
        # ArviZ takes the ratios of leave-one-out, which are minus the logarithms of the weights.
        ratios = -log_weights[:, fitted].detach().cpu().double().mT.numpy()
        found, k_hat = _arviz().psislw(ratios)
        smoothed[:, fitted] = torch.as_tensor(found, device="cpu").mT.to(smoothed)
        shape[fitted] = torch.as_tensor(k_hat, device="cpu").to(shape)
    return smoothed, shape


def _arviz() -> "BaseArray":
    """ArviZ's statistics of arrays: imported late, as it takes as long as torch and few jobs have chains or weights."""
    from arviz_stats.base import array_stats

    return array_stats


def _tail(draws: int) -> int:
    """The number of draws in the tail of the weights."""
    return int(3 * draws**0.5) if draws > 225 else draws // 5
