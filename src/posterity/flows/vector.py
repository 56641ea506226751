"""Flows over vectors: fields are flattened, and every entry sees every other."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ..nn.layers import check_hidden
from .autoregressive import MonotoneMaps
from .flow import ConditionalFlow, Flow, log_normal


class VectorModule(ConditionalFlow):
    """A flow over flattened fields, given flattened fields.

    Args:
        shape: The shape of what it is a density of.
        maps: Its maps, from what it is a density of to a standard normal vector.
    """

    def __init__(self, shape: Sequence[int], maps: Sequence[MonotoneMaps]) -> None:
        super().__init__()
        self.shape, self.maps = tuple(shape), nn.ModuleList(maps)

    def reset(self) -> None:
        """Makes it the identity."""
        for maps in self.maps:
            maps.reset()  # type: ignore[operator]

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density of fields of shape ``(case, *shape)``."""
        noise, log_det = self(z.flatten(1).mT.contiguous(), context.flatten(1).mT)
        return log_normal(noise.mT) + log_det

    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density."""
        noise = torch.randn(prod(self.shape), len(context), dtype=context.dtype, device=context.device)
        z, log_q = noise, log_normal(noise.mT)
        for maps in reversed(self.maps):
            z, log_det = maps.inverse(z, context.flatten(1).mT)  # type: ignore[operator]
            log_q = log_q + log_det
        return z.mT.unflatten(-1, self.shape), log_q

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """From vectors to noise.

        Args:
            z: The vectors, with shape ``(entries, case)``.
            context: What is given, with shape ``(size, case)``.

        Returns:
            The noise, with the shape of ``z``, and the logarithm of the Jacobian's determinant, with shape ``(case,)``.
        """
        total = z.new_zeros(z.shape[1])
        for maps in self.maps:
            z, log_det = maps(z, context)
            total = total + log_det
        return z, total


class VectorPlan(Flow):
    """What the plans of flows over vectors share; by default they are autoregressive.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network.
        bins: The number of bins of each spline; 0 for affine maps only.
    """

    def __init__(self, transforms: int, hidden: Sequence[int], bins: int) -> None:
        if transforms < 1:
            raise ValueError(f"transforms: at least one is needed, not {transforms}")
        self.transforms, self.hidden, self.bins = transforms, check_hidden(hidden), bins

    def build(self, shape: Sequence[int], context: Sequence[int]) -> VectorModule:
        """Makes the module, for fields and vectors of any shape."""
        ranks = (self.ranks(prod(shape), index) for index in range(self.transforms))
        return VectorModule(shape, [MonotoneMaps(each, prod(context), self.hidden, self.bins) for each in ranks])

    def ranks(self, size: int, index: int) -> Tensor:
        """The ranks of the entries in one of the transforms; forward and backward in turn by default.

        Args:
            size: The number of entries.
            index: Which transform.
        """
        return order(size, index)


class CouplingSpline(VectorPlan):
    r"""A coupling flow of monotone splines: half of the entries are transformed given the other half and the context,

    .. math:: z_b \mapsto S\!\left( \frac{z_b - \mu}{\sigma} \right), \qquad (\mu, \sigma, S) = f(z_a, c) ,

    with rational-quadratic splines :math:`S` on :math:`[-5, 5]`, the identity elsewhere. The affine map before each
    spline brings what is narrow or far from zero to where splines act. The halves are the zeros and ones
    of a binary digit of the entries' numbers, another digit for every two transforms: neighbours are split first, and
    within :math:`2 \log_2` of the number of entries any two of them. Draws cost as little as densities.

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
        """One half is left alone; a single entry has no other, and sees the context alone."""
        return -halves(size, index).long() if size > 1 else torch.zeros(1, dtype=torch.long)


class MaskedAutoregressive(VectorPlan):
    r"""An autoregressive flow of affine maps, each entry given those before it and the context,

    .. math:: z_i \mapsto \frac{z_i - \mu_i}{\sigma_i}, \qquad (\mu_i, \sigma_i) = f_i(z_{<i}, c) ,

    the order reversed from one transform to the next. One transform holds any Gaussian exactly. A draw takes as many
    passes through each network as there are entries: slow for large fields.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network.

    References:
        Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057
    """

    def __init__(self, transforms: int = 4, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__(transforms, hidden, bins=0)


class AutoregressiveSpline(VectorPlan):
    r"""A neural spline flow: autoregressive, each entry by an affine map and a monotone spline,

    .. math:: z_i \mapsto S_i\!\left( \frac{z_i - \mu_i}{\sigma_i} \right), \qquad
        (\mu_i, \sigma_i, S_i) = f_i(z_{<i}, c) ,

    with splines as those of :class:`CouplingSpline`, the order reversed from one transform to the next. The
    most flexible of the flows over vectors. A draw takes as many passes through each network as there are entries:
    slow for large fields.

    Args:
        transforms: The number of transforms.
        hidden: The widths of each transform's network.
        bins: The number of bins of each spline.

    References:
        Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """

    def __init__(self, transforms: int = 3, hidden: Sequence[int] = (128, 128), bins: int = 8) -> None:
        super().__init__(transforms, hidden, check_bins(bins))


def halves(size: int, index: int) -> Tensor:
    """Which entries the transform of some number leaves alone: half of them, and the other half in the next one."""
    digit = (index // 2) % max(1, (size - 1).bit_length())
    return (torch.arange(size) >> digit) % 2 != index % 2


def order(size: int, index: int) -> Tensor:
    """The place of each entry in the transform of some number: forward and backward in turn."""
    forward = torch.arange(size)
    return forward.flip(0) if index % 2 else forward


def check_bins(bins: int) -> int:
    """Refuses splines that cannot bend."""
    if bins < 2:
        raise ValueError(f"bins: at least two are needed, not {bins}")
    return bins
