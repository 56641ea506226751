"""Flows over vectors, and over flattened fields, in which every entry depends on every other."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ..nn.layers import check_hidden
from ..tensors import white_noise
from .autoregressive import MonotoneMaps
from .flow import ConditionalFlow, Flow, log_normal


class VectorModule(ConditionalFlow):
    """The module of a :class:`VectorPlan`: a flow over flattened fields, given flattened contexts.

    Args:
        shape: The shape of a value.
        maps: The maps, from flattened values to standard normal noise.
    """

    def __init__(self, shape: Sequence[int], maps: Sequence[MonotoneMaps]) -> None:
        super().__init__()
        self.shape, self.maps = tuple(shape), nn.ModuleList(maps)

    def reset(self) -> None:
        """Sets the flow to the identity."""
        for maps in self.maps:
            maps.reset()  # type: ignore[operator]

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density of fields of shape ``(case, *shape)``."""
        noise, log_det = self(z.flatten(1).mT.contiguous(), context.flatten(1).mT)
        return log_normal(noise.mT) + log_det

    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density."""
        noise = white_noise(context, prod(self.shape), len(context))
        z, log_q = noise, log_normal(noise.mT)
        for maps in reversed(self.maps):
            z, log_det = maps.inverse(z, context.flatten(1).mT)  # type: ignore[operator]
            log_q = log_q + log_det
        return z.mT.unflatten(-1, self.shape), log_q

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Maps vectors to noise.

        Args:
            z: The vectors, with shape ``(entries, case)``.
            context: The contexts, with shape ``(size, case)``.

        Returns:
            The noise, with the shape of ``z``, and the logarithm of the Jacobian's determinant, with shape ``(case,)``.
        """
        total = z.new_zeros(z.shape[1])
        for maps in self.maps:
            z, log_det = maps(z, context)
            total = total + log_det
        return z, total


class VectorPlan(Flow):
    """Base of the plans of flows over vectors, autoregressive by default.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network.
        bins: The number of bins of each spline; 0 for affine maps only.
        passes: The number of groups of entries, each given those before it; None for one of each entry.
    """

    def __init__(self, transforms: int, hidden: Sequence[int], bins: int, passes: int | None = None) -> None:
        if transforms < 1:
            raise ValueError(f"transforms: at least one is needed, not {transforms}")
        if passes is not None and passes < 2:
            raise ValueError(f"passes: entries see each other with two groups or more, not {passes}")
        self.transforms, self.hidden, self.bins, self.passes = transforms, check_hidden(hidden), bins, passes

    def build(self, shape: Sequence[int], context: Sequence[int]) -> VectorModule:
        """Makes the module, for fields and vectors of any shape."""
        ranks = (self.ranks(prod(shape), index) for index in range(self.transforms))
        return VectorModule(shape, [MonotoneMaps(each, prod(context), self.hidden, self.bins) for each in ranks])

    def ranks(self, size: int, index: int) -> Tensor:
        """The ranks of the entries in one of the transforms; forward and backward in turn by default, or in groups.

        Args:
            size: The number of entries.
            index: Which transform.
        """
        return order(size, index) if self.passes is None else groups(size, index, self.passes)


class CouplingSpline(VectorPlan):
    r"""A coupling flow of monotone splines: half of the entries are transformed given the other half and the context,

    .. math:: z_b \mapsto S\left( e^{s} z_b + m \right), \qquad (s, m, S) = f(z_a, c) .

    The halves are the zeros and ones of a binary digit of the entries' numbers, another digit for every two transforms:
    neighbours are split first, and :math:`2 \lceil \log_2 n \rceil` transforms split any two of :math:`n` entries.
    Draws cost as little as densities.

    Args:
        transforms: The number of transforms; an even number transforms all entries equally often.
        hidden: The widths of each transform's network.
        bins: The number of bins of each spline.

    References:
        | Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
        | Density Estimation using Real NVP (Dinh et al., 2016), https://arxiv.org/abs/1605.08803
    """

    def __init__(self, transforms: int = 6, hidden: Sequence[int] = (128, 128), bins: int = 8) -> None:
        super().__init__(transforms, hidden, check_bins(bins))

    def ranks(self, size: int, index: int) -> Tensor:
        """One half is left alone; a single entry is transformed given the context alone."""
        return -halves(size, index).long() if size > 1 else torch.zeros(1, dtype=torch.long)


class MaskedAutoregressive(VectorPlan):
    r"""A masked autoregressive flow of affine maps, each entry given those before it and the context,

    .. math:: z_i \mapsto e^{s_i} z_i + m_i, \qquad (s_i, m_i) = f_i(z_{<i}, c) ,

    the order reversed from one transform to the next. One transform holds any Gaussian exactly. A draw takes as many
    passes through each network as there are entries: slow for large fields, which may have groups of entries instead.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network. A layer with fewer units than entries (or groups) is widened to
            as many, since entries would else never depend on some of those before them.
        passes: The number of groups of entries, drawn anew for each transform, of which each is given those before it;
            None for one of each entry. A draw takes as many passes, and two make couplings, whose networks need not be
            as wide as a field has entries.

    References:
        Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057
    """

    def __init__(self, transforms: int = 4, hidden: Sequence[int] = (128, 128), passes: int | None = None) -> None:
        super().__init__(transforms, hidden, 0, passes)


class AutoregressiveSpline(VectorPlan):
    r"""A neural spline flow, autoregressive with an affine map and a monotone spline of each entry,

    .. math:: z_i \mapsto S_i\left( e^{s_i} z_i + m_i \right), \qquad (s_i, m_i, S_i) = f_i(z_{<i}, c) ,

    the order reversed from one transform to the next. The most flexible of the flows over vectors. A
    draw takes as many passes through each network as there are entries: slow for large fields.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network. A layer with fewer units than entries (or groups) is widened to
            as many, since entries would else never depend on some of those before them.
        bins: The number of bins of each spline.
        passes: The number of groups of entries; see :class:`MaskedAutoregressive`.

    References:
        Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """

    def __init__(
        self, transforms: int = 3, hidden: Sequence[int] = (128, 128), bins: int = 8, passes: int | None = None
    ) -> None:
        super().__init__(transforms, hidden, check_bins(bins), passes)


def halves(size: int, index: int) -> Tensor:
    """The entries that a transform leaves alone: half of them, and the other half in the next one."""
    digit = (index // 2) % max(1, (size - 1).bit_length())
    return (torch.arange(size) >> digit) % 2 != index % 2


def order(size: int, index: int) -> Tensor:
    """The place of each entry in the order of a transform: forward and backward in turn."""
    forward = torch.arange(size)
    return forward.flip(0) if index % 2 else forward


def groups(size: int, index: int, number: int) -> Tensor:
    """The group of each entry, of equal sizes, in a random order that depends on the transform alone."""
    generator = torch.Generator("cpu").manual_seed(index)
    return torch.randperm(size, generator=generator, device="cpu") * number // max(size, number)


def check_bins(bins: int) -> int:
    """Raises if splines have fewer than two bins, which cannot bend."""
    if bins < 2:
        raise ValueError(f"bins: at least two are needed, not {bins}")
    return bins
