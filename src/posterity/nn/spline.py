"""Monotone splines."""

from math import log

import torch
from torch import Tensor
from torch.nn import functional

#: Splines act on ``[-BOUND, BOUND]``, and are the identity elsewhere.
BOUND = 5.0

#: The largest ratio of two bins' widths or heights, and of two slopes to one.
RANGE = 1e3


def spline(x: Tensor, raw: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
    r"""A monotone rational-quadratic spline of each entry; with zero parameters it is the identity,

    .. math:: y = y_k + \frac{(y_{k+1} - y_k) (s \xi^2 + d_k \xi (1 - \xi))}
        {s + (d_k + d_{k+1} - 2 s) \xi (1 - \xi)}, \qquad
        \xi = \frac{x - x_k}{x_{k+1} - x_k}, \quad s = \frac{y_{k+1} - y_k}{x_{k+1} - x_k} .

    Args:
        x: Where, with shape ``(*batch,)``.
        raw: Unconstrained widths and heights of the bins, and slopes at the knots between them, with shape
            ``(*batch, 3 * bins - 1)``.
        inverse: Whether to undo it instead.

    Returns:
        The values, with the shape of ``x``, and the logarithm of the slope: that of the spline, not of its inverse.

    References:
        Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """  # noqa: D415
    inside = x.abs() < BOUND
    # What is outside takes part as zero, so that its gradient is finite before it is dropped.
    at = torch.where(inside, x, 0)
    (x0, y0), (width, height), (d0, d1) = _bin(raw, at.detach(), inverse)
    slope = height / width
    bend = d0 + d1 - 2 * slope
    if inverse:
        rise = at - y0
        b = height * d0 - rise * bend
        root = (b.square() + 4 * slope * rise * (height * slope - b)).clamp(min=0).sqrt()
        xi = 2 * slope * rise / (b + root)
    else:
        xi = (at - x0) / width
    rest = 1 - xi
    square, mixed = xi.square(), xi * rest
    denominator = slope + bend * mixed
    value = x0 + xi * width if inverse else y0 + height * (slope * square + d0 * mixed) / denominator
    rate = d1 * square + 2 * slope * mixed + d0 * rest.square()
    log_slope = (rate * (slope / denominator).square()).log()
    return torch.where(inside, value, x), torch.where(inside, log_slope, 0)


def _bin(raw: Tensor, at: Tensor, inverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The bin of each entry: where it starts along x and y, its width and height, and the slopes at its two ends.

    A spline is a hundred small operations, so what counts is how long each takes: bins come first, where sums over
    them work on whole rows, and only what is looked up is scaled to the interval or becomes a slope.
    """
    bins = (raw.shape[-1] + 1) // 3
    raw = raw.movedim(-1, 0).contiguous()
    # A softmax, but for the division; torch's own is slow over few entries.
    shares = soft_clip(raw[: 2 * bins].unflatten(0, (2, bins)), log(RANGE) / 2).exp()
    sums = shares.cumsum(dim=1)
    scale = 2 * BOUND / sums[:, -1:]
    with torch.no_grad():
        index = (sums[int(inverse), :-1] * scale[int(inverse)] - BOUND <= at).sum(dim=0)
    here = index.expand(2, 1, *index.shape)
    sizes = shares.gather(1, here) * scale
    starts = sums.gather(1, here) * scale - sizes - BOUND
    # The tails have a slope of one, as the knots between have where their parameters are zero.
    slopes = functional.pad(raw[2 * bins :], (0, 0) * index.dim() + (1, 1)).gather(0, torch.stack((index, index + 1)))
    return starts.squeeze(1), sizes.squeeze(1), soft_clip(slopes, log(RANGE)).exp()


def soft_clip(x: Tensor, limit: float) -> Tensor:
    """The identity around zero, which does not leave ``[-limit, limit]``."""
    return x / (1 + x.abs() / limit)
