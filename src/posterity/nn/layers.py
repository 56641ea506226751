"""Layers of networks over periodic grids: convolutions, modulated residual blocks, attention."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolution(dims: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Module:
    """A convolution over a grid of one or two dimensions, without padding."""
    return (nn.Conv1d, nn.Conv2d)[dims - 1](inputs, outputs, kernel, stride)


def wrap(x: Tensor, width: int) -> Tensor:
    """Pads periodic fields of shape ``(case, channel, *grid)`` by some sites on each side.

    Concatenation is as fast as ``torch``'s circular padding on large grids, and faster on small ones.
    """
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        x = torch.cat((x.narrow(axis, size - width, width), x, x.narrow(axis, 0, width)), dim=axis)
    return x


class PeriodicConvolution(nn.Module):
    """A convolution over a periodic grid, which keeps its size.

    Args:
        dims: The number of dimensions of the grid, 1 or 2.
        inputs: The number of channels of the input.
        outputs: The number of channels of the output.
        kernel: The width of the kernel, an odd number.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.width = kernel // 2
        self.layer = convolution(dims, inputs, outputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Applies it to fields of shape ``(case, inputs, *grid)``."""
        return self.layer(wrap(x, self.width) if self.width else x)


def standardized(channels: int) -> nn.Module:
    """A layer that standardises each field, all its channels and sites together, to mean zero and variance one.

    Translations leave both statistics alone. Fields learn faster from them than from statistics of each site's own.
    """
    return nn.GroupNorm(1, channels, affine=False)


def shrink(layer: nn.Module) -> None:
    """Initialises a layer with small weights, so that a residual branch starts near zero.

    They are not zero, so that everything before the layer has a gradient from the first step on.
    """
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=1e-3)


class Block(nn.Module):
    r"""A residual block whose input is scaled and shifted by a condition,

    .. math:: x \mapsto x + C_2 \phi\left( C_1 \left[ (1 + a(c)) \, \mathrm{norm}(x) + b(c) \right] \right) ,

    with convolutions :math:`C` and :math:`\phi` the SiLU. It is nearly the identity when training begins.

    Args:
        dims: The number of dimensions of the grid.
        channels: The number of channels.
        kernel: The width of the kernels.
        condition: The size of the condition; 0 for none.

    References:
        | FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2017),
          https://arxiv.org/abs/1709.07871
        | Scalable Diffusion Models with Transformers (Peebles & Xie, 2022), https://arxiv.org/abs/2212.09748
    """

    def __init__(self, dims: int, channels: int, kernel: int, condition: int) -> None:
        super().__init__()
        self.norm = standardized(channels)
        self.modulation = nn.Linear(condition, 2 * channels) if condition else None
        self.branch = nn.Sequential(
            PeriodicConvolution(dims, channels, channels, kernel),
            nn.SiLU(),
            PeriodicConvolution(dims, channels, channels, kernel),
        )
        shrink(self.branch[-1])

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Applies it to fields of shape ``(case, channels, *grid)`` and conditions of shape ``(case, condition)``."""
        inner = self.norm(x)
        if self.modulation is not None:
            factors = self.modulation(condition)
            scale, shift = factors.view(*factors.shape, *([1] * (x.ndim - 2))).chunk(2, dim=1)
            inner = (1 + scale) * inner + shift
        return x + self.branch(inner)


class Attention(nn.Module):
    r"""Residual self-attention of all sites of a periodic grid, with biases by relative position,

    .. math:: x_i \mapsto x_i + W_o \sum_j \mathrm{softmax}_j\left( q_i \cdot k_j / \sqrt{d} + b_{j - i} \right) v_j ,

    where :math:`b` has an entry for each offset of the periodic grid and each head, so that the layer is equivariant
    to translations.

    Args:
        channels: The number of channels, a multiple of the number of heads.
        grid: The shape of the grid.
        heads: The number of heads.

    References:
        | Attention Is All You Need (Vaswani et al., 2017), https://arxiv.org/abs/1706.03762
        | Self-Attention with Relative Position Representations (Shaw et al., 2018), https://arxiv.org/abs/1803.02155
    """

    offset: Tensor

    def __init__(self, channels: int, grid: Sequence[int], heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"heads: {channels} channels cannot be divided among {heads} heads; give a divisor")
        self.heads = heads
        self.norm = standardized(channels)
        self.inside = convolution(len(grid), channels, 3 * channels)
        self.outside = convolution(len(grid), channels, channels)
        shrink(self.outside)
        self.bias = nn.Parameter(torch.zeros(heads, prod(grid)))
        self.register_buffer("offset", offsets(grid), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Applies it to fields of shape ``(case, channels, *grid)``."""
        # (case, 3, head, channel, site) to queries, keys and values of shape (case, head, site, channel).
        parts = self.inside(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-2, -1)
        q, k, v = parts.unbind(1)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias[:, self.offset])
        return x + self.outside(mixed.transpose(-2, -1).reshape(x.shape))


def offsets(grid: Sequence[int]) -> Tensor:
    """The flat index of the offset between all pairs of sites of a periodic grid, with shape ``(site, site)``."""
    sites = torch.stack(torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij"), dim=-1)
    sites = sites.flatten(0, -2)
    apart = (sites - sites.unsqueeze(1)) % torch.tensor(tuple(grid))
    strides = torch.tensor([prod(grid[axis + 1 :]) for axis in range(len(grid))])
    return (apart * strides).sum(dim=-1)


class Condition(nn.Sequential):
    """The embedding of a condition, computed once for all blocks.

    Args:
        size: The size of the condition.
        width: The size of its embedding.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())


def check_grid(kind: str, grid: Sequence[int], kernel: int) -> None:
    """Raises if periodic convolutions are not defined on a grid, or a kernel is wider than it."""
    if len(grid) not in (1, 2):
        what = "vectors have none" if not grid else f"not grids of {len(grid)} dimensions"
        raise ValueError(f"network: {kind} needs a grid of one or two dimensions, and {what}; use mlp")
    if kernel // 2 > min(grid):
        raise ValueError(f"kernel: {kernel} sites go more than once around a grid of {min(grid)}")


def check_kernel(kernel: int) -> None:
    """Raises if a kernel has no centre."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel: must be odd and positive, not {kernel}")


def check_hidden(hidden: Sequence[int]) -> tuple[int, ...]:
    """Returns the widths of a perceptron's layers; raises if there are none."""
    if not hidden or min(hidden) < 1:
        raise ValueError(f"hidden: at least one width, all of them positive, are needed, not {list(hidden)}")
    return tuple(hidden)
