"""Vectors of numbers for compiled loops: a type for numba whose sums and products are one instruction of the CPU.

Compilers vectorise a loop if they can prove that its arrays do not overlap, which they cannot for the many arrays of a
fast Fourier transform. Here the vectors are explicit: :func:`load` takes as many neighbours of an array as fit into 64
bytes, ``+``, ``-`` and ``*`` work on all of them at once, and :func:`store` puts them back. Where registers are
shorter, the compiler splits them.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core.datamodel import models
from numba.extending import overload, register_model

#: Called without its first argument, which type checkers do not know.
intrinsic: Any = extending.intrinsic
#: The length of a vector in bytes.
BYTES = 64


class Lanes(types.Type):
    """The type of a vector of real numbers.

    Args:
        dtype: That of its numbers.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.count = dtype, 8 * BYTES // dtype.bitwidth
        super().__init__(f"Lanes({dtype})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    """A vector of LLVM."""

    def __init__(self, manager: Any, lanes: Lanes) -> None:
        number = manager.lookup(lanes.dtype).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(number, lanes.count))


def _pointer(context: Any, builder: Any, array: Any, value: Any, index: Any) -> Any:
    data = context.make_array(array)(context, builder, value).data
    vector = context.get_value_type(Lanes(array.dtype))
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def load(_: Any, array: Any, index: Any) -> Any:
    """The numbers of a flat array from an index on."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, array, *arguments), align=array.dtype.bitwidth // 8)

    return Lanes(array.dtype)(array, types.intp), generated


@intrinsic
def widened(_: Any, array: Any, index: Any) -> Any:
    """As many numbers of a flat array, from an index on, as a vector has in double precision: in this precision."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, doubles = Lanes(array.dtype), Lanes(types.float64)
        narrow = ir.VectorType(context.get_value_type(lanes).element, doubles.count)
        where = builder.bitcast(_pointer(context, builder, array, *arguments), narrow.as_pointer())
        value = builder.load(where, align=array.dtype.bitwidth // 8)
        return value if array.dtype == types.float64 else builder.fpext(value, context.get_value_type(doubles))

    return Lanes(types.float64)(array, types.intp), generated


@intrinsic
def store(_: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Puts numbers into a flat array from an index on."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where = _pointer(context, builder, array, *arguments[:2])
        builder.store(arguments[2], where, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generated


@intrinsic
def spread(_: Any, number: Any) -> Any:
    """One number in all lanes."""
    lanes = Lanes(number)

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(lanes)
        nothing = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(
            first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count)
        )

    return lanes(number), generated


@intrinsic
def transpose(_: Any, array: Any, at: Any, step: Any, other: Any, to: Any, stride: Any) -> Any:
    """Copies a square of numbers, as wide as a vector, with rows and columns exchanged.

    Its rows start at ``array[at]``, ``array[at + step]`` and so on, and go to ``other[to]``, ``other[to + stride]``.
    """

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(array.dtype)
        half, align = lanes.count // 2, array.dtype.bitwidth // 8

        def row(array: Any, place: Any, i: int) -> Any:
            value, first, step = place
            index = builder.add(first, builder.mul(step, ir.Constant(step.type, i)))
            return _pointer(context, builder, array, value, index)

        def interleaved(a: Any, b: Any, first: int) -> Any:
            order = [i + lanes.count * of for i in range(first, first + half) for of in (0, 1)]
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), order))

        rows = [builder.load(row(array, arguments[:3], i), align=align) for i in range(lanes.count)]
        # Rows are shuffled together like cards: the number of the place is turned by a bit each time.
        for _ in range(half.bit_length()):
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [interleaved(a, b, first) for a, b in pairs for first in (0, half)]
        for i, value in enumerate(rows):
            builder.store(value, row(other, arguments[3:], i), align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, other, types.intp, types.intp), generated


@intrinsic
def not_inlined(_: Any) -> Any:
    """Keeps the function that this stands in from being copied into others, which takes compilers long."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generated


def _instruction(name: str) -> Callable[[Any, Any], Any]:
    @intrinsic
    def of_both(_: Any, first: Any, second: Any) -> Any:
        def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            # A product and a sum may become one instruction, rounded once.
            return getattr(builder, name)(*arguments, flags=("contract",))

        return first(first, second), generated

    return of_both


def _operator(function: Callable[[Any, Any], Any], name: str) -> None:
    instruction = _instruction(name)
    overload(function)(
        lambda first, second: (
            (lambda first, second: instruction(first, second))
            if isinstance(first, Lanes) and isinstance(second, Lanes)
            else None
        )
    )


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
