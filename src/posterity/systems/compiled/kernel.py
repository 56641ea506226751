r"""Lawson's scheme compiled by numba: what a CPU does for :mod:`posterity.systems.lawson`.

The fields of a batch element stay in the CPU's caches over a whole step; batch elements are shared among threads.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..lawson import Lawson
from .lanes import BYTES, load, spread, store
from .loops import kept_on_disk, shared
from .plan import Array, Plan, planned
from .transforms import Memory, advection, advection_adjoint, advection_tangent, allocated, compiled

#: Points and substeps that are worth a thread of their own: some milliseconds.
GRAIN = 2**17

on_disk = kept_on_disk("kernel", "lanes", "plan", "transforms")


@compiled
def scaled(out: Array, a: Array, x: Array, factor: float) -> None:
    """Sets out = a + factor · x."""
    f = spread(out.dtype.type(factor))
    for i in range(0, len(out), BYTES // out.itemsize):
        store(out, i, load(a, i) + f * load(x, i))


@compiled
def damped(out: Array, a: Array, half: Array, x: Array, factor: float) -> None:
    """Sets out = a + factor · half · x, number by number."""
    f = spread(out.dtype.type(factor))
    for i in range(0, len(out), BYTES // out.itemsize):
        store(out, i, load(a, i) + f * (load(half, i) * load(x, i)))


@compiled
def substep(
    plan: Plan,
    h: float,
    half: Array,
    source: Array,
    w: Array,
    after: Array,
    tape: Array,
    flows: Array,
    memory: Memory,
) -> None:
    """As :meth:`posterity.systems.lawson.Lawson.substep`; the tape keeps its first tendency, its middle and its end."""
    first, middle, end, start, x = tape[0], tape[1], tape[2], memory.start, memory.x
    advection(plan, w, first, flows[0], memory)
    damped(start, source, half, w, 1)
    damped(end, start, half, first, h / 6)
    damped(x, start, half, first, h / 2)
    advection(plan, x, x, flows[1 % len(flows)], memory)
    scaled(end, end, x, h / 3)
    scaled(x, start, x, h / 2)
    advection(plan, x, x, flows[2 % len(flows)], memory)
    scaled(end, end, x, h / 3)
    scaled(middle, start, x, h)
    damped(x, source, half, middle, 1)
    advection(plan, x, x, flows[3 % len(flows)], memory)
    damped(after, source, half, end, 1)
    scaled(after, after, x, h / 6)


@compiled
def substep_tangent(
    plan: Plan,
    h: float,
    half: Array,
    w: Array,
    dw: Array,
    dhalf: Array,
    dsource: Array,
    tape: Array,
    flows: Array,
    memory: Memory,
) -> None:
    """The tangent of a substep, in place."""
    start, x, end = memory.start, memory.x, memory.end
    advection_tangent(plan, dw, x, flows[0], memory)
    damped(start, dsource, half, dw, 1)
    damped(start, start, dhalf, w, 1)
    damped(end, start, half, x, h / 6)
    damped(end, end, dhalf, tape[0], h / 6)
    damped(x, start, half, x, h / 2)
    damped(x, x, dhalf, tape[0], h / 2)
    advection_tangent(plan, x, x, flows[1], memory)
    scaled(end, end, x, h / 3)
    scaled(x, start, x, h / 2)
    advection_tangent(plan, x, x, flows[2], memory)
    scaled(end, end, x, h / 3)
    scaled(x, start, x, h)
    damped(x, dsource, half, x, 1)
    damped(x, x, dhalf, tape[1], 1)
    advection_tangent(plan, x, x, flows[3], memory)
    damped(dw, dsource, half, end, 1)
    damped(dw, dw, dhalf, tape[2], 1)
    scaled(dw, dw, x, h / 6)


@compiled
def substep_adjoint(
    plan: Plan,
    h: float,
    half: Array,
    w: Array,
    g: Array,
    dhalf: Array,
    dsource: Array,
    tape: Array,
    flows: Array,
    memory: Memory,
) -> None:
    """The adjoint of a substep, in place; adds to the gradients of factor and source."""
    start, x, end, zero = memory.start, memory.x, memory.end, memory.zero
    damped(end, zero, half, g, 1)
    damped(dhalf, dhalf, tape[2], g, 1)
    scaled(dsource, dsource, g, 1)
    scaled(x, zero, g, h / 6)
    advection_adjoint(plan, x, x, flows[3], memory)
    damped(start, end, half, x, 1)
    damped(dhalf, dhalf, tape[1], x, 1)
    scaled(dsource, dsource, x, 1)
    scaled(x, zero, start, h)
    scaled(x, x, end, -2 * h / 3)
    advection_adjoint(plan, x, x, flows[2], memory)
    scaled(start, start, x, 1)
    scaled(x, zero, x, h / 2)
    scaled(x, x, end, h / 3)
    advection_adjoint(plan, x, x, flows[1], memory)
    scaled(start, start, x, 1)
    scaled(x, zero, x, h / 2)
    scaled(x, x, end, h / 6)
    damped(dhalf, dhalf, w, start, 1)
    damped(dhalf, dhalf, tape[0], x, 1)
    scaled(dsource, dsource, start, 1)
    damped(x, zero, half, x, 1)
    advection_adjoint(plan, x, x, flows[0], memory)
    damped(g, x, half, start, 1)


@compiled
def packed(plan: Plan, out: Array, values: Array, real: bool) -> None:
    """A flat array of coefficients with shape ``(height, columns)``; real ones stand in both halves."""
    size = len(out) // 2
    for kept in range(2 * plan.largest + 1):
        row = kept if kept <= plan.largest else kept + plan.height - 2 * plan.largest - 1
        for k in range(plan.columns):
            value = values[row, k]
            out[kept * plan.stride + k] = value.real
            out[size + kept * plan.stride + k] = value.real if real else value.imag


@compiled
def unpacked(plan: Plan, out: Array, w: Array, real: bool) -> None:
    """The adjoint of :func:`packed`; rows of waves that are not kept stay as they are."""
    size = len(w) // 2
    for kept in range(2 * plan.largest + 1):
        row = kept if kept <= plan.largest else kept + plan.height - 2 * plan.largest - 1
        for k in range(plan.columns):
            re, im = w[kept * plan.stride + k], w[size + kept * plan.stride + k]
            out[row, k] = complex(re + im, 0) if real else complex(re, im)


@on_disk
def advance_all(plan: Plan, h: float, substeps: int, w: Array, half: Array, source: Array, out: Array) -> None:
    """Advances all members by a step."""
    memory = allocated(plan)
    size = len(memory.x)
    state = np.zeros(size, memory.x.dtype)
    factor = np.zeros(size, memory.x.dtype)
    drive = np.zeros(size, memory.x.dtype)
    tape, flows = np.zeros((3, size), memory.x.dtype), np.zeros((1, 0), memory.x.dtype)
    for member in range(len(w)):
        packed(plan, factor, half[member % len(half)], True)
        packed(plan, drive, source[member % len(source)], False)
        packed(plan, state, w[member], False)
        for _ in range(substeps):
            substep(plan, h, factor, drive, state, state, tape, flows, memory)
        unpacked(plan, out[member], state, False)


@on_disk
def tangent_all(
    plan: Plan,
    h: float,
    substeps: int,
    w: Array,
    half: Array,
    source: Array,
    dw: Array,
    dhalf: Array,
    dsource: Array,
    out: Array,
) -> None:
    """The tangents of a step of all members."""
    memory = allocated(plan)
    size, dtype = len(memory.x), memory.x.dtype
    state = np.zeros(size, dtype)
    before = np.zeros(size, dtype)
    factor = np.zeros(size, dtype)
    drive = np.zeros(size, dtype)
    d_state = np.zeros(size, dtype)
    d_factor = np.zeros(size, dtype)
    d_drive = np.zeros(size, dtype)
    tape, flows = np.zeros((3, size), dtype), np.zeros((4, 2 * plan.width * plan.padded), dtype)
    for member in range(len(w)):
        packed(plan, factor, half[member % len(half)], True)
        packed(plan, drive, source[member % len(source)], False)
        packed(plan, state, w[member], False)
        packed(plan, d_factor, dhalf[member % len(dhalf)], True)
        packed(plan, d_drive, dsource[member % len(dsource)], False)
        packed(plan, d_state, dw[member], False)
        for _ in range(substeps):
            before[:] = state
            substep(plan, h, factor, drive, before, state, tape, flows, memory)
            substep_tangent(plan, h, factor, before, d_state, d_factor, d_drive, tape, flows, memory)
        unpacked(plan, out[member], d_state, False)


@on_disk
def adjoint_all(
    plan: Plan,
    h: float,
    substeps: int,
    w: Array,
    half: Array,
    source: Array,
    gradient: Array,
    dw: Array,
    dhalf: Array,
    dsource: Array,
) -> None:
    """The adjoints of a step of all members: the gradients of vorticities and parameters."""
    memory = allocated(plan)
    size, dtype = len(memory.x), memory.x.dtype
    states, tape = np.zeros((substeps + 1, size), dtype), np.zeros((substeps, 3, size), dtype)
    flows = np.empty((substeps, 4, 2 * plan.width * plan.padded), dtype)
    factor = np.zeros(size, dtype)
    drive = np.zeros(size, dtype)
    d_state = np.zeros(size, dtype)
    d_factor = np.zeros(size, dtype)
    d_drive = np.zeros(size, dtype)
    for member in range(len(w)):
        packed(plan, factor, half[member % len(half)], True)
        packed(plan, drive, source[member % len(source)], False)
        packed(plan, states[0], w[member], False)
        packed(plan, d_state, gradient[member], False)
        d_factor[:] = 0
        d_drive[:] = 0
        for t in range(substeps):
            substep(plan, h, factor, drive, states[t], states[t + 1], tape[t], flows[t], memory)
        for t in range(substeps - 1, -1, -1):
            substep_adjoint(plan, h, factor, states[t], d_state, d_factor, d_drive, tape[t], flows[t], memory)
        unpacked(plan, dw[member], d_state, False)
        unpacked(plan, dhalf[member], d_factor, True)
        unpacked(plan, dsource[member], d_drive, False)


def advance(model: Lawson, w: Tensor, half: Tensor, source: Tensor) -> Tensor:
    """As :meth:`posterity.systems.lawson.Lawson.advance`."""
    out = torch.zeros_like(w)
    _of_members(advance_all, model, w, half, source, out)
    return out


def tangent(
    model: Lawson, w: Tensor, half: Tensor, source: Tensor, dw: Tensor, dhalf: Tensor, dsource: Tensor
) -> Tensor:
    """As :meth:`posterity.systems.lawson.Lawson.tangent`."""
    out = torch.zeros_like(w)
    _of_members(tangent_all, model, w, half, source, dw, dhalf, dsource, out)
    return out


def adjoint(model: Lawson, w: Tensor, half: Tensor, source: Tensor, g: Tensor, parameters: bool) -> tuple[Tensor, ...]:
    """As :meth:`posterity.systems.lawson.Lawson.adjoint`; the gradients of parameters cost next to nothing more."""
    out = tuple(torch.zeros_like(w) for _ in range(3))
    _of_members(adjoint_all, model, w, half, source, g, *out)
    return out if parameters else out[:1]


def _of_members(function: Callable[..., None], model: Lawson, *tensors: Tensor) -> None:
    """Calls a compiled function, with the members among as many threads as torch has; the last tensors are results."""
    fields = [v.contiguous().numpy(force=True).reshape(-1, *v.shape[-2:]) for v in tensors]
    members, fine = len(fields[0]), model.fine
    constants = planned(fine, fields[0].real.dtype, BYTES), model.h, model.substeps
    work = members * model.substeps * fine.height * fine.width

    def part(start: int, stop: int) -> None:
        function(*constants, *(v if len(v) == 1 else v[start:stop] for v in fields))

    shared(part, members, work // GRAIN)
