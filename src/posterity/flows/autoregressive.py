"""Monotone maps of the entries of vectors, each given entries of lower rank and a context; see :mod:`posterity.flows`.

Entries are first here, ``(entry, case)``, and so are the parameters of each map: operations on whole rows of cases are
fast, and splines take their parameters as rows.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

from .spline import RANGE, affine_spline, soft_clip


class Masked(nn.Linear):
    """The weights of a masked linear layer, which :class:`Conditioner` applies.

    Args:
        mask: True where a weight is kept, False where it is zero, with shape ``(outputs, inputs)``.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight), persistent=False)

    def kept(self) -> Tensor:
        """The weights that the mask keeps, and zeros."""
        return self.weight * self.mask


class Conditioner(nn.Module):
    r"""A masked perceptron that gives the parameters of each entry's map from the entries of lower rank and a context.

    Each hidden unit has the rank of some entry, and sees the entries below it and the hidden units up to it; so do the
    parameters of an entry.

    Args:
        ranks: The rank of each input entry.
        steered: The rank of each entry that is mapped.
        numbers: The number of parameters of each map.
        context: The size of the context; 0 for none.
        hidden: The widths of its layers; those below the number of ranks are raised to it.

    References:
        MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), https://arxiv.org/abs/1502.03509
    """

    def __init__(self, ranks: Tensor, steered: Tensor, numbers: int, context: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.numbers = numbers
        # Spread evenly over the ranks that there are. Each has a unit in each layer, or what is steered at that rank
        # would never see the entries just below it.
        levels = steered.unique()
        units = [levels[torch.arange(width) * len(levels) // width] for width in (max(w, len(levels)) for w in hidden)]
        masks = [ranks < units[0].unsqueeze(-1)]
        masks += [seen <= unit.unsqueeze(-1) for seen, unit in pairwise((*units, steered.repeat(numbers)))]
        self.first, *others = map(Masked, masks)
        self.others = nn.ModuleList(others)
        self.given = nn.Linear(context, len(units[0]), bias=False) if context else None

    def steer(self, context: Tensor) -> Tensor:
        """The bias of the first layer that the context gives, once for all entries, with shape ``(hidden, case)``.

        Args:
            context: The contexts, with shape ``(size, case)``.
        """
        bias = self.first.bias.unsqueeze(-1)
        return bias if self.given is None else torch.addmm(bias, self.given.weight, context)

    def kept(self) -> list[Tensor]:
        """The masked weights of all layers, once for all passes."""
        return [self.first.kept(), *(layer.kept() for layer in self.others)]  # type: ignore[operator]

    def forward(self, z: Tensor, steer: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """The parameters of the maps.

        Args:
            z: The entries, with shape ``(entries, case)``.
            steer: The bias of :meth:`steer`.
            kept: The weights of :meth:`kept`.

        Returns:
            The parameters, with shape ``(numbers, steered entries, case)``.
        """
        x = torch.addmm(steer, kept[0], z)
        for layer, weights in zip(self.others, kept[1:], strict=True):
            x = torch.addmm(layer.bias.unsqueeze(-1), weights, functional.silu(x))  # type: ignore[operator]
        return x.unflatten(0, (self.numbers, -1))


class MonotoneMaps(nn.Module):
    r"""A triangular map of the entries of a vector, :math:`z_i \mapsto S_i(e^{s_i} z_i + m_i)`.

    Entries of negative rank are left alone. With a rank of its own for each entry it is autoregressive; with two, one
    of them negative, it is a coupling.

    Args:
        ranks: The rank of each entry: -1, or some of 0, 1, ….
        context: The size of the context :math:`c`; 0 for none.
        hidden: The widths of the hidden layers of the :class:`Conditioner`, which has as many units as ranks at least.
        bins: The number of bins of each spline; 0 for affine maps only.
    """

    moved: Tensor

    def __init__(self, ranks: Tensor, context: int, hidden: Sequence[int], bins: int) -> None:
        super().__init__()
        moved = (ranks >= 0).nonzero().squeeze(-1)
        self.all, self.passes = len(moved) == len(ranks), len(ranks[moved].unique())
        self.register_buffer("moved", moved, persistent=False)
        self.sizes = (1, 1, 3 * bins - 1) if bins else (1, 1)
        self.conditioner = Conditioner(ranks, ranks[moved], sum(self.sizes), context, hidden)

    def reset(self) -> None:
        """Sets the map to the identity."""
        for parameter in self.conditioner.others[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Maps vectors of shape ``(entries, case)``, given contexts of shape ``(size, case)``.

        Returns:
            The image, and the logarithm of the Jacobian's determinant, with shape ``(case,)``.
        """
        numbers = self._numbers(z, self.conditioner.steer(context), self.conditioner.kept())
        moved, log_slope = affine_spline(self._take(z), *numbers)
        return self._put(z, moved), log_slope.sum(dim=0)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Inverts the map, rank by rank; the log-determinant is that of the map itself, not of its inverse."""
        steer, kept, image = self.conditioner.steer(context), self.conditioner.kept(), self._take(z)
        for _ in range(self.passes):
            moved, log_slope = affine_spline(image, *self._numbers(z, steer, kept), inverse=True)
            z = self._put(z, moved)
        return z, log_slope.sum(dim=0)

    def _numbers(self, z: Tensor, steer: Tensor, kept: Sequence[Tensor]) -> list[Tensor]:
        """Log-scales, shifts and spline parameters of the moved entries, in the precision of the entries."""
        log_scale, shift, *bend = self.conditioner(z, steer, kept).to(z).split(self.sizes)
        return [soft_clip(log_scale.squeeze(0), log(RANGE)), shift.squeeze(0), *bend]

    def _take(self, z: Tensor) -> Tensor:
        """Selects the entries that are moved."""
        return z if self.all else z[self.moved]

    def _put(self, z: Tensor, moved: Tensor) -> Tensor:
        """Replaces the entries that are moved."""
        return moved if self.all else z.index_copy(0, self.moved, moved)
