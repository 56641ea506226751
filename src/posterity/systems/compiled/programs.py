"""Programs of :mod:`posterity.systems.expressions` as instructions of the compiler, in vectors of members.

A program is a type of its own to numba, so that functions are compiled for each, and kept on disk under its name.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import NativeValue, register_model, typeof_impl, unbox

from ..equations.expressions import Program
from .lanes import Lanes

#: Called without its first argument, which type checkers do not know.
intrinsic: Any = extending.intrinsic


class ProgramType(types.Type):
    """The type of a program, which holds it.

    Args:
        program: The program.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        super().__init__(f"Program({program.digest})")


register_model(ProgramType)(models.OpaqueModel)


@typeof_impl.register(Program)
def _typeof(program: Program, _: Any) -> ProgramType:
    return ProgramType(program)


@unbox(ProgramType)
def _unboxed(_: Any, program: Any, context: Any) -> NativeValue:
    return NativeValue(context.context.get_dummy_value())


def _evaluated(sites: int) -> Any:
    """The function that evaluates a program at so many sites, which share what they load."""

    @intrinsic
    def at_sites(
        _: Any, program: Any, memory: Any, pitch: Any, at: Any, thetas: Any, fields: Any,
        before: Any, alpha: Any, after: Any, base: Any, beta: Any, gamma: Any, onward: Any,
    ) -> Any:  # fmt: skip
        r"""Evaluates a program, for a vector of members, and uses the results :math:`v`, channel by channel:

        .. math:: \text{after} = \text{before} + \alpha v, \qquad \text{onward} = \beta\, \text{base} + \gamma v .

        Fields are places in the memory; their channels are ``pitch`` numbers apart, and the first site is ``at``.
        """

        def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, array, pitch, at, thetas, fields, before, alpha, after, base, beta, gamma, onward = arguments
            machine = _Machine(context, builder, memory, array, pitch, at)
            values = machine.run(
                program.program, cgutils.unpack_tuple(builder, thetas), cgutils.unpack_tuple(builder, fields), sites
            )
            alpha, beta, gamma = (machine.spread(number) for number in (alpha, beta, gamma))
            for site, results in enumerate(values):
                for channel, value in enumerate(results):
                    here = machine.index(channel, site)
                    start, scaled = machine.load(before, here), machine.on("fmul", beta, machine.load(base, here))
                    machine.store(machine.on("fadd", start, machine.on("fmul", alpha, value)), after, here)
                    machine.store(machine.on("fadd", scaled, machine.on("fmul", gamma, value)), onward, here)
            return context.get_dummy_value()

        place, number = types.intp, memory.dtype
        return types.void(
            program, memory, place, place, thetas, fields, place, number, place, place, number, number, place
        ), generated

    return at_sites


#: Sites that are evaluated together.
SITES = 4
evaluated, evaluated_together = _evaluated(1), _evaluated(SITES)


@intrinsic
def gathered(_: Any, program: Any, memory: Any, pitch: Any, at: Any, thetas: Any, fields: Any, sums: Any) -> Any:
    """Evaluates a program at a site, for a vector of members, and adds its results to sums, places in the memory."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, array, pitch, at, thetas, fields, sums = arguments
        machine = _Machine(context, builder, memory, array, pitch, at)
        (values,) = machine.run(
            program.program, cgutils.unpack_tuple(builder, thetas), cgutils.unpack_tuple(builder, fields), 1
        )
        for parameter, value in enumerate(values):
            row = machine.number(parameter * machine.lanes.count)
            machine.store(machine.on("fadd", machine.load(sums, row), value), sums, row)
        return context.get_dummy_value()

    return types.void(program, memory, types.intp, types.intp, thetas, fields, types.intp), generated


class _Machine:
    """What writes instructions for vectors of an array's numbers.

    Args:
        context: Numba's.
        builder: Numba's.
        array: The type of the array.
        value: The array.
        pitch: From one channel to the next.
        at: The first site.
    """

    def __init__(self, context: Any, builder: Any, array: Any, value: Any, pitch: Any, at: Any) -> None:
        self.builder, self.lanes, self.pitch, self.at = builder, Lanes(array.dtype), pitch, at
        self.vector = context.get_value_type(self.lanes)
        self.data = context.make_array(array)(context, builder, value).data
        # The memory starts at a whole vector, and all places are whole ones.
        self.align = array.dtype.bitwidth // 8 * self.lanes.count

    def run(self, program: Program, thetas: Sequence[Any], fields: Sequence[Any], sites: int) -> list[list[Any]]:
        """The results of a program at some sites."""
        loaded: dict[tuple[int, ...], Any] = {}

        def once(place: Any, index: Any, *key: int) -> Any:
            if key not in loaded:
                loaded[key] = self.load(place, index)
            return loaded[key]

        results = []
        for site in range(sites):
            found: list[Any] = []
            for operation, *arguments in program.instructions:
                if operation == "number":
                    found.append(ir.Constant(self.vector, [arguments[0]] * self.lanes.count))
                elif operation == "input":
                    field, channel, offset = map(int, arguments)
                    index = self.index(channel, site + offset)
                    found.append(once(fields[field], index, field, channel, site + offset))
                elif operation == "parameter":
                    field, parameter = map(int, arguments)
                    found.append(once(thetas[field], self.number(parameter * self.lanes.count), field, parameter))
                else:
                    found.append(self.on(operation, *(found[int(argument)] for argument in arguments)))
            results.append([found[place] for place in program.outputs])
        return results

    def number(self, value: int) -> Any:
        """A constant index."""
        return ir.Constant(self.pitch.type, value)

    def index(self, channel: int, site: int) -> Any:
        """Where a channel is, so many sites behind the first one."""
        row = self.builder.add(self.at, self.builder.mul(self.pitch, self.number(channel)))
        return self.builder.add(row, self.number(site * self.lanes.count))

    def on(self, operation: str, *arguments: Any) -> Any:
        """One operation; a product and a sum may become one instruction, rounded once."""
        return getattr(self.builder, operation)(*arguments, flags=("contract",))

    def spread(self, number: Any) -> Any:
        """One number in all lanes."""
        nothing, first = ir.Constant(self.vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        one = self.builder.insert_element(nothing, number, first)
        places = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes.count), [0] * self.lanes.count)
        return self.builder.shuffle_vector(one, nothing, places)

    def load(self, place: Any, index: Any) -> Any:
        """The vector at a place and index of the array."""
        return self.builder.load(self._pointer(place, index), align=self.align)

    def store(self, value: Any, place: Any, index: Any) -> None:
        """Puts a vector there."""
        self.builder.store(value, self._pointer(place, index), align=self.align)

    def _pointer(self, place: Any, index: Any) -> Any:
        pointer = self.builder.gep(self.data, [self.builder.add(place, index)])
        return self.builder.bitcast(pointer, self.vector.as_pointer())
