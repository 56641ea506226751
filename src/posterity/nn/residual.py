"""Residual perceptrons that a condition modulates."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn
from torch.nn.functional import silu

from .layers import Condition, shrink
from .network import Network


class ResidualMLP(Network):
    r"""A residual perceptron whose blocks, and whose output, are scaled by a condition,

    .. math:: h_0 = W_0 x, \qquad
        h_{k+1} = h_k + V_k\, \phi\left( (1 + a_k(c)) \, W_k h_k + b_k(c) \right) , \qquad
        f(x, c) = (1 + g(c))\, W h_K ,

    with :math:`\phi` the SiLU. What it says is nearly zero when training begins. An :class:`.MLP` sees the condition as
    some more numbers, and has to learn its products with all others. Fields are flattened, so it is not equivariant to
    translations and its parameters grow with the grid.

    Args:
        width: The number of entries inside.
        blocks: The number of residual blocks.

    References:
        | FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2017),
          https://arxiv.org/abs/1709.07871
    """

    def __init__(self, width: int = 128, blocks: int = 3) -> None:
        if width < 1 or blocks < 1:
            raise ValueError(f"width, blocks: must both be positive, not {width} and {blocks}")
        self.width, self.blocks = width, blocks

    def build(self, inputs: int, outputs: int, grid: Sequence[int], condition: int = 0) -> nn.Module:
        """Makes the module, for any grid."""
        return ResidualMLPModule(self, inputs * prod(grid), (outputs, *grid), condition)


class ResidualMLPModule(nn.Module):
    """The module of :class:`ResidualMLP`.

    Args:
        plan: Its options.
        inputs: The number of entries of the input.
        shape: The shape of the output.
        condition: The size of the condition; 0 for none.
    """

    def __init__(self, plan: ResidualMLP, inputs: int, shape: Sequence[int], condition: int) -> None:
        super().__init__()
        self.shape, width, embedded = tuple(shape), plan.width, plan.width if condition else 0
        self.condition = Condition(condition, width) if condition else None
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width, embedded) for _ in range(plan.blocks))
        self.last = nn.Linear(width, prod(self.shape))
        self.gain = nn.Linear(embedded, prod(self.shape)) if condition else None
        shrink(self.last)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """From fields of shape ``(case, inputs, *grid)`` to fields of shape ``(case, outputs, *grid)``."""
        seen = None if self.condition is None else self.condition(condition)
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = block(h, seen)
        found = self.last(h)
        if self.gain is not None:
            found = (1 + self.gain(seen)) * found
        return found.unflatten(-1, self.shape)


class ModulatedBlock(nn.Module):
    """A residual block of two layers, the first of which a condition scales and shifts.

    Args:
        width: The number of entries.
        condition: The size of the embedded condition; 0 for none.
    """

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.modulation = nn.Linear(condition, 2 * width) if condition else None
        shrink(self.outer)

    def forward(self, h: Tensor, condition: Tensor | None) -> Tensor:
        """Applies it to vectors of shape ``(case, width)`` and conditions of shape ``(case, condition)``."""
        inner = self.inner(h)
        if self.modulation is not None:
            scale, shift = self.modulation(condition).chunk(2, dim=-1)
            inner = (1 + scale) * inner + shift
        return h + self.outer(silu(inner))
