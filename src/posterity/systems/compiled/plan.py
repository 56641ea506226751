"""The constants of compiled transforms of fields: factors of lengths, roots of unity, and factors of waves."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..spectral import Waves

Array = NDArray[Any]


class Plan(NamedTuple):
    """The constants of a grid, in one precision.

    Args:
        height: The rows of the grid.
        width: Its columns.
        largest: The largest wave number along y.
        columns: The wave numbers along x from zero on.
        stride: The same, up to a whole number of vectors.
        padded: The rows of the grid, up to a whole and odd number of vectors.
        radices_y: The factors of a transform along y.
        radices_x: Those along x.
        roots_y: Cosines and sines of a transform along y.
        roots_x: Those along x.
        velocity: From a vorticity to the two velocities, less a factor of i.
        stresses: From the two stresses to the advection.
    """

    height: int
    width: int
    largest: int
    columns: int
    stride: int
    padded: int
    radices_y: Array
    radices_x: Array
    roots_y: Array
    roots_x: Array
    velocity: Array
    stresses: Array


@lru_cache(maxsize=64)
def planned(of: Waves, dtype: Any, vector: int) -> Plan:
    """The plan of a grid, made once, for vectors of so many bytes."""
    count = vector // np.dtype(dtype).itemsize
    largest, columns = of.largest[0], of.largest[1] + 1
    stride = -(-columns // count) * count
    # An odd number of vectors, so that columns do not share the lines of a cache.
    padded = (-(-of.height // count) | 1) * count

    def kept(pair: Array) -> Array:
        rows = np.concatenate((pair[:, : largest + 1], pair[:, of.height - largest :]), axis=1)
        return np.pad(rows, ((0, 0), (0, 0), (0, stride - columns))).astype(dtype).ravel()

    velocity = of.velocity.value.numpy().imag.copy()
    # The mean has no factor of i, and goes apart.
    velocity[:, 0, 0] = 0
    return Plan(
        of.height,
        of.width,
        largest,
        columns,
        stride,
        padded,
        factors(of.height),
        factors(of.width),
        roots(of.height).astype(dtype),
        roots(of.width).astype(dtype),
        kept(velocity),
        kept(of.stresses.value.numpy().real),
    )


def roots(points: int) -> Array:
    """Cosines and sines of all fractions of a turn, backwards: exact where they are a half or nothing.

    So that what cancels in a transform does so to the last bit, as waves along x of a flow that has none.
    """
    unit = np.longdouble("1.57079632679489661923132169163975144") / points

    def cosine(part: Array) -> Array:
        return np.where(2 * part <= points, np.cos(unit * part), np.sin(unit * (points - part)))

    quarter, rest = np.divmod(4 * np.arange(points), points)
    c, s = cosine(rest), cosine(points - rest)
    return np.stack((np.choose(quarter, (c, -s, -c, s)), np.choose(quarter, (-s, -c, s, c))))


def factors(points: int) -> NDArray[np.int64]:
    """Fours, and primes."""
    found = []
    for factor in (4, *range(2, points + 1)):
        while points % factor == 0 and points > 1:
            found.append(factor)
            points //= factor
    return np.array(found, dtype=np.int64)
