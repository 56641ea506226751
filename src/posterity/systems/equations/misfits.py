"""Misfits of trajectories by compiled loops, as a function of torch: cost and gradient are computed together."""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .expressions import Expression, Integration, Program, Symbols, Tape, transposed
from .rollouts import Loops

#: Why a gradient of a gradient is refused.
ONCE = "compiled misfits have first derivatives only; differentiate what a sight sees of `rollout` for second ones"


class Sight(Hashable, Protocol):
    """What sees a state entry by entry, as some observation operators do."""

    def at_site(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """What is seen at a site, of the values of all channels there; None if it is no arithmetic of these alone."""


class Pull(NamedTuple):
    r"""What observations of a state pull at it, :math:`\sum_k \partial H_k / \partial x_c\, p_k^2 (H_k(x) - y_k)`.

    Args:
        program: Of the state, the observations :math:`y` and their precisions :math:`p`: the pull at each channel, and
            behind it their cost :math:`\frac12 \sum_k p_k^2 (H_k(x) - y_k)^2`.
        seen: The number of observations at a site.
    """

    program: Program
    seen: int


def pull_of(sight: Sight, channels: int) -> Pull | None:
    """What observations pull at states with so many channels; None if what is seen is no arithmetic."""
    # Before it is looked up: a sight that says nothing may hold what cannot be compared with another one's.
    return None if _seen(Tape(), sight, channels) is None else _pull(sight, channels)


def _seen(tape: Tape, sight: Sight, channels: int) -> list[Expression] | None:
    """What is seen at a site, written down."""
    state = Symbols(tape, channels)
    found = sight.at_site([state[channel, 0] for channel in range(channels)])
    if found is None:
        return None
    return [value if isinstance(value, Expression) else tape.write("number", value) for value in found]


@lru_cache
def _pull(sight: Sight, channels: int) -> Pull:
    """The same of what is arithmetic, written down once."""
    tape = Tape()
    nothing, seen = tape.write("number", 0.0), _seen(tape, sight, channels)
    assert seen is not None
    cost = nothing
    cotangents: list[Expression] = []
    for k, value in enumerate(seen):
        precision = tape.write("input", 2, k, 0)
        misfit = (value - tape.write("input", 1, k, 0)) * precision
        cost = cost + misfit * misfit
        cotangents.append(misfit * precision)
    pulls, _ = transposed(tape, seen, cotangents)
    program = tape.program([*(pulls.get(channel, nothing) for channel in range(channels)), 0.5 * cost])
    return Pull(program, len(seen))


class Misfit(Loops):
    """Half the squares of the misfits of a trajectory; its gradient is found with it, and has none of its own."""

    @staticmethod
    def forward(
        ctx: Any, integration: Integration, pull: Program, x0: Tensor, theta: Tensor, error: Tensor | None, y: Tensor,
        precision: Tensor,
    ) -> Tensor:  # fmt: skip
        """The cost, with shape ``(*batch,)``."""
        wanted = ctx.needs_input_grad[2:5]
        cost, *gradients = loops().misfit(integration, pull, x0, theta, error, y, precision, wanted)
        ctx.shapes = [None if value is None else value.shape for value in (x0, theta, error)]
        ctx.save_for_backward(*gradients)
        return cost

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient, times that of the cost."""
        if torch.is_grad_enabled():
            raise NotImplementedError(ONCE)
        found: list[Tensor | None] = []
        for shape, value, needed in zip(ctx.shapes, ctx.saved_tensors, ctx.needs_input_grad[2:5], strict=True):
            if needed:
                scaled = cotangent.reshape(*cotangent.shape, *[1] * (value.ndim - cotangent.ndim)) * value
                found.append(scaled.sum_to_size(shape))
            else:
                found.append(None)
        return None, None, *found, None, None


def loops() -> Any:
    """The module of compiled loops, which is there if that of rollouts is."""
    from ..compiled import misfits

    return misfits
