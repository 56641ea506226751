"""Residual convolutional networks."""

from collections.abc import Sequence

from torch import Tensor, nn

from .layers import Block, Condition, PeriodicConvolution, check_grid, check_kernel, shrink
from .network import Network


class Convolution(Network):
    r"""A residual convolutional network over a periodic grid, equivariant to translations,

    .. math:: h_0 = C_0 x, \qquad h_{k+1} = h_k + B_k(h_k, c), \qquad f(x, c) = C_K h_K ,

    with blocks :math:`B_k` of two convolutions whose input the condition scales and shifts. A site sees others up to
    ``(blocks + 1) * (kernel - 1)`` sites away, and the rest by the mean and variance that normalise a field.

    Args:
        width: The number of channels inside.
        blocks: The number of residual blocks.
        kernel: The width of the kernels, an odd number.
        gated: Whether blocks multiply channels with each other, where others apply the SiLU. The advection of a flow is
            a sum of products, which they learn from fewer updates; a block costs half as much again.

    References:
        | Deep Residual Learning for Image Recognition (He et al., 2015), https://arxiv.org/abs/1512.03385
        | Simple Baselines for Image Restoration (Chen et al., 2022), https://arxiv.org/abs/2204.04676
    """

    def __init__(self, width: int = 64, blocks: int = 4, kernel: int = 5, gated: bool = False) -> None:
        if width < 1 or blocks < 1:
            raise ValueError(f"width, blocks: must both be positive, not {width} and {blocks}")
        check_kernel(kernel)
        self.width, self.blocks, self.kernel, self.gated = width, blocks, kernel, gated

    def build(self, inputs: int, outputs: int, grid: Sequence[int], condition: int = 0) -> nn.Module:
        """Makes the module, for grids of one or two dimensions."""
        check_grid("convolution", grid, self.kernel)
        return ConvolutionModule(self, len(grid), inputs, outputs, condition)


class ConvolutionModule(nn.Module):
    """The module of :class:`Convolution`.

    Args:
        plan: Its options.
        dims: The number of dimensions of the grid.
        inputs: The number of channels of the input.
        outputs: The number of channels of the output.
        condition: The size of the condition; 0 for none.
    """

    def __init__(self, plan: Convolution, dims: int, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        width, kernel = plan.width, plan.kernel
        self.condition = Condition(condition, width) if condition else None
        self.first = PeriodicConvolution(dims, inputs, width, kernel)
        self.blocks = nn.ModuleList(
            Block(dims, width, kernel, width if condition else 0, plan.gated) for _ in range(plan.blocks)
        )
        self.last = PeriodicConvolution(dims, width, outputs, kernel)
        shrink(self.last)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From fields of shape ``(case, inputs, *grid)`` to fields of shape ``(case, outputs, *grid)``."""
        seen = None if self.condition is None else self.condition(condition)
        h = self.first(x)
        for block in self.blocks:
            h = block(h, seen)
        return self.last(h)
