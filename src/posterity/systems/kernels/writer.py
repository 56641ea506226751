"""What writes kernels of Triton that integrate equations by the classical Runge–Kutta scheme, with their derivatives.

A program of a kernel has a few members, and blocks of members by sites, which live in registers: a field is one of them
for each channel. A block has as many lanes as a power of two: those behind the last site repeat the first ones, and are
never written back. Neighbours are gathered within a warp where it holds all sites of a member. Else they go through
memory, where threads read what others of their program have written: between the two all of them wait for each other.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..equations.expressions import Instruction, Integration, Program

#: The names of a block for each channel, or of a number for each parameter.
Field = tuple[str, ...]
#: Fields at each of the four stages of a step.
Stages = Sequence[tuple[Field, ...]]

NOTHING: Stages = ((), (), (), ())
SYMBOLS = {"fadd": "+", "fsub": "-", "fmul": "*", "fdiv": "/"}


def lanes(sites: int) -> int:
    """The number of lanes of a block for so many sites: the next power of two."""
    return 1 << (sites - 1).bit_length()


class Writer:
    """What writes the lines of a kernel: each value is a variable of its own, but for those that a loop carries on.

    Args:
        integration: The integration.
        tensors: The names of the tensors that the kernel takes.
        number: The type of their numbers, as Triton calls it.
    """

    def __init__(self, integration: Integration, tensors: Sequence[str], number: str) -> None:
        self.equations, self.sites, self.substeps, self.h = integration
        self.tensors, self.number = tensors, number
        self._lines: list[str] = []
        self._depth, self._count = 1, 0
        self._shape = f"(MEMBERS, {lanes(self.sites)})"
        self.line("member = tl.program_id(0) * MEMBERS + tl.arange(0, MEMBERS)[:, None]")
        self.line(f"site = tl.arange(0, {lanes(self.sites)})[None, :]")
        self.line(f"place = site % {self.sites}")
        self.line(f"inside = (member < members) & (site < {self.sites})")
        programs = [part for part in self.equations if isinstance(part, Program)]
        for offset in sorted({self._ahead(row) for part in programs for row in part.instructions} - {0}):
            self.line(f"ahead{offset} = tl.broadcast_to((site + {offset}) % {self.sites}, {self._shape})")
        # A tensor has fewer rows than there are members where a part of the batch shares them.
        for name in tensors:
            self.line(f"{name} += (member % {name}_rows).to(tl.int64) * {name}_size")

    def text(self) -> str:
        """The kernel as a function of Python."""
        tensors = ", ".join(f"{name}, {name}_rows, {name}_size" for name in self.tensors)
        return "\n".join((f"def kernel({tensors}, members, steps, MEMBERS: tl.constexpr):", *self._lines, ""))

    def line(self, text: str) -> None:
        """Writes a line."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def loop(self, head: str) -> Iterator[None]:
        """Writes what follows into a loop."""
        self.line(f"for {head}:")
        self._depth += 1
        yield
        self._depth -= 1

    def let(self, expression: str) -> str:
        """A variable with a value."""
        self._count += 1
        self.line(f"v{self._count} = {expression}")
        return f"v{self._count}"

    def carry(self, name: str, field: Field) -> Field:
        """Sets the variables that a loop carries on to a field."""
        names = tuple(f"{name}_{place}" for place in range(len(field)))
        for own, value in zip(names, field, strict=True):
            self.line(f"{own} = {value}")
        return names

    def zeros(self, count: int) -> Field:
        """Blocks of zeros."""
        return tuple(self.let(f"tl.full({self._shape}, 0.0, {self.number})") for _ in range(count))

    def load(self, tensor: str, entry: str = "0") -> Field:
        """The states of a tensor at one of its entries."""
        return tuple(self.let(f"tl.load({place})") for place in self._places(tensor, entry, self.equations.channels))

    def store(self, tensor: str, entry: str, field: Field) -> None:
        """Puts blocks there, unless the tensor has no such entry."""
        where = f"inside & (({entry}) * {len(field) * self.sites} < {tensor}_size)"
        for place, value in zip(self._places(tensor, entry, len(field)), field, strict=True):
            self.line(f"tl.store({place}, {value}, {where})")

    def numbers(self, tensor: str) -> Field:
        """The parameters of a tensor."""
        return tuple(self.let(f"tl.load({tensor} + {p})") for p in range(self.equations.parameters))

    def sums(self, *terms: tuple[float, Field]) -> Field:
        """The sum of fields, each times a number."""
        columns = zip(*(field for _, field in terms), strict=True)
        factors = ["" if factor == 1 else f"{factor!r} * " for factor, _ in terms]
        return tuple(
            self.let(" + ".join(factor + value for factor, value in zip(factors, column, strict=True)))
            for column in columns
        )

    def evaluated(self, program: Program, thetas: Sequence[Field], fields: Sequence[Field]) -> Field:
        """The results of a program."""
        if "around" in self.tensors:
            self._around(program, fields)
        found: list[str] = []
        for operation, *arguments in program.instructions:
            if operation == "number":
                # Not a bare number, which Triton would round to single precision.
                found.append(self.let(f"tl.full((1, 1), {arguments[0]!r}, {self.number})"))
            elif operation == "parameter":
                found.append(thetas[arguments[0]][arguments[1]])
            elif operation == "input":
                found.append(self._input(fields, *arguments))
            else:
                one, other = (found[argument] for argument in arguments)
                found.append(self.let(f"{one} {SYMBOLS[operation]} {other}"))
        return tuple(found[place] for place in program.outputs)

    def runge_kutta(
        self, program: Program, thetas: Sequence[Field], x: Field, beside: Stages = NOTHING
    ) -> tuple[Stages, Field]:
        """A step of the scheme, or its tangent.

        Args:
            program: The tendency, or its tangent.
            thetas: The parameters that it takes.
            x: Where it starts.
            beside: The fields that the program takes at each stage before its own.

        Returns:
            All fields that it took at each stage, and where it ends.
        """
        h, v, total, stages = self.h, x, x, list[tuple[Field, ...]]()
        for others, ahead, share in zip(beside, (0, h / 2, h / 2, h), (h / 6, h / 3, h / 3, h / 6), strict=True):
            own = self.sums((1, x), (ahead, v)) if stages else x
            stages.append((*others, own))
            v = self.evaluated(program, thetas, stages[-1])
            total = self.sums((1, total), (share, v))
        return stages, total

    def runge_kutta_adjoint(
        self, program: Program, thetas: Sequence[Field], g: Field, beside: Stages
    ) -> tuple[Stages, Field]:
        """The adjoint of a step, or its tangent, from the cotangent of its end to that of its start."""
        h, v, total, stages = self.h, g, g, list[tuple[Field, ...]]()
        for others, share, ahead in zip(beside[::-1], (h / 6, h / 3, h / 3, h / 6), (0, h, h / 2, h / 2), strict=True):
            own = self.sums((share, g), (ahead, v)) if stages else self.sums((share, g))
            stages.append((*others, own))
            v = self.evaluated(program, thetas, stages[-1])
            total = self.sums((1, total), (1, v))
        return stages[::-1], total

    def _around(self, program: Program, fields: Sequence[Field]) -> None:
        """Puts what a program takes from neighbours into memory."""
        wanted = sorted({(row[1], row[2]) for row in program.instructions if self._ahead(row)})
        if wanted:
            self.line("tl.debug_barrier()")
            for field, channel in wanted:
                self.line(f"tl.store(around + {self._place(field, channel)} + place, {fields[field][channel]}, inside)")
            self.line("tl.debug_barrier()")

    def _input(self, fields: Sequence[Field], field: int, channel: int, offset: int) -> str:
        """An input of a program, at a site or at one of its neighbours."""
        value, offset = fields[field][channel], offset % self.sites
        if not offset:
            return value
        if "around" in self.tensors:
            return self.let(f"tl.load(around + {self._place(field, channel)} + ahead{offset})")
        return self.let(f"tl.gather({value}, ahead{offset}, 1)")

    def _ahead(self, row: Instruction) -> int:
        """How many sites further on an input is, round the ring."""
        return int(row[3]) % self.sites if row[0] == "input" else 0

    def _place(self, field: int, channel: int) -> int:
        """Where the sites of a channel start in the memory for neighbours."""
        return (field * self.equations.channels + channel) * self.sites

    def _places(self, tensor: str, entry: str, blocks: int) -> list[str]:
        """Where the blocks of an entry are."""
        return [f"{tensor} + ({entry}) * {blocks * self.sites} + {b * self.sites} + place" for b in range(blocks)]
