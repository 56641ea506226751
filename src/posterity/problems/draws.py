"""Draws of the joint, and draws from a posterior."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from .window import Window


class Twin(NamedTuple):
    """Twin experiment: one draw of the joint of states, parameters and observations.

    Args:
        x: States, with shape ``(*batch, steps, *shape)``.
        theta: Unknown parameters, with shape ``(*batch, parameters)``; there may be none. NaN if the truth has no
            such parameters.
        window: What a method may see of it.
    """

    x: Tensor
    theta: Tensor
    window: Window


class Ensemble(NamedTuple):
    """Ensemble of draws from a posterior, with diagnostics.

    Args:
        x: States, with shape ``(samples, *batch, steps, *shape)``.
        theta: Unknown parameters, with shape ``(samples, *batch, parameters)``.
        steps: The window times that ``x`` covers, as a range of steps.
        info: Diagnostics of each case, with shape ``(*batch,)``, or ``(*batch, iteration)`` for curves.
        log_q: The log-density of each draw in what the method learned, with shape ``(samples, *batch)``; None if the
            method has no density, or the draws do not follow it.
    """

    x: Tensor
    theta: Tensor
    steps: range
    info: Mapping[str, Tensor] = {}
    log_q: Tensor | None = None

    def to(self, like: Tensor) -> "Ensemble":
        """The draws, and diagnostics that are floating-point numbers, in the dtype and on the device of a tensor."""
        return self._replace(
            x=self.x.to(like),
            theta=self.theta.to(like),
            info={
                name: value.to(like) if value.is_floating_point() else value.to(like.device)
                for name, value in self.info.items()
            },
            log_q=None if self.log_q is None else self.log_q.to(like),
        )

    def restore(self, batch: Sequence[int]) -> "Ensemble":
        """The draws of cases that were batches of a shape: ``batch`` in the place of the dimension ``case``."""

        def unfold(value: Tensor, axis: int) -> Tensor:
            return value.reshape((*value.shape[:axis], *batch, *value.shape[axis + 1 :]))

        return self._replace(
            x=unfold(self.x, 1),
            theta=unfold(self.theta, 1),
            info={name: unfold(value, 0) for name, value in self.info.items()},
            log_q=None if self.log_q is None else unfold(self.log_q, 1),
        )
