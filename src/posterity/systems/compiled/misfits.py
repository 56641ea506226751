"""Half the squares of a trajectory's misfits and their gradient, compiled by numba: one sweep there, and one back.

What a vector of members needs stays in the CPU's cache: neither states nor what observations pull at them are written
anywhere else.
"""

from math import gcd

from torch import Tensor

from ..equations.expressions import Integration, Program
from ..equations.rollouts import whole_batch
from .lanes import BYTES, load, spread, store
from .loops import kept_on_disk
from .members import Layout, added, given, given_numbers, laid_out, taken, taken_numbers
from .ode import recorded, runge_kutta_adjoint, stage, stages, summed
from .plan import Array
from .rollouts import ZERO, of_members

#: The most bytes that the memory of a vector of members may have: beyond the second cache nothing is won.
CACHE = 2**20

on_disk = kept_on_disk("lanes", "members", "misfits", "ode", "programs")


@on_disk
def misfit_all(
    value: Program, adjoint: Program, adjoint_parameters: Program, pull: Program, layout: Layout, memory: Array,
    start: int, stop: int, steps: int, channels: int, x0: Array, error: Array, theta: Array, y: Array,
    precision: Array, costs: Array, firsts: Array, parameters: Array, errors: Array,
) -> None:  # fmt: skip
    """The costs of some members, and if wanted their gradients for first states, and for parameters and errors."""
    lanes, n, size = BYTES // costs.itemsize, layout.channels * layout.sites, layout.size
    seen = Layout(channels, layout.sites, 0, layout.reach, layout.pitch, size, 1, layout.h)
    m, wide = channels * layout.sites, max(channels, layout.channels + 1) * layout.pitch
    th, total, moved, g, added_up, k = ZERO, size, 2 * size, 3 * size, 4 * size, 5 * size
    tape, length = 9 * size, 4 * layout.substeps * size
    ys = tape + steps * length + size
    precisions, sums, pulls = ys + wide, ys + 2 * wide, ys + 3 * wide
    for first in range(start, stop, lanes):
        count = min(lanes, stop - first)
        taken_numbers(layout, memory, th, theta, first, count)
        taken(layout, memory, tape, x0, n, ZERO, first, count)
        memory[sums : sums + wide] = 0
        for t in range(steps + 1):
            x = tape + t * length
            taken(seen, memory, ys, y, (steps + 1) * m, t * m, first, count)
            taken(seen, memory, precisions, precision, (steps + 1) * m, t * m, first, count)
            # What pulls is put down, and added to the sums.
            stage(pull, layout, memory, (), (x, ys, precisions), sums, 1.0, sums, ys, 0.0, 1.0, pulls + t * wide)
            if t < steps:
                recorded(value, layout, memory, th, x, total, x + length)
                if len(error):
                    taken(layout, memory, moved, error, steps * n, t * n, first, count)
                    added(layout, memory, x + length, x + length, moved)
        if len(firsts):
            memory[g : g + size] = 0
            added(layout, memory, g, g, pulls + steps * wide)
            for t in range(steps - 1, -1, -1):
                if len(errors):
                    given(layout, memory, g, errors, steps * n, t * n, first, count)
                for s in range(layout.substeps - 1, -1, -1):
                    fields = stages(layout, tape + t * length + 4 * s * size, k)
                    runge_kutta_adjoint(adjoint, layout, memory, (th,), fields, g, k, total)
                    if len(parameters):
                        summed(adjoint_parameters, layout, memory, (th,), fields, added_up)
                added(layout, memory, g, g, pulls + t * wide)
            given(layout, memory, g, firsts, n, ZERO, first, count)
            if len(parameters):
                given_numbers(layout, memory, added_up, parameters, first, count)
        # Over the times there is one sum for each site.
        at = sums + layout.channels * layout.pitch + layout.reach * lanes
        cost = spread(memory.dtype.type(0))
        for i in range(0, layout.sites * lanes, lanes):
            cost = cost + load(memory, at + i)
        store(memory, total, cost)
        for lane in range(count):
            costs[first + lane] = memory[total + lane]


def misfit(
    integration: Integration, pull: Program, x0: Tensor, theta: Tensor, error: Tensor | None, y: Tensor,
    precision: Tensor, wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Half the squares of misfits of trajectories, and their gradients if any is wanted.

    Args:
        integration: The integration.
        pull: What observations pull at a state, and their cost; see :class:`.equations.misfits.Seen`.
        x0: Initial states, with shape ``(*batch, n)``.
        theta: Parameters, with shape ``(*batch, parameters)``.
        error: Model errors, with shape ``(*batch, steps, n)``; none if omitted.
        y: What is seen, with shape ``(case, steps + 1, m)``: of the last dimension of the batch.
        precision: The reciprocals of its standard deviations, zero where nothing is seen, with the same shape.
        wanted: Whether the gradients of initial states, parameters and errors are. What is not wanted is empty, but for
            initial states with any other.

    Returns:
        The costs, with shape ``(*batch,)``, and the gradients of initial states, parameters and errors.
    """
    steps, (cases, _, m), n = y.shape[1] - 1, y.shape, x0.shape[-1]
    batch = whole_batch((x0, 1), (theta, 1), *(() if error is None else ((error, 2),)))
    lanes = BYTES // x0.element_size()
    # Whole vectors of cases, which are read at once; a single one is spread over each.
    repeats = 1 if cases == 1 else min(lanes // gcd(lanes, cases), batch.numel() // cases)
    if repeats > 1:
        y, precision = y.repeat(repeats, 1, 1), precision.repeat(repeats, 1, 1)
    costs, first = x0.new_empty(batch), x0.new_empty(*batch, n) if any(wanted) else x0.new_empty(0)
    parameters = x0.new_zeros(*batch, theta.shape[-1]) if wanted[1] else x0.new_empty(0)
    errors = x0.new_empty(*batch, steps, n) if wanted[2] else x0.new_empty(0)
    equations = integration.equations
    programs = equations.value, equations.adjoint, equations.adjoint_parameters, pull
    channels = m // integration.sites
    given_errors = x0.new_empty(0) if error is None else error
    tensors = x0, given_errors, theta, y, precision, costs, first, parameters, errors
    needed = fields(integration, steps, channels, lanes)
    of_members(misfit_all, programs, needed, integration, (steps, channels), batch, *tensors)
    return costs, first, parameters, errors


def fields(integration: Integration, steps: int, channels: int, lanes: int) -> int:
    """The number of fields of memory that a vector of members needs, for so many steps and observed channels."""
    layout = laid_out(integration, lanes)
    wide = max(channels, layout.channels + 1) * layout.pitch
    return 10 + 4 * steps * layout.substeps - (-(steps + 4) * wide // layout.size)


def fits(integration: Integration, steps: int, channels: int, bytes_of_number: int) -> bool:
    """Whether the memory of a vector of members fits the cache."""
    lanes = BYTES // bytes_of_number
    size = laid_out(integration, lanes).size * bytes_of_number
    return fields(integration, steps, channels, lanes) * size <= CACHE
