"""How the coordinates of a frame follow a posterior that is not Gaussian, to third order of its cost."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...problems import Control
from ...tensors import append_dims
from .coordinates import LaplaceCoordinates

#: The step of differences, in standard deviations of a direction.
STEP = 0.5

#: The least share of a Gauss-Newton precision that curvature leaves, so that the precision stays positive.
LEAST = 0.25

#: The largest bend, in standard deviations for one of each direction: beyond, differences tell of another mode.
MOST = 10.0

#: The largest logarithm of a scale for one standard deviation, and the largest mean.
HALF = 0.5


def curved(control: Control, straight: LaplaceCoordinates, bent: int) -> LaplaceCoordinates:
    r"""The coordinates of a Gauss–Newton approximation, with the whole Hessian, and bent to third order.

    With :math:`r` the whitened misfits at the estimate, and :math:`\partial_i` the derivative along the :math:`i`-th
    axis, in its standard deviations, the precision gains :math:`r \cdot \partial_j \partial_k r`, and in the axes of
    that precision the cost of the third order is

    .. math::
        \frac16 \sum_{ijk} G_{ijk} e_i e_j e_k , \qquad
        G_{ijk} = \partial_i r \cdot \partial_j \partial_k r + \partial_j r \cdot \partial_i \partial_k r
            + \partial_k r \cdot \partial_i \partial_j r ,

    but for :math:`r \cdot \partial_i \partial_j \partial_k r`, which is left out. A term whose largest index
    :math:`i` stands alone shifts that entry, :math:`B_{ijk} = G_{ijk} / 2`; one where it stands twice scales it,
    :math:`C_{ij} = G_{iij} / 2`, which shifts the mean of the other; one where it stands three times skews it, of which
    its mean is kept: :math:`m_j = -\frac12 \sum_{i \geq j} G_{iij}`. These are curvatures of parameters in the sense
    of Bates and Watts.

    Args:
        control: The control.
        straight: The Gauss–Newton approximation, with all of its directions.
        bent: The number of directions with which the others bend, those of the largest variance first.

    Returns:
        The coordinates; as they were in windows of the prior, and where the model diverges or differences tell of
        another mode.
    """
    misfits, slopes, second = _differences(control, straight, bent)
    finite = second.isfinite().flatten(1).all(dim=-1) & slopes.isfinite().flatten(1).all(dim=-1)
    misfits, slopes, second = (
        torch.where(append_dims(finite, part.ndim - 1), part, 0) for part in (misfits, slopes, second)
    )
    full, turn = _with_hessian(straight, torch.einsum("cm,cmjk->cjk", misfits, second))
    third = torch.einsum("cim,cmjk->cijk", slopes, second)
    known = turn[:, :bent, :bent]
    bends, scales, means = _third_order(torch.einsum("cpqr,cpi,cqj,crk->cijk", third, turn, known, known))
    # Windows in the frame of the prior are those with a precision of one.
    sound = finite & (straight.values > 1).any(dim=-1) & (bends.abs() <= MOST).flatten(1).all(dim=-1)
    parts = (full.values, full.vectors, bends, scales, means)
    before = (straight.values, straight.vectors, *map(torch.zeros_like, (bends, scales, means)))
    chosen = (torch.where(append_dims(sound, new.ndim - 1), new, old) for new, old in zip(parts, before, strict=True))
    return LaplaceCoordinates(straight.origin, *chosen)


def _differences(control: Control, straight: LaplaceCoordinates, bent: int) -> tuple[Tensor, Tensor, Tensor]:
    """Misfits ``(case, m)``, their first derivatives ``(case, size, m)``, and second ``(case, m, bent, bent)``."""
    window, origin = control.problem.window, straight.origin
    axes = STEP * (straight.vectors * straight.values.rsqrt().unsqueeze(-2)).movedim(-1, 0)

    def away(step: Tensor) -> Tensor:
        """The misfits some steps away, with shape ``(step, case, m)``."""
        return torch.cat([control.mismatch(origin + step[chunk], window) for chunk in control.chunks(len(step))])

    here, ahead, behind = control.mismatch(origin, window), away(axes), away(-axes)
    along = (ahead + behind - 2 * here)[:bent]
    second = torch.diag_embed(along.movedim(0, -1))
    j, k = torch.tril_indices(bent, bent, -1, device=origin.device)
    if len(j):
        both = axes[j] + axes[k]
        mixed = 0.5 * (away(both) + away(-both) - 2 * here - along[j] - along[k]).movedim(0, -1)
        second[..., j, k] = second[..., k, j] = mixed
    return here, ((ahead - behind) / (2 * STEP)).movedim(0, 1), second / STEP**2


def _with_hessian(straight: LaplaceCoordinates, curvature: Tensor) -> tuple[LaplaceCoordinates, Tensor]:
    """The coordinates with a precision that curvature changes, and their axes as entries along those before."""
    values, vectors, curvature = straight.values.double(), straight.vectors.double(), curvature.double()
    changes, directions = torch.linalg.eigh(curvature)
    change = (directions * changes.clamp(min=LEAST - 1).unsqueeze(-2)) @ directions.mT
    root = vectors * values.sqrt().unsqueeze(-2)
    first = root[..., : curvature.shape[-1]]
    precision = root @ root.mT + first @ change @ first.mT
    values, vectors = torch.linalg.eigh(precision)
    turn = root.mT @ (vectors * values.rsqrt().unsqueeze(-2))
    like = straight.origin
    return replace(straight, values=values.to(like), vectors=vectors.to(like)), turn.to(like)


def _third_order(products: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Bends, scales and means, of the products :math:`\partial_i r \cdot \partial_j \partial_k r` that are known."""
    size, bent = products.shape[1:3]
    known = products[:, :bent]
    third = torch.cat((known + known.transpose(1, 2) + known.permute(0, 2, 3, 1), products[:, bent:]), dim=1)
    i, first = torch.arange(size, device=third.device), torch.arange(bent, device=third.device)
    bends = torch.where(i[:, None, None] > torch.maximum(first[:, None], first), 0.5 * third, 0)
    twice = 0.5 * third[:, :bent].diagonal(dim1=1, dim2=2).mT.clamp(-HALF, HALF)
    scales = pad(twice.tril(-1), (0, 0, 0, size - bent))
    means = pad(-twice.tril().sum(dim=1).clamp(-HALF, HALF), (0, size - bent))
    return bends, scales, means
