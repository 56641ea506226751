"""The probability flow, along the circle, and the divergence along it; see :mod:`posterity.diffusion`."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import cos, sin

import torch
from torch import Tensor

from ..tensors import identity
from .denoisers import Mean

#: The velocity of rows ``(rows, *shape)`` at an angle.
Velocity = Callable[[Tensor, float], Tensor]


def flow(mean: Mean) -> Velocity:
    r"""The velocity of the probability flow, :math:`d \bar x / d\varphi = (\cos\varphi\, \bar x - D) / \sin\varphi`."""
    return lambda x, angle: (cos(angle) * x - mean(x, angle)) / sin(angle)


def integrate(velocity: Velocity, x: Tensor, angles: Sequence[float]) -> Tensor:
    r"""Integrates :math:`d x / d\varphi = v(x, \varphi)` over given angles by the classical Runge–Kutta scheme.

    At angle zero the velocity of a probability flow vanishes, :math:`E[\varepsilon | z] = 0`, and is not asked for.

    Args:
        velocity: The velocity :math:`v`.
        x: Where it starts, with shape ``(rows, *shape)``.
        angles: The angles, ``steps + 1`` of them, in either direction.

    Returns:
        Where it ends, with the shape of ``x``.
    """
    for t, s in pairwise(angles):
        half, middle = (s - t) / 2, (s + t) / 2
        k1 = velocity(x, t) if t else torch.zeros_like(x)
        k2 = velocity(x + half * k1, middle)
        k3 = velocity(x + half * k2, middle)
        k4 = velocity(x + 2 * half * k3, s) if s else torch.zeros_like(x)
        x = x + half / 3 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def transport(velocity: Velocity, x: Tensor, angles: Sequence[float], probes: Tensor) -> tuple[Tensor, Tensor]:
    r"""Integrates :math:`d x / d\varphi = v(x, \varphi)` with the divergence along the path, as :func:`integrate` does.

    Args:
        velocity: The velocity :math:`v`.
        x: Where it starts, with shape ``(rows, *shape)``.
        angles: The angles, ``steps + 1`` of them, in either direction.
        probes: See :func:`probe`.

    Returns:
        Where it ends, with the shape of ``x``, and the fall of the log-density,
        :math:`\int \nabla \cdot v \, d\varphi`, with shape ``(rows,)``.
    """
    size = x[0].numel()

    def both(state: Tensor, angle: float) -> Tensor:
        with torch.enable_grad():
            x = state[:, :size].detach().requires_grad_()
            found = velocity(x.view(-1, *shape), angle).flatten(1)
            (product,) = torch.autograd.grad(found, x, probes, is_grads_batched=True)
        divergence = (probes * product).sum(dim=(0, 2))
        return torch.cat((found.detach(), divergence.unsqueeze(-1)), dim=-1)

    shape = x.shape[1:]
    end = integrate(both, torch.cat((x.flatten(1), x.new_zeros(len(x), 1)), dim=-1), angles)
    return end[:, :size].view_as(x), end[:, size]


def probe(x: Tensor, number: int) -> Tensor:
    r"""Probe vectors :math:`e_k` for the trace of Jacobians, :math:`\sum_k E[e_k^T J e_k] = \mathrm{tr}\, J`.

    The unit vectors if there are no more than ``number`` of them: the trace is then exact. Otherwise random signs,
    Hutchinson's estimate.

    Args:
        x: Points at which the Jacobians are taken, with shape ``(rows, *shape)``.
        number: The most vectors.

    Returns:
        The vectors, with shape ``(number, rows, size)``.

    References:
        | FFJORD: Free-Form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2019),
          https://arxiv.org/abs/1810.01367
    """
    rows, size = x.flatten(1).shape
    if size <= number:
        return identity(x, size).unsqueeze(1).expand(size, rows, size)
    return (2.0 * torch.randint(2, (number, rows, size), device=x.device) - 1).to(x) / number**0.5
