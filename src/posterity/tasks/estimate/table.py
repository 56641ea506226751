"""The table of what a study takes, and what breaks first."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .costs import Estimate
from .profiles import Limits, Profile

#: Rules whose methods, splits or figures share a row.
TOGETHER = ("evaluate", "plot", "animate", "classify")

#: The columns that are text, which stand to the left.
LEFT = 2
#: Prefixes of numbers.
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
#: How many of the rows that come nearest to a limit are named.
NAMED = 5


class Row(NamedTuple):
    """Jobs that share a row.

    Args:
        rule: Their rule.
        name: What they make.
        jobs: The jobs.
    """

    rule: str
    name: str
    jobs: list[Estimate]

    @property
    def seconds(self) -> float | None:
        """The CPU seconds of all of them; None if nothing tells."""
        known = [job.seconds for job in self.jobs if job.seconds is not None]
        return sum(known) if len(known) == len(self.jobs) else None

    @property
    def longest(self) -> float:
        """The CPU seconds of the longest, of those that are known."""
        return max((job.seconds or 0.0 for job in self.jobs), default=0.0)

    @property
    def flops(self) -> float | None:
        """The counted operations; None if there are some that cannot be counted."""
        return sum(job.work for job in self.jobs) if all(job.unit == "FLOP" for job in self.jobs) else None

    @property
    def memory(self) -> float:
        """The most memory of one of them."""
        return max(job.memory for job in self.jobs)

    @property
    def title(self) -> str:
        """The rule, and what it makes."""
        return f"{self.rule} {self.name}".strip()


def rows(found: Iterable[Estimate]) -> list[Row]:
    """The rows of the table, in the order of the workflow: by rule and, where they differ, what is made."""
    made: dict[tuple[str, str], Row] = {}
    for one in found:
        name = "" if one.job.rule in TOGETHER else one.job.group
        made.setdefault((one.job.rule, name), Row(one.job.rule, name, [])).jobs.append(one)
    return list(made.values())


def table(found: Sequence[Estimate], profile: Profile | None) -> Iterator[str]:
    """The table, with where its numbers are from.

    Args:
        found: What each job takes.
        profile: The profile whose limits they are held against; None for none.

    Yields:
        Lines of text.
    """
    made = rows(found)
    notes: dict[str, int] = {}
    limited = profile is not None
    lines = [
        ["rule", "", "jobs", "files", "bytes", "FLOP", "time", "longest"]
        + ["limit", "asked"] * limited
        + ["memory"]
        + ["limit"] * limited
        + ["from"]
    ]
    for row in made:
        limits = None if profile is None else profile.limits(row.rule)
        lines.append(_line(row, limits, _note(row, notes)))
    lines.append(_total(made, profile))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [
            cell.ljust(w) if n < LEFT else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    yield ""
    yield "Jobs, files and bytes are counted from the experiment: bytes of numbers before compression, without"
    yield "figures, tables, logs and diagnostics. Times are those of one core, or at the rate of --flops: of all jobs,"
    yield "and of the longest. Memory is the least that the largest takes."
    yield from (f"{number:>4}  {note}" for note, number in notes.items())


def _note(row: Row, notes: dict[str, int]) -> str:
    """The numbers of the notes that say where a row is from."""
    texts = list(dict.fromkeys(job.time_from for job in row.jobs))
    factors = [job.factor for job in row.jobs if job.factor is not None]
    if factors and max(factors) > 1:
        texts[0] += f"; extrapolated by a factor of up to {max(factors):.2g}"
    if not row.jobs[0].time_from:
        texts = ["no time: no benchmark file tells, nor a counted operation (--benchmarks, --flops)"]
    return ",".join(str(notes.setdefault(text, len(notes) + 1)) for text in texts if text)


def _line(row: Row, limits: Limits | None, note: str) -> list[str]:
    """The cells of a row."""
    own = [row.rule, row.name, *_counts(row.jobs), _si(row.flops), _hours(row.seconds), _hours(row.longest or None)]
    if limits is None:
        return [*own, _si(row.memory or None, "B"), note]
    minutes = None if limits.minutes is None else limits.minutes * 60
    asked = [_hours(minutes), _hours(None if minutes is None else len(row.jobs) * minutes)]
    return [*own, *asked, _si(row.memory or None, "B"), _si(limits.memory, "B"), note]


def _total(made: Sequence[Row], profile: Profile | None) -> list[str]:
    """The cells of the last row: sums, and the largest of what does not add up."""
    flops = [row.flops for row in made if row.flops is not None]
    known = [row.seconds for row in made if row.seconds is not None]
    more = ">" if 0 < len(known) < len(made) else ""
    seconds = more + _hours(sum(known) if known else None)
    own = [
        "total",
        "",
        *_counts([job for row in made for job in row.jobs]),
        _si(sum(flops) if flops else None),
        seconds,
    ]
    own.append(_hours(max(row.longest for row in made) or None))
    memory = _si(max(row.memory for row in made), "B")
    if profile is None:
        return [*own, memory, ""]
    asked = sum(len(row.jobs) * (profile.limits(row.rule).minutes or 0) for row in made)
    return [*own, "", _hours(asked * 60), memory, "", ""]


def _counts(found: Sequence[Estimate]) -> list[str]:
    size = sum(one.bytes for one in found)
    return [str(len(found)), str(sum(one.job.files for one in found)), _si(size or None, "B")]


def limits_met(found: Sequence[Estimate], profile: Profile | None) -> Iterator[str]:
    """What breaks first: the jobs that come nearest to their limits of time and memory, and how many jobs there are.

    Args:
        found: What each job takes.
        profile: The profile that says the limits; None for none.

    Yields:
        Lines of text.
    """
    if profile is None:
        yield "What breaks first depends on limits: name a profile (--profile slurm)."
        return
    made = rows(found)
    yield f"What breaks first, by {profile.file}:"
    near = sorted((one for row in made for one in _shares(row, profile)), reverse=True)
    yield from (f"  {text}" for _, text in near[:NAMED])
    widest = max(made, key=lambda row: len(row.jobs))
    if profile.queued:
        yield (
            f"  queue: {len(found)} jobs, at most {profile.queued} at a time; {widest.title} alone has "
            f"{len(widest.jobs)}, {-(-len(widest.jobs) // profile.queued)} times as many as go in at once"
        )
    unknown = [row.title for row in made if row.seconds is None]
    if unknown:
        yield f"  not known: the time of {', '.join(unknown)}"


def _shares(row: Row, profile: Profile) -> Iterator[tuple[float, str]]:
    """The shares of limits that the largest job of a row takes, each with what it means."""
    limits = profile.limits(row.rule)
    if limits.minutes and row.longest:
        share = row.longest / (60 * limits.minutes)
        on = "at that rate" if any("--flops" in job.time_from for job in row.jobs) else "on one core"
        gpu = "; it asks for a GPU, whose rate --flops takes" if limits.gpus and on == "on one core" else ""
        yield (
            share,
            f"time of {row.title}: {_hours(row.longest)} {on}, {_share(share)} {_hours(60 * limits.minutes)}{gpu}",
        )
    if limits.memory and row.memory:
        share = row.memory / limits.memory
        yield share, f"memory of {row.title}: {_si(row.memory, 'B')}, {_share(share)} {_si(limits.memory, 'B')}"


def _share(share: float) -> str:
    """How a number stands to its limit."""
    return (
        f"{share:.2g} times its limit of"
        if share > 1
        else f"{share:.2g} of its limit, which {1 / share:.2g} times as much meets:"
    )


def _si(value: float | None, unit: str = "") -> str:
    """A number with a prefix."""
    if value is None:
        return "-"
    power = 0
    while abs(value) >= 999.5 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {PREFIXES[power]}{unit}".rstrip()


def _hours(seconds: float | None) -> str:
    """A time in hours, or in the unit that suits it."""
    if seconds is None:
        return "-"
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:,.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.2g} s"
