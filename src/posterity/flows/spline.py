"""Monotone rational-quadratic splines; see :mod:`posterity.flows`."""

from math import log
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

#: Splines differ from the identity on ``[-BOUND, BOUND]`` only.
BOUND = 5.0

#: The largest ratio of two bins' widths or heights, and of two slopes to one.
RANGE = 1e3


def spline(x: Tensor, raw: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
    r"""A monotone rational-quadratic spline :math:`S` of each entry; with zero parameters it is the identity.

    It can be differentiated once.

    Args:
        x: The arguments, with shape ``(*batch,)``.
        raw: Unconstrained widths and heights of the bins, and slopes at the knots between them, with shape
            ``(3 * bins - 1, *batch)``.
        inverse: Whether to invert it instead.

    Returns:
        The values, with the shape of ``x``, and the logarithm of the slope: that of the spline, not of its inverse.

    References:
        Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """
    values: tuple[Tensor, Tensor] = _Spline.apply(x, raw.to(x).contiguous(), inverse)
    return values


def affine_spline(
    x: Tensor, log_scale: Tensor, shift: Tensor, bend: Tensor | None = None, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    r"""An affine map of each entry followed by a spline, :math:`S(e^s x + m)`.

    Args:
        x: The arguments.
        log_scale: The logarithm of the scale, :math:`s`, with the shape of ``x``.
        shift: The shift :math:`m`, with the same shape.
        bend: The parameters of :func:`spline`; None for no spline.
        inverse: Whether to invert it instead.

    Returns:
        The values, and the logarithm of the slope: that of the map, not of its inverse.
    """
    if inverse:
        y, log_slope = (x, None) if bend is None else spline(x, bend, inverse=True)
        y = (y - shift) * (-log_scale).exp()
    else:
        y = torch.addcmul(shift, x, log_scale.exp())
        y, log_slope = (y, None) if bend is None else spline(y, bend)
    return y, log_scale if log_slope is None else log_scale + log_slope


class _Spline(torch.autograd.Function):
    """The spline with its gradient written out: recorded one by one, its eighty small operations take twice as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Evaluates the spline in the bin of each entry; only widths, heights and slopes of that bin are scaled."""
        bins = (len(raw) + 1) // 3
        inside = x.abs() < BOUND
        # Distances from the left end; what is outside takes part as the middle, and is dropped in the end.
        at = torch.where(inside, x, 0) + BOUND
        sizes = raw[: 2 * bins].unflatten(0, (2, bins))
        damping = _damping(sizes, log(RANGE) / 2)
        # A softmax, but for the division.
        shares = (sizes * damping).exp_()
        sums = shares.cumsum(dim=1)
        scale = 2 * BOUND / sums[:, -1]
        index = (sums[int(inverse), :-1] * scale[int(inverse)] <= at).sum(dim=0)
        here, ends = index.expand(2, 1, *index.shape), torch.stack((index, index + 1))
        size = shares.gather(1, here).squeeze(1) * scale
        start = sums.gather(1, here).squeeze(1) * scale - size
        # The tails have a slope of one, as the knots between have where their parameters are zero.
        slope = functional.pad(raw[2 * bins :], (0, 0) * index.dim() + (1, 1)).gather(0, ends)
        bending = _damping(slope, log(RANGE))
        slope = slope.mul_(bending).exp_()
        (x0, y0), (width, height), (d0, d1) = start, size, slope
        s = height / width
        bend = torch.sub(d0 + d1, s, alpha=2)
        if inverse:
            rise = at - y0
            b = torch.addcmul(height * d0, rise, bend, value=-1)
            root = torch.addcmul(b.square(), rise * s, height * s - b, value=4).clamp_(min=0).sqrt_()
            xi = 2 * s * rise / (b + root)
        else:
            xi = (at - x0) / width
        rest = 1 - xi
        square, mixed = xi.square(), xi * rest
        denominator = torch.addcmul(s, bend, mixed)
        if not inverse:
            rise = height * torch.addcmul(s * square, d0, mixed) / denominator
        rate = torch.addcmul(d1 * square, d0, rest.square()).addcmul_(s, mixed, value=2)
        steep = rate * (s / denominator).square()
        value = torch.addcmul(x0, xi, width) if inverse else y0 + rise
        ctx.inverse = inverse
        ctx.save_for_backward(
            inside, index, shares, damping, scale, start, size, slope, bending, xi, rise, denominator, rate, steep
        )
        return torch.where(inside, value - BOUND, x), torch.where(inside, steep.log(), 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_value: Tensor, grad_log_slope: Tensor) -> tuple[Tensor, Tensor, None]:
        r"""The gradient; that of the inverse :math:`x` is that of the value, times :math:`-dx / dy`."""
        inside, index, shares, damping, scale, start, size, slope, bending, *found = ctx.saved_tensors
        xi, rise, denominator, rate, steep = found
        g_value, g_log = torch.where(inside, grad_value, 0), torch.where(inside, grad_log_slope, 0)
        (width, height), (d0, d1) = size, slope
        s, rest = height / width, 1 - xi
        square, mixed, turn = xi.square(), xi * rest, rest - xi
        # Of the logarithm of the slope, 2 log(s / denominator) + log(rate), by xi alone.
        by_rate = g_log / rate
        g_xi = by_rate * (s * turn + d1 * xi - d0 * rest) - g_log * (d0 + d1 - 2 * s) * turn / denominator
        if ctx.inverse:
            g_y = (g_value + 2 * g_xi / width) / steep
            g_value = -g_y
        g_x = (torch.addcmul(2 * g_xi, g_value * steep, width)) / width
        by_rise = g_value * height / denominator
        by_denominator = (2 * g_log + g_value * rise) / denominator
        g_s = (by_rise * square + 2 * (by_rate * mixed + g_log / s) - by_denominator * (1 - 2 * mixed)) / width
        g_slope = torch.stack(
            (
                torch.addcmul(mixed * (by_rise - by_denominator), by_rate, rest.square()),
                torch.addcmul(by_rate * square, by_denominator, mixed, value=-1),
            )
        )
        g_size = torch.stack((-torch.addcmul(g_s * s, g_x, xi), torch.addcdiv(g_s, g_value * rise, height)))
        g_start = torch.stack((-g_x, g_value))
        # Where each bin starts is a sum over those before it, and all are shares of the sum over all of them.
        bins = shares.shape[1]
        shared = (g_start * start).addcmul_(g_size, size) / (-2 * BOUND)
        before = torch.arange(bins, device=index.device).view(-1, *(1,) * index.dim()) < index
        g_shares = torch.addcmul(shared.unsqueeze(1), before.to(start), g_start.unsqueeze(1))
        g_shares.scatter_add_(1, index.expand(2, 1, *index.shape), g_size.unsqueeze(1))
        g_shares.mul_(shares).mul_(damping).mul_(damping)
        g_raw = shares.new_zeros(3 * bins, *index.shape)
        # Knots stand behind the sizes; sizes then take the place of the first knot, and the last one is cut off.
        ends = torch.stack((index, index + 1))
        g_raw[2 * bins - 1 :].scatter_(0, ends, g_slope * slope * bending.square())
        torch.mul(g_shares, scale.unsqueeze(1), out=g_raw[: 2 * bins].unflatten(0, (2, bins)))
        g_in = g_y if ctx.inverse else g_x
        return torch.where(inside, g_in, grad_value), g_raw[:-1], None


def soft_clip(x: Tensor, limit: float) -> Tensor:
    """A smooth clip to ``[-limit, limit]``, near the identity around zero."""
    return x / (1 + x.abs() / limit)


def _damping(x: Tensor, limit: float) -> Tensor:
    """The factor by which :func:`soft_clip` multiplies; its square is the slope."""
    return x.abs().div_(limit).add_(1).reciprocal_()
