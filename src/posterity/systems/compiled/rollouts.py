"""Rollouts of ordinary differential equations compiled by numba, with their derivatives, for CPUs.

As many members as a vector has lanes go through all steps together, so that what they need stays in the CPU's first
cache. Vectors are always whole: what a member gives does not depend on those beside it.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import typeof, types
from numba.np.numpy_support import from_dtype
from torch import Tensor

from ..equations.expressions import Integration, Program
from ..equations.rollouts import whole_batch
from .lanes import BYTES
from .loops import announced, kept_on_disk, shared
from .members import Layout, added, given, given_numbers, laid_out, taken, taken_numbers
from .ode import recorded, recorded_tangent, runge_kutta, runge_kutta_adjoint, stages, summed
from .plan import Array

#: The work that is worth a thread of its own, in evaluations of a channel at a site for a vector: some milliseconds.
GRAIN = 2**17
#: A number that is no type of its own to numba, as literals are: functions would be compiled once more for it.
ZERO = np.intp(0)

on_disk = kept_on_disk("lanes", "members", "ode", "programs", "rollouts")


@on_disk
def rollout_all(
    value: Program, layout: Layout, memory: Array, start: int, stop: int, steps: int, x0: Array, error: Array,
    theta: Array, out: Array,
) -> None:  # fmt: skip
    """The trajectories of the members from ``start`` to ``stop``."""
    lanes, n, size = BYTES // out.itemsize, layout.channels * layout.sites, layout.size
    th, x, a, b, c, total, moved = ZERO, size, 2 * size, 3 * size, 4 * size, 5 * size, 6 * size
    for first in range(start, stop, lanes):
        count = min(lanes, stop - first)
        taken_numbers(layout, memory, th, theta, first, count)
        taken(layout, memory, x, x0, n, ZERO, first, count)
        given(layout, memory, x, out, (steps + 1) * n, ZERO, first, count)
        for t in range(steps):
            for _ in range(layout.substeps):
                runge_kutta(value, layout, memory, (th,), ((x,), (a,), (b,), (c,)), x, a, b, c, total, x)
            if len(error):
                taken(layout, memory, moved, error, steps * n, t * n, first, count)
                added(layout, memory, x, x, moved)
            given(layout, memory, x, out, (steps + 1) * n, (t + 1) * n, first, count)


@on_disk
def tangent_all(
    value: Program, tangent: Program, layout: Layout, memory: Array, start: int, stop: int, steps: int, path: Array,
    theta: Array, dx0: Array, derror: Array, dtheta: Array, out: Array,
) -> None:  # fmt: skip
    """The changes of the trajectories of some members with those of initial states, errors and parameters."""
    lanes, n, size = BYTES // out.itemsize, layout.channels * layout.sites, layout.size
    th, dth, total, moved, tape = ZERO, size, 2 * size, 3 * size, 4 * size
    dx = tape + 4 * layout.substeps * size
    for first in range(start, stop, lanes):
        count = min(lanes, stop - first)
        taken_numbers(layout, memory, th, theta, first, count)
        taken_numbers(layout, memory, dth, dtheta, first, count)
        taken(layout, memory, dx, dx0, n, ZERO, first, count)
        given(layout, memory, dx, out, (steps + 1) * n, ZERO, first, count)
        for t in range(steps):
            taken(layout, memory, tape, path, (steps + 1) * n, t * n, first, count)
            recorded(value, layout, memory, th, tape, total, -1)
            recorded_tangent(tangent, layout, memory, (th, dth), tape, dx, total, dx)
            if len(derror):
                taken(layout, memory, moved, derror, steps * n, t * n, first, count)
                added(layout, memory, dx, dx, moved)
            given(layout, memory, dx, out, (steps + 1) * n, (t + 1) * n, first, count)


@on_disk
def adjoint_all(
    value: Program, adjoint: Program, adjoint_parameters: Program, layout: Layout, memory: Array, start: int,
    stop: int, steps: int, kept: int, path: Array, theta: Array, gradient: Array, out: Array,
    sums: Array,
) -> None:  # fmt: skip
    """The adjoint of some members: the gradients of the first states, or all, and of parameters.

    That of a later state is the gradient of the error behind the step to it, too.
    """
    lanes, n, size = BYTES // out.itemsize, layout.channels * layout.sites, layout.size
    th, total, moved, g, added_up, k, tape = ZERO, size, 2 * size, 3 * size, 4 * size, 5 * size, 9 * size
    for first in range(start, stop, lanes):
        count = min(lanes, stop - first)
        taken_numbers(layout, memory, th, theta, first, count)
        taken(layout, memory, g, gradient, (steps + 1) * n, steps * n, first, count)
        if steps < kept:
            given(layout, memory, g, out, kept * n, steps * n, first, count)
        for t in range(steps - 1, -1, -1):
            taken(layout, memory, tape, path, (steps + 1) * n, t * n, first, count)
            recorded(value, layout, memory, th, tape, total, -1)
            for s in range(layout.substeps - 1, -1, -1):
                fields = stages(layout, tape + 4 * s * size, k)
                runge_kutta_adjoint(adjoint, layout, memory, (th,), fields, g, k, total)
                if len(sums):
                    summed(adjoint_parameters, layout, memory, (th,), fields, added_up)
            taken(layout, memory, moved, gradient, (steps + 1) * n, t * n, first, count)
            added(layout, memory, g, g, moved)
            if t < kept:
                given(layout, memory, g, out, kept * n, t * n, first, count)
        if len(sums):
            given_numbers(layout, memory, added_up, sums, first, count)


@on_disk
def curvature_all(
    value: Program, tangent: Program, adjoint: Program, curvature: Program, curvature_parameters: Program,
    layout: Layout, memory: Array, start: int, stop: int, steps: int, path: Array, theta: Array, cotangent: Array,
    change: Array, dtheta: Array, out: Array, sums: Array,
) -> None:  # fmt: skip
    """The changes of the adjoints of single steps with states and parameters, of some members."""
    lanes, n, size = BYTES // out.itemsize, layout.channels * layout.sites, layout.size
    length = 4 * layout.substeps * size
    th, dth, total, g, dg, added_up = ZERO, size, 2 * size, 3 * size, 4 * size, 5 * size
    k, dk, tape, changes = 6 * size, 10 * size, 14 * size, 14 * size + length
    for first in range(start, stop, lanes):
        count = min(lanes, stop - first)
        taken_numbers(layout, memory, th, theta, first, count)
        taken_numbers(layout, memory, dth, dtheta, first, count)
        for t in range(steps):
            taken(layout, memory, tape, path, (steps + 1) * n, t * n, first, count)
            taken(layout, memory, changes, change, (steps + 1) * n, t * n, first, count)
            taken(layout, memory, g, cotangent, (steps + 1) * n, (t + 1) * n, first, count)
            memory[dg : dg + size] = 0
            recorded(value, layout, memory, th, tape, total, -1)
            recorded_tangent(tangent, layout, memory, (th, dth), tape, changes, total, -1)
            for s in range(layout.substeps - 1, -1, -1):
                x, y = tape + 4 * s * size, changes + 4 * s * size
                both = (
                    (x, k, y, dk),
                    (x + size, k + size, y + size, dk + size),
                    (x + 2 * size, k + 2 * size, y + 2 * size, dk + 2 * size),
                    (x + 3 * size, k + 3 * size, y + 3 * size, dk + 3 * size),
                )
                runge_kutta_adjoint(adjoint, layout, memory, (th,), stages(layout, x, k), g, k, total)
                runge_kutta_adjoint(curvature, layout, memory, (th, dth), both, dg, dk, total)
                summed(curvature_parameters, layout, memory, (th, dth), both, added_up)
            given(layout, memory, dg, out, (steps + 1) * n, t * n, first, count)
        given_numbers(layout, memory, added_up, sums, first, count)


def rollout(integration: Integration, steps: int, x0: Tensor, theta: Tensor, error: Tensor | None) -> Tensor:
    """The trajectories, with shape ``(*batch, steps + 1, n)``.

    Batches may lack dimensions on the left; the whole batch is that of the argument that has all.

    Args:
        integration: The integration.
        steps: The number of steps.
        x0: Initial states, with shape ``(*batch, n)``.
        theta: Parameters, with shape ``(*batch, parameters)``.
        error: Model errors, with shape ``(*batch, steps, n)``; none if omitted.
    """
    batch = whole_batch((x0, 1), (theta, 1), *(() if error is None else ((error, 2),)))
    out = x0.new_empty(*batch, steps + 1, x0.shape[-1])
    errors = x0.new_empty(0) if error is None else error
    equations = integration.equations
    of_members(rollout_all, (equations.value,), 7, integration, (steps,), batch, x0, errors, theta, out)
    return out


def tangent(
    integration: Integration, path: Tensor, theta: Tensor, dx0: Tensor, dtheta: Tensor, derror: Tensor | None
) -> Tensor:
    """The changes of trajectories, with the shape of these, with those of initial states, parameters and errors."""
    steps, n = path.shape[-2] - 1, path.shape[-1]
    extra = () if derror is None else ((derror, 2),)
    batch = whole_batch((path, 2), (theta, 1), (dx0, 1), (dtheta, 1), *extra)
    out = path.new_empty(*batch, steps + 1, n)
    errors = path.new_empty(0) if derror is None else derror
    programs, fields = (integration.equations.value, integration.equations.tangent), 4 + 8 * integration.substeps
    tensors = path, theta, dx0, errors, dtheta, out
    of_members(tangent_all, programs, fields, integration, (steps,), batch, *tensors)
    return out


def adjoint(
    integration: Integration, path: Tensor, theta: Tensor, gradient: Tensor, kept: int, parameters: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of states and parameters.

    Args:
        integration: The integration.
        path: The trajectories, with shape ``(*batch, steps + 1, n)``.
        theta: Parameters, with shape ``(*batch, parameters)``.
        gradient: What the states of trajectories are given, with their shape.
        kept: The number of states whose gradient is wanted: one, or all.
        parameters: Whether those of parameters are; else they are zero.

    Returns:
        The gradients, with shapes ``(*batch, kept, n)`` and ``(*batch, parameters)``.
    """
    steps, n = path.shape[-2] - 1, path.shape[-1]
    batch = whole_batch((path, 2), (theta, 1), (gradient, 2))
    out, sums = path.new_empty(*batch, kept, n), path.new_zeros(*batch, theta.shape[-1])
    equations = integration.equations
    programs = equations.value, equations.adjoint, equations.adjoint_parameters
    wanted = sums if parameters else path.new_empty(0)
    fields = 9 + 4 * integration.substeps
    of_members(adjoint_all, programs, fields, integration, (steps, kept), batch, path, theta, gradient, out, wanted)
    return out, sums


def curvature(
    integration: Integration, path: Tensor, theta: Tensor, cotangent: Tensor, change: Tensor, dtheta: Tensor
) -> tuple[Tensor, Tensor]:
    """The changes of the adjoints of single steps, for states, with the shape of trajectories, and for parameters."""
    steps, n = path.shape[-2] - 1, path.shape[-1]
    batch = whole_batch((path, 2), (theta, 1), (cotangent, 2), (change, 2), (dtheta, 1))
    out, sums = path.new_zeros(*batch, steps + 1, n), path.new_zeros(*batch, theta.shape[-1])
    e, fields = integration.equations, 14 + 8 * integration.substeps
    programs = e.value, e.tangent, e.adjoint, e.curvature, e.curvature_parameters
    tensors = path, theta, cotangent, change, dtheta, out, sums
    of_members(curvature_all, programs, fields, integration, (steps,), batch, *tensors)
    return out, sums


def of_members(
    function: Callable[..., None],
    programs: tuple[Program, ...],
    fields: int,
    integration: Integration,
    numbers: tuple[int, ...],
    batch: torch.Size,
    *tensors: Tensor,
    weight: int = 1,
) -> None:
    """Calls a compiled function, which needs some fields of memory, for all members, of so many rollouts each."""
    members = batch.numel()
    if not members:
        return
    arrays = [value.detach().contiguous().numpy().reshape(-1) for value in tensors]
    dtype = arrays[0].dtype
    lanes = BYTES // dtype.itemsize
    layout = laid_out(integration, lanes)
    dtypes = tuple(value.dtype for value in arrays)
    call = _compiled(function, integration.equations.name, programs, len(numbers), dtypes)

    def part(start: int, stop: int) -> None:
        # Torch's memory starts at a whole vector.
        memory = tensors[0].new_zeros(fields * layout.size).numpy()
        call(*programs, layout, memory, start, stop, *numbers, *arrays)

    work = weight * -(-members // lanes) * numbers[0] * layout.substeps * layout.channels * layout.sites
    shared(part, members, work // GRAIN, lanes)


@cache
def _compiled(
    function: Any, name: str, programs: tuple[Program, ...], numbers: int, dtypes: tuple[Any, ...]
) -> Callable[..., None]:
    """A function for one system and precision, without numba's look at the types of arguments at each call."""
    memory, *arrays = (types.Array(from_dtype(dtype), 1, "C") for dtype in (dtypes[0], *dtypes))
    layout = types.NamedTuple([*[types.intp] * (len(Layout._fields) - 1), types.float64], Layout)
    signature = (
        *map(typeof, programs), layout, memory, types.intp, types.intp, *[types.intp] * numbers, *arrays
    )  # fmt: skip
    with announced(f"{function.__name__} of {name} in {dtypes[0]}"):
        function.compile(signature)
    return function.get_overload(signature)
