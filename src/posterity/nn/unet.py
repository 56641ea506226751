"""U-Nets."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .layers import Attention, Block, Condition, PeriodicConvolution, check_grid, check_kernel, convolution, shrink
from .network import Network


class UNet(Network):
    r"""A U-Net over a periodic grid: residual blocks at several resolutions, each half of the one above.

    Skip connections hand the features of the way down to the way up at each resolution. Far sites interact at the
    coarse levels, for less than a deep convolutional network would cost, and all sites where there is attention.
    Equivariant to translations by multiples of the coarsest level's spacing, ``2 ** (len(widths) - 1)`` sites.

    Args:
        widths: The number of channels of each level, from the finest; the grid must be divisible by two between them.
        blocks: The number of residual blocks of each level, on the way down and on the way up.
        kernel: The width of the kernels, an odd number.
        attention: The levels with self-attention behind each block, 0 for the finest.
        heads: The number of heads of the attention.

    References:
        | U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger et al., 2015),
          https://arxiv.org/abs/1505.04597
        | Denoising Diffusion Probabilistic Models (Ho et al., 2020), https://arxiv.org/abs/2006.11239
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128),
        blocks: int = 2,
        kernel: int = 3,
        attention: Sequence[int] = (),
        heads: int = 4,
    ) -> None:
        if not widths or min(widths) < 1 or blocks < 1:
            raise ValueError(f"widths, blocks: must all be positive, not {list(widths)} and {blocks}")
        check_kernel(kernel)
        if not set(attention) <= set(range(len(widths))):
            raise ValueError(
                f"attention: levels are 0 to {len(widths) - 1}, and {list(attention)} has others; remove them"
            )
        if heads < 1 or any(widths[level] % heads for level in attention):
            raise ValueError(
                f"heads: the widths of levels with attention cannot be divided by {heads}; choose a divisor of them"
            )
        self.widths, self.blocks, self.kernel = tuple(widths), blocks, kernel
        self.attention, self.heads = frozenset(attention), heads

    def coarsest(self, grid: Sequence[int]) -> tuple[int, ...]:
        """The grid of the last level."""
        stride = 2 ** (len(self.widths) - 1)
        if any(size % stride for size in grid):
            raise ValueError(
                f"widths: {len(self.widths)} levels need sizes that are multiples of {stride}, and the grid is"
                f" {' by '.join(map(str, grid))}; give fewer widths"
            )
        return tuple(size // stride for size in grid)

    def build(self, inputs: int, outputs: int, grid: Sequence[int], condition: int = 0) -> nn.Module:
        """Makes the module, for grids of one or two dimensions that can be halved as often as there are levels."""
        check_grid("unet", grid, 1)
        check_grid("unet", self.coarsest(grid), self.kernel)
        return UNetModule(self, len(grid), inputs, outputs, condition)


class UNetModule(nn.Module):
    """The module of :class:`UNet`.

    Args:
        plan: Its options.
        dims: The number of dimensions of the grid.
        inputs: The number of channels of the input.
        outputs: The number of channels of the output.
        condition: The size of the condition; 0 for none.
    """

    def __init__(self, plan: UNet, dims: int, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        embedded = plan.widths[-1] if condition else 0
        self.condition = Condition(condition, embedded) if condition else None
        self.first = PeriodicConvolution(dims, inputs, plan.widths[0], plan.kernel)
        stages = [
            [Stage(plan, level, dims, embedded) for level in range(len(plan.widths))],
            [Stage(plan, level, dims, embedded) for level in range(len(plan.widths) - 1)],
        ]
        self.down, self.up = (nn.ModuleList(column) for column in stages)
        steps = list(pairwise(plan.widths))
        # Strided kernels of two sites a side tile the grid, so that there is nothing to pad.
        self.coarsen = nn.ModuleList(convolution(dims, fine, coarse, 2, stride=2) for fine, coarse in steps)
        transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d)[dims - 1]
        self.refine = nn.ModuleList(transposed(coarse, fine, 2, stride=2) for fine, coarse in steps)
        self.merge = nn.ModuleList(convolution(dims, 2 * fine, fine) for fine, _ in steps)
        self.last = PeriodicConvolution(dims, plan.widths[0], outputs, plan.kernel)
        shrink(self.last)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From fields of shape ``(case, inputs, *grid)`` to fields of shape ``(case, outputs, *grid)``."""
        seen = None if self.condition is None else self.condition(condition)
        h = self.down[0](self.first(x), seen)
        kept = []
        for coarsen, stage in zip(self.coarsen, self.down[1:], strict=True):
            kept.append(h)
            h = stage(coarsen(h), seen)
        for level in reversed(range(len(kept))):
            h = self.merge[level](torch.cat((self.refine[level](h), kept[level]), dim=1))
            h = self.up[level](h, seen)
        return self.last(h)


class Stage(nn.Module):
    """The blocks of one level, on the way down or on the way up.

    Args:
        plan: The options of the network.
        level: The level.
        dims: The number of dimensions of the grid.
        condition: The size of the embedded condition; 0 for none.
    """

    def __init__(self, plan: UNet, level: int, dims: int, condition: int) -> None:
        super().__init__()
        width = plan.widths[level]
        self.blocks = nn.ModuleList(Block(dims, width, plan.kernel, condition) for _ in range(plan.blocks))
        self.attention = nn.ModuleList(
            Attention(dims, width, plan.heads) if level in plan.attention else nn.Identity() for _ in range(plan.blocks)
        )

    def forward(self, h: Tensor, condition: Tensor | None) -> Tensor:
        """Applies the blocks to fields of shape ``(case, width, *grid)``."""
        for block, attention in zip(self.blocks, self.attention, strict=True):
            h = attention(block(h, condition))
        return h
