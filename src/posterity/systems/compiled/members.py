"""How members lie in the memory of compiled rollouts: as many as a vector has lanes, side by side."""

from functools import lru_cache
from typing import NamedTuple

from ..equations.expressions import Integration
from .lanes import BYTES, load, not_inlined, spread, store, transpose
from .loops import inner
from .plan import Array


class Layout(NamedTuple):
    """How a state lies in the memory: sites after sites of each channel, each a vector, with ghosts at both ends.

    Args:
        channels: The number of channels.
        sites: The number of sites.
        parameters: The number of parameters.
        reach: The number of ghosts at each end.
        pitch: The numbers of one channel.
        size: The numbers of a field.
        substeps: The integration steps of a step.
        h: Their length.
    """

    channels: int
    sites: int
    parameters: int
    reach: int
    pitch: int
    size: int
    substeps: int
    h: float


@lru_cache
def laid_out(integration: Integration, lanes: int) -> Layout:
    """The layout of an integration, for a number of lanes."""
    equations, sites, substeps, h = integration
    pitch = (sites + 2 * equations.reach) * lanes
    size = max(equations.channels * pitch, equations.parameters * lanes)
    return Layout(equations.channels, sites, equations.parameters, equations.reach, pitch, size, substeps, h)


@inner
def around(layout: Layout, memory: Array, field: int) -> None:
    """Sets the ghosts: the ring goes on at both ends."""
    lanes = BYTES // memory.itemsize
    for channel in range(layout.channels):
        first = field + channel * layout.pitch + layout.reach * lanes
        # Counted round the ring, which may be shorter than the reach; remainders take longer than all the rest.
        before, behind = layout.sites - 1, 0
        for k in range(layout.reach):
            store(memory, first - (k + 1) * lanes, load(memory, first + before * lanes))
            store(memory, first + (k + layout.sites) * lanes, load(memory, first + behind * lanes))
            before = before - 1 if before else layout.sites - 1
            behind = behind + 1 if behind + 1 < layout.sites else 0


@inner
def added(layout: Layout, memory: Array, out: int, one: int, two: int) -> None:
    """Sets out = one + two."""
    for i in range(0, layout.channels * layout.pitch, BYTES // memory.itemsize):
        store(memory, out + i, load(memory, one + i) + load(memory, two + i))


@inner
def taken(
    layout: Layout, memory: Array, field: int, values: Array, jump: int, shift: int, first: int, count: int
) -> None:
    """Sets a field to the states of some members.

    Args:
        layout: The layout.
        memory: The memory.
        field: The place of the field.
        values: The states of all members; once more from the start where there are more members than these.
        jump: From one member to the next.
        shift: To the states, from the start of a member.
        first: The first of the members.
        count: Their number.
    """
    not_inlined()
    lanes = BYTES // memory.itemsize
    rows = len(values) // jump
    row = first % rows
    for channel in range(layout.channels):
        to, at = field + channel * layout.pitch + layout.reach * lanes, shift + channel * layout.sites
        if lanes == count <= min(layout.sites, rows - row):
            for i in range(0, layout.sites, lanes):
                # The last square may overlap with the one before.
                i = min(i, layout.sites - lanes)
                transpose(values, row * jump + at + i, jump, memory, to + i * lanes, lanes)
        elif rows == 1:
            for i in range(layout.sites):
                store(memory, to + i * lanes, spread(values[at + i]))
        else:
            for lane in range(count):
                start = (row + lane) % rows * jump + at
                for i in range(layout.sites):
                    memory[to + i * lanes + lane] = values[start + i]
    around(layout, memory, field)


@inner
def given(
    layout: Layout, memory: Array, field: int, values: Array, jump: int, shift: int, first: int, count: int
) -> None:
    """Puts the states of some members, which are a field, among those of all."""
    not_inlined()
    lanes = BYTES // memory.itemsize
    for channel in range(layout.channels):
        start, at = field + channel * layout.pitch + layout.reach * lanes, shift + channel * layout.sites
        if lanes == count <= layout.sites:
            for i in range(0, layout.sites, lanes):
                i = min(i, layout.sites - lanes)
                transpose(memory, start + i * lanes, lanes, values, first * jump + at + i, jump)
        else:
            for lane in range(count):
                for i in range(layout.sites):
                    values[(first + lane) * jump + at + i] = memory[start + i * lanes + lane]


@inner
def taken_numbers(layout: Layout, memory: Array, field: int, values: Array, first: int, count: int) -> None:
    """Sets a field to the parameters of some members."""
    lanes = BYTES // memory.itemsize
    for p in range(layout.parameters):
        rows = len(values) // layout.parameters
        for lane in range(count):
            memory[field + p * lanes + lane] = values[(first + lane) % rows * layout.parameters + p]


@inner
def given_numbers(layout: Layout, memory: Array, field: int, values: Array, first: int, count: int) -> None:
    """Puts numbers of some members, one for each parameter, among those of all, and sets the field to zero."""
    lanes = BYTES // memory.itemsize
    for p in range(layout.parameters):
        for lane in range(count):
            values[(first + lane) * layout.parameters + p] = memory[field + p * lanes + lane]
            memory[field + p * lanes + lane] = 0
