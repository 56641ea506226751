"""Gauss–Newton matrices of the misfits of trajectories, compiled by numba: one rollout for all directions.

A vector of members takes one direction after the other along its trajectory. This, and what directions do to misfits,
stay in the CPU's cache: nothing is written but the products.
"""

import numpy as np
import torch
from torch import Tensor

from ..equations.expressions import Integration, Program
from ..equations.misfits import Seen
from ..equations.rollouts import whole_batch
from .lanes import BYTES, not_inlined, spread, store, widened
from .loops import inner, kept_on_disk
from .members import Layout, laid_out, taken, taken_numbers
from .ode import recorded, recorded_tangent, stage
from .plan import Array
from .rollouts import ZERO, of_members

#: The work of lanes that stand empty, in steps of a channel at a site for a vector, from which on torch's calls for one
#: tangent of all directions take less time: some tenths of a millisecond.
EMPTY = 2**13
#: The most bytes that the memory of a vector of members may have, what directions do to misfits included.
MEMORY = 2**23

on_disk = kept_on_disk("gauss_newton", "lanes", "members", "ode", "programs")


@inner
def squared(
    layout: Layout, memory: Array, rows: int, number: int, parts: tuple[int, int], jump: int, sums: Array,
    out: Array, first: int, count: int,
) -> None:  # fmt: skip
    """The products of each row with each, of some members; those with a row go four at a time.

    Args:
        layout: The layout.
        memory: The memory.
        rows: The place of the first row.
        number: The number of rows.
        parts: The number of fields of a row, and of the channels of each.
        jump: From one field to the next.
        sums: Memory for four vectors.
        out: Where the products of all members go.
        first: The first of the members.
        count: Their number.
    """
    not_inlined()
    lanes, doubles, whole = BYTES // memory.itemsize, BYTES // sums.itemsize, parts[0] * jump
    for half in range(0, count, doubles):
        for i in range(number):
            for j in range(0, i + 1, 4):
                row, a = rows + i * whole + half, rows + j * whole + half
                b, c, d = min(a + whole, row), min(a + 2 * whole, row), min(a + 3 * whole, row)
                of_a = of_b = of_c = of_d = spread(sums.dtype.type(0))
                for field in range(parts[0]):
                    for channel in range(parts[1]):
                        start = field * jump + channel * layout.pitch + layout.reach * lanes
                        for k in range(start, start + layout.sites * lanes, lanes):
                            x = widened(memory, row + k)
                            of_a = of_a + x * widened(memory, a + k)
                            of_b = of_b + x * widened(memory, b + k)
                            of_c = of_c + x * widened(memory, c + k)
                            of_d = of_d + x * widened(memory, d + k)
                store(sums, 0, of_a)
                store(sums, doubles, of_b)
                store(sums, 2 * doubles, of_c)
                store(sums, 3 * doubles, of_d)
                for lane in range(min(doubles, count - half)):
                    at = (first + half + lane) * number * number
                    for other in range(min(4, i + 1 - j)):
                        product = sums[other * doubles + lane]
                        out[at + i * number + j + other] = out[at + (j + other) * number + i] = product


@on_disk
def products_all(
    value: Program, tangent: Program, residual: Program, change: Program, layout: Layout, memory: Array,
    start: int, stop: int, steps: int, channels: int, directions: int, x0: Array, theta: Array, dx0: Array,
    dtheta: Array, y: Array, precision: Array, out: Array,
) -> None:  # fmt: skip
    """The products of what directions do to the misfits of some members, and behind them the misfits, with each."""
    lanes, n, size = BYTES // memory.itemsize, layout.channels * layout.sites, layout.size
    seen = Layout(channels, layout.sites, 0, layout.reach, layout.pitch, size, 1, layout.h)
    m = channels * layout.sites
    length, jump = 4 * layout.substeps * size, max(channels, layout.channels) * layout.pitch
    of_states, of_parameters = len(dx0) // directions, len(dtheta) // directions
    th, dth, total, dx = ZERO, size, 2 * size, 3 * size
    tape = dx + length
    ys = tape + steps * length + size
    # A stage adds up what it puts down, which nothing here asks for.
    nowhere, precisions = ys + jump, ys + 2 * jump
    # Of each direction what it does to the misfits of each state, and behind the last the misfits.
    rows = precisions + (steps + 1) * jump
    misfits, products = rows + directions * (steps + 1) * jump, np.empty(4 * BYTES // 8)
    for first in range(start, stop, lanes):
        count = min(lanes, stop - first)
        taken_numbers(layout, memory, th, theta, first, count)
        taken(layout, memory, tape, x0, n, ZERO, first, count)
        for t in range(steps + 1):
            x, p = tape + t * length, precisions + t * jump
            taken(seen, memory, ys, y, (steps + 1) * m, t * m, first, count)
            taken(seen, memory, p, precision, (steps + 1) * m, t * m, first, count)
            stage(residual, layout, memory, (), (x, ys, p), ys, 0.0, nowhere, ys, 0.0, 1.0, misfits + t * jump)
            if t < steps:
                recorded(value, layout, memory, th, x, total, x + length)
        for d in range(directions):
            taken_numbers(layout, memory, dth, dtheta[d * of_parameters : (d + 1) * of_parameters], first, count)
            taken(layout, memory, dx, dx0[d * of_states : (d + 1) * of_states], n, ZERO, first, count)
            for t in range(steps + 1):
                x, p = tape + t * length, precisions + t * jump
                row = rows + (d * (steps + 1) + t) * jump
                stage(change, layout, memory, (), (x, ys, p, dx), ys, 0.0, nowhere, ys, 0.0, 1.0, row)
                if t < steps:
                    recorded_tangent(tangent, layout, memory, (th, dth), x, dx, total, dx)
        squared(layout, memory, rows, directions + 1, (steps + 1, channels), jump, products, out, first, count)


def products(
    integration: Integration, seen: Seen, x0: Tensor, theta: Tensor, dx0: Tensor, dtheta: Tensor, y: Tensor,
    precision: Tensor,
) -> Tensor | None:  # fmt: skip
    """The products of what directions do to the misfits of trajectories, and behind them these, with each.

    Args:
        integration: The integration.
        seen: What is evaluated at a site.
        x0: Initial states, with shape ``(*batch, n)``.
        theta: Parameters, with shape ``(*batch, parameters)``.
        dx0: Their changes by each direction, with shape ``(directions, *batch, n)``.
        dtheta: Those of parameters, with shape ``(directions, *batch, parameters)``.
        y: What is seen, with shape ``(case, steps + 1, m)``: of the last dimension of the batch.
        precision: The reciprocals of its standard deviations, zero where nothing is seen, with the same shape.

    Returns:
        The products, in double precision, with shape ``(*batch, directions + 1, directions + 1)``; None for few
        members with many directions, which leave most of a vector empty, and for more than the memory holds.
    """
    (_, states, m), directions, lanes = y.shape, len(dx0), BYTES // x0.element_size()
    batch = whole_batch((x0, 1), (theta, 1))
    e, numbers = integration.equations, (states - 1, m // integration.sites, directions)
    empty, needed = -batch.numel() % lanes / lanes, fields(integration, *numbers, lanes)
    if (
        empty * directions * states * integration.substeps * x0.shape[-1] > EMPTY
        or needed * laid_out(integration, lanes).size * x0.element_size() > MEMORY
    ):
        return None
    out = x0.new_empty(*batch, directions + 1, directions + 1, dtype=torch.double)
    programs = e.value, e.tangent, seen.residual, seen.change
    tensors = x0, theta, dx0, dtheta, y, precision, out
    of_members(products_all, programs, needed, integration, numbers, batch, *tensors, weight=directions)
    return out


def fields(integration: Integration, steps: int, channels: int, directions: int, lanes: int) -> int:
    """The number of fields of memory that a vector of members needs."""
    layout = laid_out(integration, lanes)
    jump = max(channels, layout.channels) * layout.pitch
    seen = 2 + (steps + 1) * (directions + 2)
    return 4 + 4 * (steps + 1) * layout.substeps - (-seen * jump // layout.size)
