"""Layers of networks over periodic grids: convolutions, modulated residual blocks, attention."""

from collections.abc import Sequence
from math import pi, prod

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


class Gate(nn.Module):
    """The products of the first half of the channels with the second."""

    def forward(self, x: Tensor) -> Tensor:
        """From fields of shape ``(case, 2 * channel, *grid)`` to fields of shape ``(case, channel, *grid)``."""
        left, right = x.chunk(2, dim=1)
        return left * right


class Block(nn.Module):
    r"""A residual block whose input is scaled and shifted by a condition,

    .. math:: x \mapsto x + C_2 \phi\left( C_1 \left[ (1 + a(c)) \, \mathrm{norm}(x) + b(c) \right] \right) ,

    with convolutions :math:`C` and :math:`\phi` the SiLU or, gated, the product of one half of its channels with the
    other. It is nearly the identity when training begins.

    Args:
        dims: The number of dimensions of the grid.
        channels: The number of channels.
        kernel: The width of the kernels.
        condition: The size of the condition; 0 for none.
        gated: Whether channels are multiplied with each other.

    References:
        | FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2017),
          https://arxiv.org/abs/1709.07871
        | Scalable Diffusion Models with Transformers (Peebles & Xie, 2022), https://arxiv.org/abs/2212.09748
        | Simple Baselines for Image Restoration (Chen et al., 2022), https://arxiv.org/abs/2204.04676
    """

    def __init__(self, dims: int, channels: int, kernel: int, condition: int, gated: bool = False) -> None:
        super().__init__()
        self.norm = standardized(channels)
        self.modulation = nn.Linear(condition, 2 * channels) if condition else None
        self.branch = nn.Sequential(
            PeriodicConvolution(dims, channels, 2 * channels if gated else channels, kernel),
            Gate() if gated else nn.SiLU(),
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
    r"""Residual self-attention of all sites of a periodic grid, by rotations that follow their relative position,

    .. math:: x_i \mapsto x_i + W_o \sum_j \mathrm{softmax}_j\left( q_i \cdot R_{j - i} k_j / \sqrt{d} \right) v_j .

    The rotation :math:`R` turns pairs of channels of a head, each with one axis of the grid, by
    :math:`2 \pi \kappa / N` for each site along it, with whole wave numbers :math:`\kappa = 1, 2, …` and :math:`N`
    sites. So it closes around the grid, and the layer is equivariant to translations. Half of the channels of a head
    turn (at least a pair for each axis), the others compare contents alone. Nothing is kept of a pair of sites: memory
    is linear in their number, and the weights serve grids of any size.

    Args:
        dims: The number of dimensions of the grid.
        channels: The number of channels, a multiple of the number of heads.
        heads: The number of heads, each of at least two channels for each dimension.

    References:
        | Attention Is All You Need (Vaswani et al., 2017), https://arxiv.org/abs/1706.03762
        | RoFormer: Enhanced Transformer with Rotary Position Embedding (Su et al., 2021),
          https://arxiv.org/abs/2104.09864
    """

    def __init__(self, dims: int, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"heads: {channels} channels cannot be divided among {heads} heads; give a divisor")
        size = channels // heads
        if size < 2 * dims:
            raise ValueError(
                f"heads: {heads} of {channels} channels leave {size} to each, and the place on a grid of {dims} "
                f"dimensions takes {2 * dims}; give fewer heads, or a greater width"
            )
        self.heads, self.waves = heads, max(1, size // (4 * dims))
        self.norm = standardized(channels)
        self.inside = convolution(dims, channels, 3 * channels)
        self.outside = convolution(dims, channels, channels)
        shrink(self.outside)

    def forward(self, x: Tensor) -> Tensor:
        """Applies it to fields of shape ``(case, channels, *grid)``."""
        # (case, 3, head, channel, site) to queries, keys and values of shape (case, head, site, channel).
        # Contiguous, or torch would hold the products of all pairs of sites after all.
        parts = self.inside(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-2, -1).contiguous()
        phase = phases(x, self.waves)
        q, k = rotated(parts[:, :2], phase.cos(), phase.sin()).unbind(1)
        mixed = functional.scaled_dot_product_attention(q, k, parts[:, 2])
        return x + self.outside(mixed.transpose(-2, -1).reshape(x.shape))


def phases(x: Tensor, waves: int) -> Tensor:
    r"""The phases :math:`2 \pi \kappa i / N` of the sites of a grid along each axis, for some wave numbers.

    Args:
        x: Fields, with shape ``(case, channel, *grid)``.
        waves: The number of wave numbers, 1 and up.

    Returns:
        The phases, with shape ``(site, axis * waves)``.
    """
    number = torch.arange(1, waves + 1, dtype=x.dtype, device=x.device)
    around = [torch.arange(size, dtype=x.dtype, device=x.device) * (2 * pi / size) for size in x.shape[2:]]
    place = torch.stack(torch.meshgrid(*around, indexing="ij"), dim=-1).flatten(0, -2)
    return (place.unsqueeze(-1) * number).flatten(1)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the first pairs of channels of ``x``, ``(…, site, channel)``, by angles of shape ``(site, pairs)``."""
    pairs = cos.shape[-1]
    a, b, rest = x.split((pairs, pairs, x.shape[-1] - 2 * pairs), dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos, rest), dim=-1)


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
