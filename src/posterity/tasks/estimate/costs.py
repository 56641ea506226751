"""The time and memory of jobs, each with where it is from."""

from collections.abc import Sequence
from typing import NamedTuple

from .jobs import Job
from .measured import MOSTLY, Line, Measured, fitted, like
from .work import Work


class Estimate(NamedTuple):
    """What a job takes.

    Args:
        job: The job.
        bytes: The bytes that it writes, before compression.
        work: Its work.
        unit: The unit of the work.
        seconds: CPU seconds; None if nothing tells.
        memory: Bytes of memory, at the least.
        factor: How many times the work of the largest job that was measured it is; None if none was.
        time_from: Where the seconds are from.
        memory_from: Where the memory is from.
    """

    job: Job
    bytes: int
    work: float
    unit: str
    seconds: float | None
    memory: float
    factor: float | None
    time_from: str
    memory_from: str


class Costs:
    """Costs of jobs, from those that have run.

    Args:
        runs: The jobs that have run.
        flops: Operations per second at which counted operations are done; None for those of jobs that have run.
    """

    def __init__(self, runs: Sequence[Measured], flops: float | None = None) -> None:
        self.runs, self.flops = runs, flops
        self._fits: dict[tuple[str, str, str, str], tuple[list[Measured], Line]] = {}
        self._steps: dict[str, float] = {}

    def of(self, job: Job, work: Work) -> Estimate:
        """What a job takes.

        Args:
            job: The job.
            work: The work of its experiment.
        """
        amount, unit = work.of(job)
        held = work.held(job)
        known, line = self._fit(job, unit)
        seconds, factor, source = self._seconds(job, work, amount, unit, known, line)
        memory, memory_source = float(held), "counted: what it holds at the least"
        if known:
            largest = max(known, key=lambda run: run.held)
            memory = max(run.memory for run in known) + max(0.0, held - largest.held)
            memory_source = "measured, with what it holds more by count"
        size = work.sizes.bytes(job)
        return Estimate(job, size, amount, unit, seconds, memory, factor, source, memory_source)

    def _seconds(
        self, job: Job, work: Work, amount: float, unit: str, known: Sequence[Measured], line: Line
    ) -> tuple[float | None, float | None, str]:
        """The seconds of a job, how far they are extrapolated, and where they are from."""
        if unit == "FLOP" and self.flops is not None:
            what = "operations of draws, without its own networks'" if job.rule == "classify" else "operations"
            return amount / self.flops, None, f"counted {what}, at {self.flops:.3g} FLOP/s (--flops)"
        if job.rule in ("climatology", "simulate") and (not known or _is_start(known, line)):
            name = job.experiment.name
            if name not in self._steps:
                self._steps[name] = work.step_seconds()
            start = f", after a start of {line.start:.2g} s that is measured" if known else ""
            source = f"timed here: steps of {job.experiment.system.kind}{start}"
            return line.start + amount * self._steps[name], None, source
        if known:
            return line.at(amount), amount / max(run.work for run in known), _source(known, line, unit)
        return None, None, ""

    def _fit(self, job: Job, unit: str) -> tuple[list[Measured], Line]:
        """The jobs that tell what a job costs, and the fit to them."""
        key = job.rule, job.group, unit, job.experiment.name
        if key not in self._fits:
            known = like(job, unit, self.runs)
            self._fits[key] = known, fitted(known, self._start(known)) if known else Line(0, 0)
        return self._fits[key]

    def _start(self, known: Sequence[Measured]) -> float:
        """The seconds of the start of jobs: those of the shortest that computes with as much, with torch or without."""
        light = {"evaluate", "aggregate", "plot", "animate", "scaling"}
        same = [run for run in self.runs if (run.job.rule in light) == (known[0].job.rule in light)]
        return 0.0 if known[0].unit == "jobs" else min(run.seconds for run in same)


def _is_start(known: Sequence[Measured], line: Line) -> bool:
    """Whether jobs that have run did little but start."""
    return len(known) * line.start > MOSTLY * sum(run.seconds for run in known)


def _source(known: Sequence[Measured], line: Line, unit: str) -> str:
    """Where the seconds of a fit are from."""
    files = f"{known[0].file}" + (f" and {len(known) - 1} more" if len(known) > 1 else "")
    if unit == "jobs":
        return f"measured: {line.at(1):.2g} s each, by {files}"
    poor = "; nearly all start, so that the rest says little" if _is_start(known, line) else ""
    rate = f"{1 / line.slope:.2g} {unit} a second" if line.slope else f"no more for more {unit}"
    return f"measured: {rate}, after {line.start:.2g} s, by {files}{poor}"
