"""Localisation: tapers of observations by their distance on periodic grids."""

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Tensor


def gaspari_cohn(distance: Tensor, length: float) -> Tensor:
    r"""The fifth-order piecewise rational function of Gaspari and Cohn, with :math:`r = d / L`:

    .. math::
        \rho(r) = \begin{cases}
            1 - \tfrac53 r^2 + \tfrac58 r^3 + \tfrac12 r^4 - \tfrac14 r^5 & r \leq 1 \\
            4 - 5 r + \tfrac53 r^2 + \tfrac58 r^3 - \tfrac12 r^4 + \tfrac1{12} r^5 - \tfrac{2}{3 r} & 1 < r \leq 2 \\
            0 & r > 2
        \end{cases}

    Args:
        distance: Distances :math:`d`, with shape ``(*)``.
        length: The half-width :math:`L` of the support, in the unit of the distances.

    Returns:
        The correlations, between 0 and 1, with the same shape.

    References:
        | Construction of correlation functions in two and three dimensions (Gaspari & Cohn, 1999),
          https://doi.org/10.1002/qj.49712555417
    """
    r = distance / length
    near = 1 + r**2 * (-5 / 3 + r * (5 / 8 + r * (1 / 2 - r / 4)))
    outer = r.clamp(min=1)  # away from the pole, where this branch does not count
    far = 4 - 5 * outer + outer**2 * (5 / 3 + outer * (5 / 8 + outer * (-1 / 2 + outer / 12))) - 2 / (3 * outer)
    return torch.where(r <= 1, near, torch.where(r < 2, far, 0)).clamp(min=0)


def distances(grid: Sequence[int], sites: Tensor) -> Tensor:
    """Distances from each site of a periodic grid to some of its sites.

    Args:
        grid: The sizes of the grid; its spacing is 1 along each dimension.
        sites: Indices into the flattened grid, with shape ``(m,)``.

    Returns:
        The Euclidean distances, the shorter way around along each dimension, with shape ``(prod(grid), m)``.
    """
    every = torch.arange(prod(grid), device=sites.device).unsqueeze(-1)
    square = torch.zeros(len(every), len(sites), dtype=torch.double, device=sites.device)
    stride = len(every)
    for size in grid:
        stride //= size
        apart = (every // stride % size - sites // stride % size).abs()
        square = square + torch.minimum(apart, size - apart).square()
    return square.sqrt()


def taper(grid: Sequence[int], sites: Tensor, radius: float | None) -> Tensor:
    r"""The factors of the observations' precisions in the analysis at each site of a periodic grid.

    Args:
        grid: The sizes of the grid.
        sites: Where the observations stand, as indices into the flattened grid, with shape ``(m,)``.
        radius: The radius, in grid spacings, of a Gaussian :math:`\exp(-d^2 / 2 r^2)`, which the function of Gaspari
            and Cohn with :math:`L = \sqrt{10/3}\, r` approximates: the factor is zero from some 3.65 radii on. None
            or infinity for factors of 1.

    Returns:
        The factors, with shape ``(prod(grid), m)``.
    """
    distance = distances(grid, sites)
    if radius is None or radius == float("inf"):
        return torch.ones_like(distance)
    return gaspari_cohn(distance, sqrt(10 / 3) * radius)
