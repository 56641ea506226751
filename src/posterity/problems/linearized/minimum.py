"""Minima of the 4DVAR cost, and how others take their place."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .model import LinearModel, selected

if TYPE_CHECKING:
    from ..control import Control


class Minimum(NamedTuple):
    """Minimum of the 4DVAR cost of each case, and how it was reached.

    Args:
        u: The minimisers, with shape ``(case, size)``.
        cost: :math:`J(u)`, with shape ``(case,)``; infinite where no finite cost was found.
        model: The Gauss–Newton model there, whose Hessian is known as products, or as a matrix.
        iterations: The number of iterations, with shape ``(case,)``.
        converged: Whether the tolerance was met, with shape ``(case,)``.
        trace: The cost at the start of each window and after each iteration on it, with shape
            ``(case, iteration)``, over the states assimilated by then; constant once the case has converged.
    """

    u: Tensor
    cost: Tensor
    model: LinearModel
    iterations: Tensor
    converged: Tensor
    trace: Tensor

    def put(self, cases: Tensor, better: Tensor, other: "Minimum") -> "Minimum":
        """These minima, but for some cases the ones of another minimisation, of these cases alone, where it did better.

        Args:
            cases: The cases that were minimised again, with shape ``(some,)``.
            better: Which of them to replace, with the same shape.
            other: What was found for them.
        """
        if not better.any():
            # Transforms of systems refuse batches without a case.
            return self
        length = max(self.trace.shape[-1], other.trace.shape[-1])
        taken = better.nonzero().squeeze(-1)
        index = cases[taken]

        def merged(old: Tensor, new: Tensor) -> Tensor:
            return old.index_copy(0, index, new[taken])

        return Minimum(
            u=merged(self.u, other.u),
            cost=merged(self.cost, other.cost),
            model=self.model.put(index, other.model.select(taken)),
            iterations=merged(self.iterations, other.iterations),
            converged=merged(self.converged, other.converged),
            trace=merged(_extended(self.trace, length), _extended(other.trace, length)),
        )

    def retried(
        self,
        control: "Control",
        plausible: Tensor,
        attempts: Iterable[Callable[["Control", Tensor], "Minimum"]],
        tolerance: float,
    ) -> "Minimum":
        """These minima, those that are implausible after other attempts, as long as they have reached something new.

        Args:
            control: The control.
            plausible: The highest cost that is plausible, with shape ``(case,)``.
            attempts: Functions of the control of some cases, and of which cases these are.
            tolerance: The predicted decrease, relative to the cost, at which minimisations ended.

        Returns:
            The lowest minima. A case ends as soon as it is plausible, or an attempt has reproduced its minimum.
        """
        minimum, settled = self, self.cost <= plausible
        for attempt in attempts:
            again = (minimum.cost.isfinite() & ~settled).nonzero().squeeze(-1)
            if not len(again):
                break
            with selected(control, again) as part:
                retry = attempt(part, again)
            best = minimum.cost[again]
            # Each is within the tolerance of its limit, or a few times that where convergence is slow.
            same = (retry.cost - best).abs() <= 10 * tolerance * (1 + best)
            settled = settled.index_copy(0, again, same | (torch.minimum(retry.cost, best) <= plausible[again]))
            minimum = minimum.put(again, retry.cost < best, retry)
        return minimum

    @property
    def info(self) -> dict[str, Tensor]:
        """The diagnostics of each case."""
        return {
            "cost": self.cost,
            "iterations": self.iterations,
            "converged": self.converged,
            "objective": self.trace,
        }


def _extended(trace: Tensor, length: int) -> Tensor:
    """Repeats the last entry of curves up to a length."""
    return torch.cat((trace, trace[:, -1:].expand(-1, length - trace.shape[-1])), dim=-1)
