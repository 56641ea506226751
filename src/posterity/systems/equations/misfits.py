"""Misfits of trajectories by compiled loops: what is seen of a state, and what is found."""

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from .expressions import Expression, Program, Symbols, Tape, changed, transposed


class Sight(Hashable, Protocol):
    """What sees a state entry by entry, as some observation operators do."""

    def at_site(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """What is seen at a site, of the values of all channels there; None if it is no arithmetic of these alone."""


class Seen(NamedTuple):
    r"""What is evaluated of the observations of a state at a site, given what is seen and its precisions.

    Args:
        number: The number of observations at a site.
        residual: The misfits :math:`r_k = p_k (H_k(x) - y_k)`; fields are the state, :math:`y` and :math:`p`.
        pull: What they pull at each channel, :math:`\sum_k \partial H_k / \partial x_c\, p_k r_k`, and behind it
            their cost :math:`\frac12 \sum_k r_k^2`, of the same fields.
        change: What a change of the state does to them, :math:`p_k\, \partial H_k / \partial x\; \delta x`, which
            is the last field.
    """

    number: int
    residual: Program
    pull: Program
    change: Program


def seen_of(sight: Sight, channels: int) -> Seen | None:
    """What is seen of states with so many channels; None if it is no arithmetic."""
    # Before it is looked up: a sight that says nothing may hold what cannot be compared with another one's.
    return None if _at_site(Tape(), sight, channels) is None else _seen(sight, channels)


def _at_site(tape: Tape, sight: Sight, channels: int) -> list[Expression] | None:
    """What is seen at a site, written down."""
    state = Symbols(tape, channels)
    found = sight.at_site([state[channel, 0] for channel in range(channels)])
    if found is None:
        return None
    return [value if isinstance(value, Expression) else tape.write("number", value) for value in found]


@lru_cache
def _seen(sight: Sight, channels: int) -> Seen:
    """The same of what is arithmetic, written down once."""
    tape = Tape()
    nothing, seen = tape.write("number", 0.0), _at_site(tape, sight, channels)
    assert seen is not None
    y, precisions = ([tape.write("input", field, k, 0) for k in range(len(seen))] for field in (1, 2))
    misfits = [(value - given) * p for value, given, p in zip(seen, y, precisions, strict=True)]
    pulls, _ = transposed(tape, seen, [misfit * p for misfit, p in zip(misfits, precisions, strict=True)])
    cost = sum((misfit * misfit for misfit in misfits), start=nothing)
    pull = [*(pulls.get(channel, nothing) for channel in range(channels)), 0.5 * cost]
    change = [changed(tape, value, 3) * p for value, p in zip(seen, precisions, strict=True)]
    return Seen(len(seen), *(tape.program(outputs) for outputs in (misfits, pull, change)))


class Misfit(NamedTuple):
    """Half the squares of the misfits of a trajectory, and its gradients, which are found with it.

    Args:
        cost: The halves of squares, with shape ``(*batch, case)``; not finite where the model diverged.
        x0: The gradients of initial states, with shape ``(*batch, case, *shape)``; empty where none was wanted.
        theta: Those of parameters that are tensors, by name, with shape ``(*batch, case)``.
        error: Those of model errors, with shape ``(*batch, case, steps, *shape)``; None without these.
    """

    cost: Tensor
    x0: Tensor
    theta: Mapping[str, Tensor]
    error: Tensor | None


def loops() -> Any:
    """The module of compiled loops, which is there if that of rollouts is."""
    from ..compiled import misfits

    return misfits
