"""Monotone splines."""

from math import expm1, log

import torch
from torch import Tensor
from torch.nn import functional

#: Splines act on ``[-BOUND, BOUND]``, and are the identity elsewhere.
BOUND = 5.0

#: The least width and height of a bin, as a share of all, and the least slope at a knot.
LEAST = 1e-3


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
    bins = (raw.shape[-1] + 1) // 3
    shares = LEAST + (1 - LEAST * bins) * raw[..., : 2 * bins].unflatten(-1, (2, bins)).softmax(dim=-1)
    inner = BOUND * (2 * shares[..., :-1].cumsum(dim=-1) - 1)
    # Softplus is shifted so that zero stands for a slope of one, which the tails have too.
    slopes = functional.softplus(raw[..., 2 * bins :] + log(expm1(1 - LEAST))) + LEAST
    edge = torch.full_like(inner[..., :1], BOUND)
    knots = torch.cat((-edge, inner, edge), dim=-1)
    slopes = functional.pad(slopes, (1, 1), value=1.0)

    inside = x.abs() < BOUND
    # What is outside takes part as zero, so that its gradient is finite before it is dropped.
    at = torch.where(inside, x, 0)
    index = (inner[..., 1 if inverse else 0, :] <= at.unsqueeze(-1)).sum(dim=-1, keepdim=True)
    table = torch.cat((knots, slopes.unsqueeze(-2)), dim=-2)
    ends = torch.cat((index, index + 1), dim=-1).unsqueeze(-2).expand(*index.shape[:-1], 3, 2)
    (x0, x1), (y0, y1), (d0, d1) = (pair.unbind(dim=-1) for pair in table.gather(-1, ends).unbind(dim=-2))
    width, height = x1 - x0, y1 - y0
    slope = height / width
    bend = d0 + d1 - 2 * slope
    if inverse:
        rise = at - y0
        b = height * d0 - rise * bend
        root = (b.square() + 4 * slope * rise * (height * slope - b)).clamp(min=0).sqrt()
        xi = 2 * slope * rise / (b + root)
    else:
        xi = (at - x0) / width
    mixed = xi * (1 - xi)
    denominator = slope + bend * mixed
    value = x0 + xi * width if inverse else y0 + height * (slope * xi.square() + d0 * mixed) / denominator
    rate = d1 * xi.square() + 2 * slope * mixed + d0 * (1 - xi).square()
    log_slope = 2 * (slope / denominator).log() + rate.log()
    return torch.where(inside, value, x), torch.where(inside, log_slope, 0)
