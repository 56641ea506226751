"""Leading eigenpairs of symmetric matrices that are known by their products alone."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: Directions of a block. Single vectors take the fewest products where eigenvalues are distinct, but find one of each
#: pair, and symmetric problems have pairs and fours. On spectra that decay as 1/i, 1/i² and exp(-i/20), four are
#: within some per cent of the best block on each, and eight or more are not.
BLOCK = 4


class Eigenpairs(NamedTuple):
    """Eigenpairs of the symmetric matrix of each case.

    Args:
        values: The eigenvalues, with shape ``(case, rank)``, the largest first.
        vectors: The eigenvectors, with shape ``(case, n, rank)``, orthonormal.
    """

    values: Tensor
    vectors: Tensor


@torch.no_grad()
def leading_eigenpairs(product: Callable[[Tensor], Tensor], like: Tensor, rank: int, block: int = BLOCK) -> Eigenpairs:
    r"""The leading eigenpairs of positive semidefinite matrices, by block Lanczos iterations with a Rayleigh–Ritz end.

    From a random block :math:`X` the basis of :math:`\mathrm{span}(X, A X, A^2 X, …)` grows by one block per product,
    each made orthogonal to all before, twice, in double precision: so no eigenvalue is found more often than it is
    there. Directions that are in the span already give their places to random ones, which find what a Krylov space
    misses: eigenvalues of higher multiplicity than the block has directions. Eigenvalues of the projected matrix
    approach those of :math:`A` from below, the largest first, and all of them are returned. Where a whole block of
    random directions is mapped to zero, :math:`A` has been found in full; the iteration ends when all cases are there.

    The random block is the same in every call and for all cases: a case has the eigenpairs that it would have alone,
    and no random numbers are taken from others.

    Args:
        product: The products :math:`A v`, for vectors of shape ``(directions, case, n)`` in the dtype of ``like``.
        like: A tensor of the shape ``(case, n)``, whose dtype the products are taken in.
        rank: The number of directions of the basis, which is that of products with one vector.
        block: The number of directions per block.

    Returns:
        As many eigenpairs as there are directions, at most ``rank`` or :math:`n`; those that do not exist have
        eigenvalue 0. In double precision; NaN in cases whose products are not finite.

    References:
        | The Lanczos algorithm with selective orthogonalization (Parlett & Scott, 1979),
          https://doi.org/10.1090/S0025-5718-1979-0514820-3
        | Randomized block Krylov methods for stronger and faster approximate singular value decomposition
          (Musco & Musco, 2015), https://arxiv.org/abs/1504.05477
    """
    cases, n = like.shape
    rank = min(rank, n)
    generator = torch.Generator(like.device).manual_seed(0)
    basis = like.new_zeros(cases, n, 0, dtype=torch.float64)
    projected = basis.new_zeros(cases, rank, rank)
    size = basis.new_zeros(cases)
    finite = torch.ones(cases, dtype=torch.bool, device=like.device)
    complete = ~finite
    columns = basis.new_zeros(cases, n, min(block, rank))
    for start in range(0, rank, block):
        columns = columns[..., : rank - start]
        fresh = torch.randn(*columns.shape[1:], generator=generator, dtype=basis.dtype, device=basis.device)
        least = 16 * torch.finfo(like.dtype).eps * size
        columns, new = _orthonormal(columns, basis, least, fresh)
        columns = torch.where(complete[:, None, None], 0, columns)
        basis = torch.cat((basis, columns), dim=-1)
        columns = product(columns.movedim(-1, 0).to(like)).double().movedim(0, -1)
        # A case whose products are not finite must not reach the driver of eigenvalues, which refuses them.
        finite &= columns.isfinite().flatten(1).all(dim=-1)
        columns = torch.where(finite[:, None, None], columns, 0)
        largest = columns.norm(dim=1).amax(dim=-1)
        # What is zero for random vectors is zero.
        complete |= new & (largest <= least)
        size = torch.maximum(size, largest)
        rows = slice(start, basis.shape[-1])
        coefficients = basis.mT @ columns
        projected[:, : rows.stop, rows] = coefficients
        projected[:, rows, : rows.stop] = coefficients.mT
        if complete.all():
            break
    kept = basis.shape[-1]
    values, vectors = torch.linalg.eigh(projected[:, :kept, :kept])
    values = torch.where(finite[:, None], values.flip(-1), torch.nan)
    return Eigenpairs(values, basis @ vectors.flip(-1))


def _orthonormal(columns: Tensor, basis: Tensor, least: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
    """Makes columns orthonormal to a basis and among themselves, with random ones for those within its span.

    Args:
        columns: The columns, with shape ``(case, n, columns)``.
        basis: The basis, with shape ``(case, n, rank)``.
        least: What counts as zero, with shape ``(case,)``.
        fresh: Random columns, with shape ``(n, columns)``.

    Returns:
        The orthonormal columns, and whether all of them are random, with shape ``(case,)``.
    """
    # Columns of a block may depend on each other: their singular vectors do not.
    left, singular, _ = torch.linalg.svd(columns - basis @ (basis.mT @ columns), full_matrices=False)
    known = singular <= least.unsqueeze(-1)
    columns = torch.where(known.unsqueeze(-2), fresh, left)
    for _ in range(2):
        columns = torch.linalg.qr(columns - basis @ (basis.mT @ columns)).Q
    return columns, known.all(dim=-1)
