"""Transforms of fields on periodic grids, compiled by numba, and the advection of a vorticity by its own flow.

A transform goes along one axis at a time, and does some neighbours on the other axis at once, in vectors
(:mod:`posterity.systems.compiled.lanes`). Two real fields are the real and the imaginary part of one complex field, so
that there and back are one transform each; and of the waves along :math:`x` only those kept are transformed along
:math:`y`, which are a third.

Waves are flat arrays of numbers, all real parts before all imaginary parts, with one row per wave number along
:math:`y` that is kept, and columns up to a whole number of vectors.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .lanes import BYTES, load, not_inlined, spread, store, transpose
from .plan import Array, Plan

compiled = njit(nogil=True, error_model="numpy")


class Memory(NamedTuple):
    """What a substep works in.

    Args:
        re: Real parts of sequences that :func:`fourier` transforms.
        im: Their imaginary parts.
        to_re: Real parts of what they become.
        to_im: Their imaginary parts.
        between: The fields between the transforms along the two axes, columns of points along y.
        start: Waves, as the next three.
        end: The end of a tangent or an adjoint.
        x: What goes into an advection, and comes out.
        zero: Zeros.
    """

    re: Array
    im: Array
    to_re: Array
    to_im: Array
    between: Array
    start: Array
    end: Array
    x: Array
    zero: Array


@njit(forceinline=True)
def rotated(re: Array, im: Array, at: int, x: Any, y: Any, roots: Array, root: int) -> None:
    """Stores complex numbers times a root of unity."""
    c, s = spread(roots[0, root]), spread(roots[1, root])
    store(re, at, c * x - s * y)
    store(im, at, c * y + s * x)


@compiled
def fourier(re: Array, im: Array, to_re: Array, to_im: Array, radices: Array, roots: Array) -> tuple[Array, Array]:
    """The discrete Fourier transforms of as many sequences as a vector has lanes, not scaled (Stockham's scheme).

    That of the imaginary and the real part in each other's place is the inverse.

    Args:
        re: The real parts: all lanes of the first entry, of the second, and so on.
        im: The imaginary parts.
        to_re: Memory of the same size.
        to_im: The same.
        radices: The factors of the length.
        roots: Cosines and sines of all fractions of a turn.

    Returns:
        Those two of the four arrays that hold the transforms.
    """
    not_inlined()
    count, n = BYTES // re.itemsize, roots.shape[1]
    left, done = n, 1
    for radix in radices:
        left //= radix
        apart, between = done * left * count, done * count
        for p in range(left):
            for q in range(done):
                i, o, root = (q + done * p) * count, (q + done * radix * p) * count, done * p
                if radix == 4:
                    a, b = load(re, i), load(im, i)
                    c, d = load(re, i + 2 * apart), load(im, i + 2 * apart)
                    even_re, even_im, odd_re, odd_im = a + c, b + d, a - c, b - d
                    a, b = load(re, i + apart), load(im, i + apart)
                    c, d = load(re, i + 3 * apart), load(im, i + 3 * apart)
                    sum_re, sum_im, turned_re, turned_im = a + c, b + d, b - d, c - a
                    store(to_re, o, even_re + sum_re)
                    store(to_im, o, even_im + sum_im)
                    o += between
                    rotated(to_re, to_im, o, odd_re + turned_re, odd_im + turned_im, roots, root)
                    o += between
                    rotated(to_re, to_im, o, even_re - sum_re, even_im - sum_im, roots, 2 * root)
                    o += between
                    rotated(to_re, to_im, o, odd_re - turned_re, odd_im - turned_im, roots, 3 * root)
                else:
                    for k in range(radix):
                        a = b = spread(re.dtype.type(0))
                        for j in range(radix):
                            at = (j * k * (n // radix) + k * root) % n
                            c, s = spread(roots[0, at]), spread(roots[1, at])
                            x, y = load(re, i + j * apart), load(im, i + j * apart)
                            a, b = a + (c * x - s * y), b + (c * y + s * x)
                        store(to_re, o + k * between, a)
                        store(to_im, o + k * between, b)
        done *= radix
        re, im, to_re, to_im = to_re, to_im, re, im
    return re, im


@compiled
def synthesised(plan: Plan, w: Array, factor: Array, memory: Memory) -> None:
    """The transforms along y of two products of waves with factors, from columns of waves to columns of points."""
    not_inlined()
    re, im, between = memory.re, memory.im, memory.between
    count, size = BYTES // re.itemsize, len(w) // 2
    zero = spread(re.dtype.type(0))
    # Factors of velocities lack one of i, but for the mean.
    velocity = factor is plan.velocity
    for column in range(0, 2 * plan.stride, count):
        part, first = divmod(column, plan.stride)
        for row in range(plan.largest + 1, plan.height - plan.largest):
            store(re, row * count, zero)
            store(im, row * count, zero)
        for kept in range(2 * plan.largest + 1):
            row = kept if kept <= plan.largest else kept + plan.height - 2 * plan.largest - 1
            i = kept * plan.stride + first
            f, x, y = load(factor, part * size + i), load(w, i), load(w, size + i)
            store(re, row * count, zero - f * y if velocity else f * x)
            store(im, row * count, f * x if velocity else f * y)
        if velocity and first == 0:
            re[0] = w[part * size]
        y_im, y_re = fourier(im, re, memory.to_im, memory.to_re, plan.radices_y, plan.roots_y)
        to = 2 * column * plan.padded
        for y in range(0, plan.height, count):
            transpose(y_re, y * count, count, between, to + y, 2 * plan.padded)
            transpose(y_im, y * count, count, between, to + plan.padded + y, 2 * plan.padded)


@compiled
def analysed(plan: Plan, w: Array, factor: Array, memory: Memory) -> None:
    """The adjoint of :func:`synthesised`, for the mean of products over the grid."""
    not_inlined()
    re, im, between = memory.re, memory.im, memory.between
    count, size = BYTES // re.itemsize, len(w) // 2
    velocity = factor is plan.velocity
    scale = re.dtype.type(1 / (2 * plan.height * plan.width))
    for column in range(0, 2 * plan.stride, count):
        part, first = divmod(column, plan.stride)
        to = 2 * column * plan.padded
        for y in range(0, plan.height, count):
            transpose(between, to + y, 2 * plan.padded, re, y * count, count)
            transpose(between, to + plan.padded + y, 2 * plan.padded, im, y * count, count)
        y_re, y_im = fourier(re, im, memory.to_re, memory.to_im, plan.radices_y, plan.roots_y)
        for kept in range(2 * plan.largest + 1):
            row = kept if kept <= plan.largest else kept + plan.height - 2 * plan.largest - 1
            i = kept * plan.stride + first
            f = spread(scale) * load(factor, part * size + i)
            a, b = f * load(y_re, row * count), f * load(y_im, row * count)
            x, y = (b, spread(re.dtype.type(0)) - a) if velocity else (a, b)
            store(w, i, x if part == 0 else load(w, i) + x)
            store(w, size + i, y if part == 0 else load(w, size + i) + y)
        if velocity and first == 0:
            w[part * size] = scale * y_re[0]


@compiled
def fields(plan: Plan, y: int, memory: Memory) -> tuple[Array, Array]:
    """The two fields of a few rows, by the transform along x: one is its real part, the other the imaginary part."""
    not_inlined()
    re, im, between = memory.re, memory.im, memory.between
    count, side = BYTES // re.itemsize, plan.stride * 2 * plan.padded
    zero = spread(re.dtype.type(0))
    store(re, 0, load(between, y))
    store(im, 0, load(between, side + y))
    for x in range(plan.columns, plan.width - plan.columns + 1):
        store(re, x * count, zero)
        store(im, x * count, zero)
    for k in range(1, plan.columns):
        i, j = 2 * k * plan.padded + y, side + 2 * k * plan.padded + y
        a, b, c, d = load(between, i), load(between, i + plan.padded), load(between, j), load(between, j + plan.padded)
        store(re, k * count, a - d)
        store(im, k * count, b + c)
        store(re, (plan.width - k) * count, a + d)
        store(im, (plan.width - k) * count, c - b)
    im, re = fourier(im, re, memory.to_im, memory.to_re, plan.radices_x, plan.roots_x)
    return re, im


@compiled
def waves_of(plan: Plan, y: int, memory: Memory) -> None:
    """The adjoint of :func:`fields`, twice."""
    not_inlined()
    between = memory.between
    count, side = BYTES // between.itemsize, plan.stride * 2 * plan.padded
    two = spread(between.dtype.type(2))
    re, im = fourier(memory.re, memory.im, memory.to_re, memory.to_im, plan.radices_x, plan.roots_x)
    store(between, y, two * load(re, 0))
    store(between, side + y, two * load(im, 0))
    for k in range(1, plan.columns):
        i, j, m, n = 2 * k * plan.padded + y, side + 2 * k * plan.padded + y, k * count, (plan.width - k) * count
        a, b, c, d = load(re, m), load(im, m), load(re, n), load(im, n)
        store(between, i, a + c)
        store(between, i + plan.padded, b - d)
        store(between, j, b + d)
        store(between, j + plan.padded, c - a)


@compiled
def advection(plan: Plan, w: Array, out: Array, flow: Array, memory: Memory) -> None:
    """The advection of a vorticity; keeps the flow if there is a place for it."""
    not_inlined()
    count, length = BYTES // w.itemsize, plan.width * (BYTES // w.itemsize)
    synthesised(plan, w, plan.velocity, memory)
    for y in range(0, plan.height, count):
        re, im = fields(plan, y, memory)
        for i in range(0, length, count):
            u, v = load(re, i), load(im, i)
            store(memory.re, i, u * v)
            store(memory.im, i, v * v - u * u)
            if len(flow) > 0:
                store(flow, 2 * y * plan.width + i, u)
                store(flow, 2 * y * plan.width + length + i, v)
        waves_of(plan, y, memory)
    analysed(plan, out, plan.stresses, memory)


@compiled
def advection_tangent(plan: Plan, dw: Array, out: Array, flow: Array, memory: Memory) -> None:
    """The tangent of the advection at a flow."""
    not_inlined()
    count, length = BYTES // dw.itemsize, plan.width * (BYTES // dw.itemsize)
    two = spread(dw.dtype.type(2))
    synthesised(plan, dw, plan.velocity, memory)
    for y in range(0, plan.height, count):
        re, im = fields(plan, y, memory)
        for i in range(0, length, count):
            u, v = load(flow, 2 * y * plan.width + i), load(flow, 2 * y * plan.width + length + i)
            du, dv = load(re, i), load(im, i)
            store(memory.re, i, u * dv + v * du)
            store(memory.im, i, two * (v * dv - u * du))
        waves_of(plan, y, memory)
    analysed(plan, out, plan.stresses, memory)


@compiled
def advection_adjoint(plan: Plan, g: Array, out: Array, flow: Array, memory: Memory) -> None:
    """The adjoint of the advection at a flow, for the mean of products over the grid."""
    not_inlined()
    count, length = BYTES // g.itemsize, plan.width * (BYTES // g.itemsize)
    two = spread(g.dtype.type(2))
    synthesised(plan, g, plan.stresses, memory)
    for y in range(0, plan.height, count):
        re, im = fields(plan, y, memory)
        for i in range(0, length, count):
            u, v = load(flow, 2 * y * plan.width + i), load(flow, 2 * y * plan.width + length + i)
            p, q = load(re, i), load(im, i)
            store(memory.re, i, v * p - two * (u * q))
            store(memory.im, i, u * p + two * (v * q))
        waves_of(plan, y, memory)
    analysed(plan, out, plan.velocity, memory)


@compiled
def allocated(plan: Plan) -> Memory:
    """Zeros to work in: what stands beside the grid and its waves stays zero."""
    dtype = plan.velocity.dtype
    size, count = len(plan.velocity), BYTES // plan.velocity.itemsize
    # Of lengths that keep the buffers from sharing the lines of a cache.
    length = (-(-max(plan.height, plan.width) // count) * count + 9) * count
    work = np.zeros((4, length), dtype)
    waves = np.zeros((4, size), dtype)
    between = np.zeros(4 * plan.stride * plan.padded, dtype)
    return Memory(work[0], work[1], work[2], work[3], between, waves[0], waves[1], waves[2], waves[3])
