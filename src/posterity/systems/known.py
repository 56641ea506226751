"""Steps whose results are known, for derivatives along a trajectory that is kept."""

from typing import Any

import torch
from torch import Tensor

from .fused import Fused
from .lawson import Lawson


class Known(torch.autograd.Function):
    """A step whose result is known: it computes nothing, and has the derivatives of :class:`.Fused`."""

    @staticmethod
    def forward(model: Lawson, x: Tensor, half: Tensor, source: Tensor, after: Tensor) -> Tensor:
        """The result."""
        return after.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Lawson, Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
        """Keeps the arguments of the step."""
        Fused.setup_context(ctx, inputs[:4], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor | None, Tensor | None, None]:
        """The adjoint."""
        return *Fused.backward(ctx, gradient), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        """The tangent."""
        return Fused.jvp(ctx, None, *tangents[1:4])
