"""Conjugate gradients for batches of positive definite systems."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Solution(NamedTuple):
    """What conjugate gradients found.

    Args:
        x: The approximate solutions, with shape ``(*batch, n)``.
        residual: What is left, :math:`b - A x`, by the recurrence, with the same shape.
        iterations: The number of products of each system, with shape ``(*batch,)``.
    """

    x: Tensor
    residual: Tensor
    iterations: Tensor


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    tolerance: Tensor,
    iterations: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> Solution:
    r"""Solves :math:`A x = b` from :math:`x = 0`, each system of the batch on its own.

    A system stops when :math:`\|b - A x\|` is within its tolerance, when its products are not finite, or when the
    curvature :math:`p^T A p` along a direction is not positive, which rounding can cause; it keeps what it has by then,
    a step that descends. Scalar products are taken in double precision.

    Args:
        apply: The product with :math:`A`, symmetric and positive definite, of batches of shape ``(*batch, n)``.
        b: The right-hand sides, with shape ``(*batch, n)``.
        tolerance: The norm of the residual that is good enough, with shape ``(*batch,)``.
        iterations: The most products.
        precondition: The product with an approximation of :math:`A^{-1}`, symmetric and positive definite; none if
            omitted.

    Returns:
        The solutions.

    References:
        | Methods of conjugate gradients for solving linear systems (Hestenes & Stiefel, 1952),
          https://doi.org/10.6028/jres.049.044
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        """Scalar products, with shape ``(*batch,)``."""
        return torch.linalg.vecdot(a.double(), b.double())

    x, residual = torch.zeros_like(b), b
    z = residual if precondition is None else precondition(residual)
    p, rho = z, dot(residual, z)
    counts = b.new_zeros(b.shape[:-1])
    active = (dot(b, b).sqrt() > tolerance) & rho.isfinite()
    for _ in range(iterations):
        if not active.any():
            break
        product = apply(p)
        counts += active
        curvature = dot(p, product)
        active = active & (curvature > 0) & curvature.isfinite()
        # Those that have stopped move no more, whatever their products are.
        length = torch.where(active, rho / curvature, 0).to(b).unsqueeze(-1)
        moves = active.unsqueeze(-1)
        x = torch.where(moves, x + length * p, x)
        residual = torch.where(moves, residual - length * product, residual)
        active = active & (dot(residual, residual).sqrt() > tolerance)
        z = residual if precondition is None else precondition(residual)
        following = dot(residual, z)
        p = torch.where(active.unsqueeze(-1), z + (following / rho).to(b).unsqueeze(-1) * p, 0)
        rho = following
    return Solution(x, residual, counts)
