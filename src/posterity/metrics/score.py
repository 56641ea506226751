"""An entry of the table of scores: name, dimensions and units, its average, and its columns in tables."""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import NamedTuple

from .averages import Average

#: The suffix of floors: the distance of a reference to itself, between its runs.
FLOOR = "_floor"


class Units(Enum):
    """The units of a score."""

    ONE = "1"
    STATE = "those of the state"
    SQUARE = "squares of those of the state"
    NAT = "nat"
    SECOND = "s"
    NOISE = "standard deviations of the noise"
    REFERENCE = "standard deviations of the reference"

    def of(self, state: str) -> str:
        """The units, for states in some units."""
        if self is Units.SQUARE:
            return state if state == "1" else f"({state})^2"
        return state if self is Units.STATE else self.value

    def heading(self, state: str) -> str:
        """The units as they stand behind a heading; none of plain numbers, and of distances to the reference."""
        units = self.of(state)
        return "" if units == "1" or self in (Units.REFERENCE, Units.NOISE) else f" ({units})"


class Source(Enum):
    """The origin of a score: a kind of file, the diagnostics of a posterior, or the summary alone."""

    METRICS = auto()
    CLASSIFIER = auto()
    DIAGNOSTIC = auto()
    SUMMARY = auto()


class Head(NamedTuple):
    """The head of a column of the figure ``table``.

    Args:
        place: Where it stands among the others.
        group: The head that it shares with its neighbours; ``{moment}`` and ``{level}`` are filled in.
        text: Its own, in up to two lines; ``{level}`` and ``{space}`` are filled in.
        scale: What numbers are divided by.
        ideal: The best value; of a coverage it is the level. NaN if none is.
    """

    place: int
    group: str
    text: str
    scale: float = 1.0
    ideal: float = -inf


class Quantity(NamedTuple):
    """A variable of the summary, as tables show it.

    Args:
        name: Its name in the summary.
        heading: What tables call it; ``{level}`` and ``{parameter}`` are filled in.
        digits: Significant digits.
        error: Whether its standard error stands beside it.
        beside: The quantity without which it is left out; itself if empty.
        head: Its head in the figure; None if it is not shown there.
    """

    name: str
    heading: str
    digits: int = 4
    error: bool = False
    beside: str = ""
    head: Head | None = None


@dataclass(frozen=True)
class Score:
    """An entry of the table.

    Args:
        name: The name of the variable.
        dims: Its dimensions in a file of one method; ``*`` stands for those of the grid.
        label: What it is, for attributes and axes.
        units: What it is measured in.
        needs: What it needs beside draws of the states; empty if nothing.
        average: What a summary makes of it over cases; None if nothing.
        shown: What tables show of that.
        optional: Whether tables leave it out if no method has it.
        floor: Whether it is a distance to a reference, and has a floor.
        required: Whether every file has it.
        source: Where it comes from.
    """

    name: str
    dims: tuple[str, ...]
    label: str
    units: Units = Units.ONE
    needs: str = ""
    average: Average | None = None
    shown: tuple[Quantity, ...] = ()
    optional: bool = False
    floor: bool = False
    required: bool = False
    source: Source = Source.METRICS

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and, if it has one, that of its floor."""
        return (self.name, self.name + FLOOR) if self.floor else (self.name,)
