"""Arithmetic that is written once, as a function of neighbours, and its derivatives as more of the same.

The right-hand sides of an ordinary differential equation, called with the symbols of this module instead of numbers,
write down what they compute: programs, from which loops are compiled (:mod:`posterity.systems.compiled.ode`), and
kernels (:mod:`posterity.systems.kernels.writer`). Those of tangents and adjoints follow by the chain rule, so that
nobody writes a derivative.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

#: An instruction: what is done, and with what. ``input`` has a field, a channel and an offset, ``parameter`` a field
#: and a place, ``number`` a value; all others have two results of earlier instructions.
Instruction = tuple[Any, ...]


class Neighbours(Protocol):
    """The state around a site: ``state[channel, offset]`` is the value so many sites further on, round the ring."""

    @property
    def channels(self) -> int:
        """The number of channels."""

    def __getitem__(self, key: tuple[int, int]) -> "Expression":
        """The value of a channel at an offset."""


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions, each on the results of earlier ones, and which of them are the results of all.

    Fields are the inputs that have neighbours: the state first, then its tangent; or a cotangent, and both tangents.

    Args:
        instructions: What is computed, in order, nothing twice.
        outputs: The places of the results.
    """

    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]

    def __eq__(self, other: object) -> bool:
        """Whether both do the same."""
        return isinstance(other, Program) and self.digest == other.digest

    def __hash__(self) -> int:
        """By what is done."""
        return hash(self.digest)

    @cached_property
    def reach(self) -> int:
        """The largest offset."""
        return max((abs(int(row[3])) for row in self.instructions if row[0] == "input" and len(row) == 4), default=0)

    @cached_property
    def digest(self) -> str:
        """A name that programs share which do the same."""
        return sha256(repr((self.instructions, self.outputs)).encode()).hexdigest()[:16]


class Tape:
    """Instructions as they are written down."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self._places: dict[Instruction, int] = {}

    def write(self, *instruction: str | float) -> "Expression":
        """Adds an instruction, unless it is there already."""
        place = self._places.setdefault(instruction, len(self.instructions))
        if place == len(self.instructions):
            self.instructions.append(instruction)
        return Expression(self, place)

    def program(self, outputs: Sequence["Expression"]) -> Program:
        """The program of some results, without what none of them needs."""
        clean = Tape()
        found = [_copied(clean, output, lambda row: row) for output in outputs]
        return Program(tuple(clean.instructions), tuple(expression.place for expression in found))


@dataclass(frozen=True)
class Expression:
    """The result of an instruction, with which to compute.

    Args:
        tape: Where it stands.
        place: Its number.
    """

    tape: Tape
    place: int

    @property
    def number(self) -> float | None:
        """Its value, if that is known."""
        row = self.tape.instructions[self.place]
        return row[1] if row[0] == "number" else None

    def _with(self, other: "Expression | float") -> "Expression":
        return other if isinstance(other, Expression) else self.tape.write("number", float(other))

    def __add__(self, other: "Expression | float") -> "Expression":
        other = self._with(other)
        if 0 in (self.number, other.number):
            return other if self.number == 0 else self
        for one, two in ((self, other), (other, self)):
            row = self.tape.instructions[two.place]
            if row[0] == "fsub" and Expression(self.tape, int(row[1])).number == 0:
                return one - Expression(self.tape, int(row[2]))
        return self.tape.write("fadd", self.place, other.place)

    def __sub__(self, other: "Expression | float") -> "Expression":
        other = self._with(other)
        return self if other.number == 0 else self.tape.write("fsub", self.place, other.place)

    def __mul__(self, other: "Expression | float") -> "Expression":
        other = self._with(other)
        if 0 in (self.number, other.number):
            return self._with(0)
        if 1 in (self.number, other.number):
            return other if self.number == 1 else self
        return self.tape.write("fmul", self.place, other.place)

    def __truediv__(self, other: "Expression | float") -> "Expression":
        return self.tape.write("fdiv", self.place, self._with(other).place)

    def __radd__(self, other: float) -> "Expression":
        return self._with(other) + self

    def __rsub__(self, other: float) -> "Expression":
        return self._with(other) - self

    def __rmul__(self, other: float) -> "Expression":
        return self._with(other) * self

    def __rtruediv__(self, other: float) -> "Expression":
        return self._with(other) / self

    def __neg__(self) -> "Expression":
        return 0 - self

    def __pow__(self, power: int) -> "Expression":
        if not isinstance(power, int) or power < 1:
            return NotImplemented
        return self if power == 1 else self ** (power - 1) * self


class Equations(NamedTuple):
    """What a rollout and its derivatives evaluate at a site.

    Args:
        name: That of the system, for messages.
        channels: The number of channels of a state.
        parameters: The number of parameters.
        value: The tendencies of a state, one output per channel.
        tangent: Their change with state and parameters; fields are the state and its tangent.
        adjoint: The transpose of that, for the state; fields are the state and the cotangent of the tendencies.
        adjoint_parameters: The same for the parameters: what the site adds to the gradient of each.
        curvature: The change of the adjoint with all of its inputs; fields are those of the adjoint, and the tangents.
        curvature_parameters: The same for the parameters.
    """

    name: str
    channels: int
    parameters: int
    value: Program
    tangent: Program
    adjoint: Program
    adjoint_parameters: Program
    curvature: Program
    curvature_parameters: Program

    @property
    def reach(self) -> int:
        """The largest offset of all."""
        return max(part.reach for part in self if isinstance(part, Program))


class Integration(NamedTuple):
    """An integration by the classical Runge–Kutta scheme.

    Args:
        equations: The right-hand sides.
        sites: The number of sites.
        substeps: The integration steps of a step.
        h: Their length, in model time units.
    """

    equations: Equations
    sites: int
    substeps: int
    h: float


def traced(
    name: str,
    equations: Callable[[Neighbours, Sequence[Expression]], Sequence[Expression]],
    channels: int,
    parameters: int,
) -> Equations:
    """Writes down what equations compute, and derives the rest.

    Args:
        name: The name of the system.
        equations: A function of the state around a site, and of the parameters: the tendency of each channel there.
        channels: The number of channels.
        parameters: The number of parameters.
    """
    tape = Tape()
    theta = [tape.write("parameter", 0, p) for p in range(parameters)]
    given = equations(Symbols(tape, channels), theta)
    value = [
        expression if isinstance(expression, Expression) else tape.write("number", expression) for expression in given
    ]
    if len(value) != channels:
        raise ValueError(f"equations: {len(value)} tendencies for {channels} channels; give one for each")
    tangent = [changed(tape, output, 1) for output in value]
    states, theirs = transposed(tape, value, [tape.write("input", 1, channel, 0) for channel in range(channels)])
    adjoint = [states.get(channel, tape.write("number", 0.0)) for channel in range(channels)]
    adjoint_parameters = [theirs.get(p, tape.write("number", 0.0)) for p in range(parameters)]
    parts = (
        value, tangent, adjoint, adjoint_parameters,
        [changed(tape, output, 2) for output in adjoint],
        [changed(tape, output, 2) for output in adjoint_parameters],
    )  # fmt: skip
    return Equations(name, channels, parameters, *map(tape.program, parts))


@dataclass(frozen=True)
class Symbols:
    """The state around a site as symbols."""

    tape: Tape
    channels: int

    def __getitem__(self, key: tuple[int, int]) -> Expression:
        return self.tape.write("input", 0, *key)


def _copied(tape: Tape, expression: Expression, changed: Callable[[Instruction], Instruction]) -> Expression:
    """Writes an expression once more, with other inputs."""
    rows, done = expression.tape.instructions, dict[int, Expression]()

    def copy(place: int) -> Expression:
        if place not in done:
            operation, *arguments = rows[place]
            if operation in ("input", "parameter", "number"):
                done[place] = tape.write(*changed(rows[place]))
            else:
                done[place] = tape.write(operation, *(copy(int(argument)).place for argument in arguments))
        return done[place]

    return copy(expression.place)


def _moved(by: int, row: Instruction) -> Instruction:
    """An input some sites further on."""
    return (*row[:3], row[3] + by) if row[0] == "input" else row


def changed(tape: Tape, output: Expression, fields: int) -> Expression:
    """The change of an expression with its inputs, whose own are so many fields further on."""
    done = dict[int, Expression]()

    def change(place: int) -> Expression:
        if place in done:
            return done[place]
        operation, *arguments = tape.instructions[place]
        if operation == "number":
            found = tape.write("number", 0.0)
        elif operation == "input":
            found = tape.write("input", arguments[0] + fields, *arguments[1:])
        elif operation == "parameter":
            found = tape.write("parameter", 1, arguments[1])
        else:
            a, b = (Expression(tape, int(argument)) for argument in arguments)
            da, db = change(a.place), change(b.place)
            if operation == "fadd":
                found = da + db
            elif operation == "fsub":
                found = da - db
            elif operation == "fmul":
                found = da * b + a * db
            else:
                found = (da - Expression(tape, place) * db) / b
        done[place] = found
        return found

    return change(output.place)


def transposed(
    tape: Tape, outputs: Sequence[Expression], cotangents: Sequence[Expression]
) -> tuple[dict[int, Expression], dict[int, Expression]]:
    """The gradients that cotangents of the outputs give to each channel at a site, and the site to each parameter."""
    bars = dict[int, Expression]()

    def add(place: int, bar: Expression) -> None:
        bars[place] = bars[place] + bar if place in bars else bar

    for output, cotangent in zip(outputs, cotangents, strict=True):
        add(output.place, cotangent)
    states, parameters = dict[int, Expression](), dict[int, Expression]()
    for place in range(max(bars), -1, -1):
        if place not in bars:
            continue
        bar, (operation, *arguments) = bars[place], tape.instructions[place]
        if operation == "input":
            # What this site gives to a neighbour is what the neighbour gets from the other side.
            channel, moved = arguments[1], _copied(tape, bar, partial(_moved, -arguments[2]))
            states[channel] = states[channel] + moved if channel in states else moved
        elif operation == "parameter":
            parameters[int(arguments[1])] = bar
        elif operation != "number":
            a, b = (Expression(tape, int(argument)) for argument in arguments)
            if operation in ("fadd", "fsub"):
                add(a.place, bar)
                add(b.place, bar if operation == "fadd" else -bar)
            elif operation == "fmul":
                add(a.place, bar * b)
                add(b.place, bar * a)
            else:
                add(a.place, bar / b)
                add(b.place, -(bar * Expression(tape, place) / b))
    return states, parameters
