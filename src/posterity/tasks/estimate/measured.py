"""Costs of jobs fitted to the benchmark files that Snakemake writes."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...data.artifacts import HISTORY
from ...errors import ConfigError, DataError
from ...experiment import Experiment, load
from .jobs import Job, jobs
from .work import Work

#: The share of the time of measured jobs that is their start, beyond which the rest says little.
MOSTLY = 0.8


class Measured(NamedTuple):
    """A job that has run.

    Args:
        job: The job.
        work: Its work.
        unit: The unit of the work.
        seconds: The CPU seconds that it took.
        memory: The most memory that it had, in bytes.
        held: The bytes that it has in memory at the least, by count.
        file: Its benchmark file.
    """

    job: Job
    work: float
    unit: str
    seconds: float
    memory: float
    held: float
    file: Path


class Line(NamedTuple):
    """The cost of a job: ``start + slope * work``, in seconds.

    Args:
        start: The seconds that it takes to start.
        slope: The seconds for a unit of work.
    """

    start: float
    slope: float

    def at(self, work: float) -> float:
        """The seconds of some work."""
        return self.start + self.slope * work


def measured(folders: Sequence[Path], system: str, made: Callable[[Experiment], Work]) -> list[Measured]:
    """Reads the benchmark files in some folders, and those below them.

    Args:
        folders: The folders: ``results/EXPERIMENT/benchmarks``, or any above.
        system: The kind of the system whose costs are looked for.
        made: Makes the work of an experiment.

    Returns:
        The jobs that have run.

    Raises:
        ConfigError: If there are none in a folder, or they are of no experiment that there is, or of another system.
        DataError: If a file is none of Snakemake's.
    """
    found = []
    for folder in folders:
        below = sorted(path for path in (folder, *folder.rglob("benchmarks")) if path.name == "benchmarks")
        own = [one for path in below for one in _in(path, system, made)]
        if not own:
            raise ConfigError(
                f"--benchmarks: there are no benchmark files of an experiment in {folder}; give a folder such as "
                "results/EXPERIMENT, once its jobs have run"
            )
        found += own
    return found


def _in(folder: Path, system: str, made: Callable[[Experiment], Work]) -> Iterator[Measured]:
    """The jobs that have run of an experiment, by its folder of benchmarks."""
    if not any(folder.rglob("*.tsv")):
        return
    experiment = _experiment(folder)
    if experiment is None:
        return
    if experiment.system.kind != system:
        raise ConfigError(
            f"--benchmarks: {folder} is of '{experiment.name}', whose system is {experiment.system.kind}; costs of "
            f"{system} do not follow from it: give those of an experiment with that system"
        )
    work = made(experiment)
    for job in jobs([experiment]):
        file = folder / f"{job.benchmark}.tsv"
        if job.experiment.name == experiment.name and file.is_file():
            seconds, memory = _row(file)
            amount, unit = work.of(job, _epochs(folder.parent, job))
            yield Measured(job, amount, unit, seconds, memory, work.held(job), file)


def _experiment(folder: Path) -> Experiment | None:
    """The experiment of a folder of benchmarks; None of what belongs to no experiment alone."""
    own, above = folder.parent.name, folder.parent.parent.name
    error = None
    for name in (f"{above}/{own}", own):
        try:
            return load(name)
        except ConfigError as found:
            error = found
    if "has variants" in str(error):
        return None
    raise ConfigError(f"--benchmarks: {folder}: is of no experiment that there is: {error}")


def _row(file: Path) -> tuple[float, float]:
    """The CPU seconds and the most memory, in bytes, of the last run of a job."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            row = list(csv.DictReader(text, delimiter="\t"))[-1]
        # Of jobs of less than a moment Snakemake knows no more than how long they were.
        seconds = float(row["s"]) if row["cpu_time"] in ("NA", "-") else float(row["cpu_time"])
        return seconds, 0.0 if row["max_rss"] in ("NA", "-") else float(row["max_rss"]) * 2**20
    except (OSError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file}: is no benchmark file of Snakemake ({error!r}); delete it, and run its job again"
        ) from error


def _epochs(results: Path, job: Job) -> int | None:
    """The epochs that a training had, by its history; None if that is not there."""
    history = results / "models" / job.name / HISTORY
    if job.rule not in ("train", "train_on_nodes") or not history.is_file():
        return None
    return len(history.read_text(encoding="utf-8").splitlines())


def fitted(runs: Sequence[Measured], start: float) -> Line:
    """Fits the cost of jobs to those that have run, by least squares of relative errors.

    Args:
        runs: The jobs, of one unit.
        start: The seconds that jobs take to start, where all that have run are of one size and do not tell.

    Returns:
        The fit; neither the start nor the slope is negative.
    """
    weights = [1 / max(run.seconds, 1e-9) for run in runs]
    total = sum(w * w for w in weights)
    middle = sum(w * w * run.work for w, run in zip(weights, runs, strict=True)) / total
    seconds = sum(w * w * run.seconds for w, run in zip(weights, runs, strict=True)) / total
    spread = sum((w * (run.work - middle)) ** 2 for w, run in zip(weights, runs, strict=True))
    least = min(run.seconds for run in runs)
    products = zip(weights, runs, strict=True)
    slope = sum(w * w * (run.work - middle) * (run.seconds - seconds) for w, run in products) / (spread or 1.0)
    if max(run.work for run in runs) < 2 * min(run.work for run in runs) or slope <= 0:
        fixed = min(start, least)
        return Line(fixed, (seconds - fixed) / middle)
    fixed = seconds - slope * middle
    if not 0 <= fixed <= least:
        # The best line through the end of what a start can be.
        fixed = min(max(fixed, 0.0), least)
        slope = sum(w * w * run.work * (run.seconds - fixed) for w, run in zip(weights, runs, strict=True)) / sum(
            (w * run.work) ** 2 for w, run in zip(weights, runs, strict=True)
        )
    return Line(fixed, slope)


def like(job: Job, unit: str, runs: Sequence[Measured]) -> list[Measured]:
    """Those jobs that have run which tell what a job costs.

    Of the same method, else of another of its kind, and of the same unit.
    """
    same = [run for run in runs if run.unit == unit and _rule(run.job) == _rule(job)]
    if job.rule in ("simulate", "evaluate", "plot", "animate"):
        return same
    if own := [run for run in same if run.job.group == job.group and _kind(run.job) == _kind(job)]:
        return own
    return [run for run in same if _kind(run.job) == _kind(job)]


def _rule(job: Job) -> str:
    return job.rule.removesuffix("_on_nodes")


def _kind(job: Job) -> str:
    """The kind of the method of a job; its rule if it has none."""
    if job.rule == "reference" and job.experiment.reference is not None:
        return job.experiment.reference.kind
    methods = job.experiment.methods
    return methods[job.name].kind if job.name in methods else job.rule
