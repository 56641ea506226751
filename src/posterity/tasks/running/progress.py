"""Progress of a run, as Snakemake tells it line by line. Imports no torch."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

#: Lines of Snakemake: the head of its plan, a row of it, a job that starts, one that ended, and one that failed.
PLAN = "Job stats:"
ROW = re.compile(r"^(\w+)\s+(\d+)$")
STARTED = re.compile(r"^Job (\d+): (.*)$")
FINISHED = re.compile(r"^Finished jobid: (\d+) \(Rule: (\w+)\)$")
FAILED = re.compile(r"^Error in rule (\w+)")
IDENTITY = re.compile(r"^\s+jobid: (\d+)$")
#: Rules that do nothing, but ask for others.
ASKING = ("all", "default", "reports", "total")


@dataclass
class Stage:
    """The jobs of a rule: how many there are, are done and failed, and the seconds of those that are done."""

    total: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass
class Progress:
    """What a run has done so far.

    Args:
        known: Seconds that jobs of each rule took before, see :func:`durations`.
    """

    known: Mapping[str, float] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    running: dict[str, tuple[str, float]] = field(default_factory=dict)
    start: float = field(default_factory=monotonic)
    _planning: bool = field(default=False, init=False)
    _failing: str = field(default="", init=False)

    @property
    def total(self) -> int:
        """The number of jobs."""
        return sum(stage.total for stage in self.stages.values())

    @property
    def done(self) -> int:
        """The number of jobs that are done."""
        return sum(stage.done for stage in self.stages.values())

    def read(self, line: str) -> str:
        """Takes note of a line of Snakemake.

        Args:
            line: The line, without its end.

        Returns:
            What a person would like to read of it: that a job ended, or failed; empty if it says nothing new.
        """
        if line == PLAN:
            # A second pass, of what is left once something failed, has a plan of its own.
            self._planning, self.stages, self.running = True, {}, {}
        elif self._planning:
            self._row(line)
        elif found := STARTED.match(line):
            self.running[found[1]] = found[2], monotonic()
        elif found := FINISHED.match(line):
            return self._finished(*found.groups())
        elif found := FAILED.match(line):
            self._failing = found[1]
        elif self._failing and (found := IDENTITY.match(line)):
            return self._failed(found[1])
        return ""

    def _row(self, line: str) -> None:
        """Takes note of a row of the plan, which an empty line ends."""
        if found := ROW.match(line):
            if found[1] not in ASKING:
                self.stages[found[1]] = Stage(int(found[2]))
        elif not line and self.stages:
            self._planning = False

    def _finished(self, identity: str, rule: str) -> str:
        text, start = self.running.pop(identity, (rule, monotonic()))
        if rule in ASKING:
            return ""
        stage = self.stages.setdefault(rule, Stage(1))
        stage.done, stage.seconds = stage.done + 1, stage.seconds + monotonic() - start
        return text

    def _failed(self, identity: str) -> str:
        rule, self._failing = self._failing, ""
        if (found := self.running.pop(identity, None)) is None:
            # What is said of a job again, when the run ends.
            return ""
        self.stages.setdefault(rule, Stage(1)).failed += 1
        return f"failed: {found[0]}"

    def left(self) -> float | None:
        """The seconds that are left, at the pace so far; None as long as nothing tells.

        Jobs of a rule take what those took that are done or, before there are any, those of an earlier run; of rules of
        which nothing is known, the mean of all that are done.
        """
        here, before = {name: stage for name, stage in self.stages.items() if stage.done}, self.known
        if not here and not set(before) & set(self.stages):
            return None
        busy = sum(stage.seconds for stage in here.values())
        mean = busy / self.done if self.done else sum(before.values()) / len(before)
        ahead = 0.0
        for name, stage in self.stages.items():
            each = stage.seconds / stage.done if stage.done else before.get(name, mean)
            ahead += each * max(0, stage.total - stage.done - stage.failed)
        now = monotonic()
        ahead -= sum(min(now - start, mean) for _, start in self.running.values())
        busy += sum(now - start for _, start in self.running.values())
        side_by_side = max(1.0, busy / max(now - self.start, 1e-9), float(len(self.running)) if not self.done else 1.0)
        return max(0.0, ahead) / side_by_side


def durations(results: Path) -> dict[str, float]:
    """The seconds that jobs of each rule took, by the benchmark files that Snakemake wrote.

    Args:
        results: The folder of the results of an experiment.

    Returns:
        The mean wall time of each rule of which there is a file; files that cannot be read are left out.
    """
    found: dict[str, list[float]] = {}
    folder = results / "benchmarks"
    for path in sorted(folder.rglob("*.tsv")):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                seconds = float(list(csv.DictReader(file, delimiter="\t"))[-1]["s"])
        except (OSError, IndexError, KeyError, ValueError):
            continue
        found.setdefault(path.relative_to(folder).with_suffix("").parts[0], []).append(seconds)
    return {rule: sum(each) / len(each) for rule, each in found.items()}


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds, such as ``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
