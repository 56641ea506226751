"""The classical Runge–Kutta scheme compiled by numba, with its tangent and its adjoint, for a vector of members.

Fields are places in one memory; see :mod:`posterity.systems.compiled.members`.
"""

from typing import Any

from ..equations.expressions import Program
from .lanes import BYTES, load, not_inlined, spread, store
from .loops import inner
from .members import Layout, around
from .plan import Array
from .programs import SITES, evaluated, evaluated_together, gathered


@inner
def stage(
    program: Program, layout: Layout, memory: Array, thetas: Any, fields: Any,
    before: int, alpha: float, after: int, base: int, beta: float, gamma: float, onward: int,
) -> None:  # fmt: skip
    """A stage of a scheme at all sites: after = before + α v, and, with its ghosts, onward = β base + γ v."""
    not_inlined()
    lanes, number = BYTES // memory.itemsize, memory.dtype.type
    a, b, c = number(alpha), number(beta), number(gamma)
    i, last = layout.reach, layout.reach + layout.sites
    while i + SITES <= last:
        evaluated_together(
            program, memory, layout.pitch, i * lanes, thetas, fields, before, a, after, base, b, c, onward
        )
        i += SITES
    while i < last:
        evaluated(program, memory, layout.pitch, i * lanes, thetas, fields, before, a, after, base, b, c, onward)
        i += 1
    around(layout, memory, onward)


@inner
def stages(layout: Layout, one: int, two: int) -> Any:
    """The places of two fields at each of the four stages of a step, which stand one behind the other."""
    size = layout.size
    return (one, two), (one + size, two + size), (one + 2 * size, two + 2 * size), (one + 3 * size, two + 3 * size)


@inner
def runge_kutta(
    program: Program, layout: Layout, memory: Array, thetas: Any, fields: Any,
    x: int, a: int, b: int, c: int, total: int, end: int,
) -> None:  # fmt: skip
    """A step of the scheme from x to the end, or of its tangent; a, b and c are the arguments of its later stages.

    Args:
        program: The tendency, or its tangent.
        layout: The layout.
        memory: The memory.
        thetas: The parameters that the program takes.
        fields: The fields that it takes at each of the four stages.
        x: Where it starts.
        a: The argument of the second stage.
        b: That of the third.
        c: That of the fourth.
        total: Memory for sums.
        end: Where it ends; negative if only the stages are wanted.
    """
    h = layout.h
    stage(program, layout, memory, thetas, fields[0], x, h / 6, total, x, 1.0, h / 2, a)
    stage(program, layout, memory, thetas, fields[1], total, h / 3, total, x, 1.0, h / 2, b)
    stage(program, layout, memory, thetas, fields[2], total, h / 3, total, x, 1.0, h, c)
    if end >= 0:
        stage(program, layout, memory, thetas, fields[3], total, h / 6, end, x, 1.0, 0.0, total)
        around(layout, memory, end)


@inner
def runge_kutta_adjoint(
    program: Program, layout: Layout, memory: Array, thetas: Any, fields: Any, g: int, k: int, total: int
) -> None:
    """The adjoint of a step in place, or its tangent; keeps the cotangents of the four tendencies from ``k`` on."""
    h, size = layout.h, layout.size
    for i in range(0, layout.channels * layout.pitch, BYTES // memory.itemsize):
        store(memory, k + 3 * size + i, spread(memory.dtype.type(h / 6)) * load(memory, g + i))
    stage(program, layout, memory, thetas, fields[3], g, 1.0, total, g, h / 3, h, k + 2 * size)
    stage(program, layout, memory, thetas, fields[2], total, 1.0, total, g, h / 3, h / 2, k + size)
    stage(program, layout, memory, thetas, fields[1], total, 1.0, total, g, h / 6, h / 2, k)
    stage(program, layout, memory, thetas, fields[0], total, 1.0, g, g, 1.0, 0.0, total)
    around(layout, memory, g)


@inner
def summed(program: Program, layout: Layout, memory: Array, thetas: Any, fields: Any, sums: int) -> None:
    """Adds what the four stages give to the gradients of parameters."""
    not_inlined()
    lanes = BYTES // memory.itemsize
    for part in fields:
        for i in range(layout.reach, layout.reach + layout.sites):
            gathered(program, memory, layout.pitch, i * lanes, thetas, part, sums)


@inner
def recorded(value: Program, layout: Layout, memory: Array, theta: int, tape: int, total: int, end: int) -> None:
    """Fills a tape with the arguments of all stages of a step; it starts with the state, and has four for a substep.

    The step ends where asked to; at a negative place, only the stages are wanted.
    """
    size = layout.size
    for s in range(layout.substeps):
        x = tape + 4 * s * size
        a, b, c = x + size, x + 2 * size, x + 3 * size
        after = x + 4 * size if s + 1 < layout.substeps else end
        runge_kutta(value, layout, memory, (theta,), ((x,), (a,), (b,), (c,)), x, a, b, c, total, after)


@inner
def recorded_tangent(
    tangent: Program, layout: Layout, memory: Array, thetas: Any, tape: int, changes: int, total: int, end: int
) -> None:
    """Fills another tape with the changes of these arguments, and ends with that of the state if asked to."""
    size = layout.size
    for s in range(layout.substeps):
        x, dx = tape + 4 * s * size, changes + 4 * s * size
        a, b, c = dx + size, dx + 2 * size, dx + 3 * size
        after = dx + 4 * size if s + 1 < layout.substeps else end
        runge_kutta(tangent, layout, memory, thetas, stages(layout, x, dx), dx, a, b, c, total, after)
