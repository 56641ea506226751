"""A small study as commands of `posterity`, each in a process of its own, and what tells two studies apart."""

import contextlib
import csv
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = "results/small"
SHARD = f"{RESULTS}/simulations/{{}}/0.nc"
MODEL = f"{RESULTS}/models/npe"
TRAINED = tuple(f"{MODEL}/{name}" for name in ("weights.safetensors", "estimator.json", "history.jsonl"))
TWIN = SHARD.format("test")

#: What Python tells of files (sys.audit): the moments at which a process is disturbed.
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir", "shutil.rmtree")

#: What differs between two runs that found the same: what they took, and the state of the checkout.
COSTS = ("info_seconds", "seconds", "peak_memory_mib", "cases_per_second", "sha256", "training seconds", "commit",
         "wall time per case (s)", "wall time per draw (s)")  # fmt: skip


#: What the results of each task depend on, in the order of the tasks.
STAGES = (
    *(("simulate", split) for split in ("train", "valid", "test")),
    ("train", "npe"), ("assimilate", "4dvar"), ("sample", "npe"), ("evaluate", "4dvar"), ("evaluate", "npe"),
    ("aggregate", ""), ("plot", "coverage"),
)  # fmt: skip

#: The exit status of a task that ended with a traceback, as no task should.
CRASHED = 70


def nothing() -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Task:
    """A command, and the files that it reads and writes."""

    name: str
    words: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def _tasks() -> list[Task]:
    """The commands of the study, in an order in which they can run."""
    experiment = "config/experiments/small.yaml"
    tasks = [
        Task(f"simulate {split}", ("simulate", experiment, "--split", split, "--output", SHARD.format(split)), (),
             (SHARD.format(split),))
        for split in ("train", "valid", "test")
    ]  # fmt: skip
    data = (SHARD.format("train"), SHARD.format("valid"))
    words = ("train", experiment, "--method", "npe", "--train", data[0], "--valid", data[1], "--output", MODEL)
    tasks.append(Task("train", words, data, TRAINED))
    drawn, scored = {}, {}
    for method, verb in (("4dvar", "assimilate"), ("npe", "sample")):
        drawn[method] = f"{RESULTS}/posteriors/{method}/0.nc"
        scored[method] = f"{RESULTS}/metrics/{method}/0.nc"
        weights = ("--weights", MODEL) if verb == "sample" else ()
        words = (verb, experiment, "--method", method, *weights, "--twin", TWIN, "--output", drawn[method])
        tasks.append(Task(verb, words, (TWIN, *(TRAINED[:2] if weights else ())), (drawn[method],)))
    for method in drawn:
        words = ("evaluate", experiment, "--twin", TWIN, "--posterior", drawn[method], "--output", scored[method])
        tasks.append(Task(f"evaluate {method}", words, (TWIN, drawn[method]), (scored[method],)))
    joined, table = f"{RESULTS}/metrics.nc", f"{RESULTS}/table.csv"
    metrics = tuple(scored.values())
    words = ("aggregate", experiment, "--metrics", *metrics, "--output", joined, "--table", table)
    tasks.append(Task("aggregate", words, metrics, (joined, table)))
    figures = tuple(f"{RESULTS}/figures/coverage{suffix}" for suffix in (".svg", ".png"))
    words = ("plot", experiment, "--figure", "coverage", "--twin", TWIN, "--metrics", joined)
    words += ("--posterior", *drawn.values(), "--history", TRAINED[2], "--output", figures[0])
    # This figure reads neither the twin nor the draws.
    tasks.append(Task("plot", words, (joined,), figures))
    return tasks


TASKS = _tasks()
MADE_BY = {file: task for task in TASKS for file in task.writes}


def chosen(names: Iterable[str], parts: str) -> list[str]:
    """The names that hold one of some parts, which stand between commas."""
    return [name for name in names if any(part in name for part in parts.split(","))]


def needed(wanted: Iterable[Task]) -> list[Task]:
    """Some tasks with all that they depend on, in order."""
    found = set(wanted)
    for task in reversed(TASKS):
        if task in found:
            found.update(MADE_BY[file] for file in task.reads)
    return [task for task in TASKS if task in found]


class Process:
    """A command that runs in a fork of this process, which has imported all that it takes.

    Args:
        folder: The working directory.
        task: The task.
        spoil: What is done in the new process before it begins.
        after: What is done in it when all has gone well.
    """

    def __init__(
        self, folder: Path, task: Task, spoil: Callable[[], object] = nothing, after: Callable[[], object] = nothing
    ) -> None:
        # Not in the folder, whose disk may be full.
        self.log = folder.with_name(f"{folder.name}.{task.name.replace(' ', '-')}.{time.monotonic_ns()}.log")
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            self._become(folder, task, spoil, after)

    def _become(self, folder: Path, task: Task, spoil: Callable[[], object], after: Callable[[], object]) -> None:
        """Runs the command; never returns."""
        code = CRASHED
        try:
            os.chdir(folder)
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            from posterity import cli

            sys.argv = ["posterity", *task.words]
            spoil()
            cli.main()
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
            if not code:
                after()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def wait(self, seconds: float = 120.0) -> tuple[int, str]:
        """Waits for the end; returns the exit status, negative for a signal, and what was said."""
        deadline = time.monotonic() + seconds
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return os.waitstatus_to_exitcode(ended[1]), said


def files(folder: Path) -> list[str]:
    """What the study has made, but for logs."""
    return [file for file in MADE_BY if (folder / file).exists()]


def differences(ours: Path, theirs: Path, names: list[str]) -> list[str]:
    """The files that are not the same, each with the reason: NetCDF by values, descriptions by what they describe."""
    found = []
    for name in names:
        one, other = ours / name, theirs / name
        try:
            reason = "is missing" if not one.exists() else _difference(one, other)
        except (OSError, RuntimeError, AttributeError, ValueError, KeyError) as error:
            reason = f"cannot be read: {error}"
        if reason:
            found.append(f"{name}: {reason}")
    return found


def _difference(one: Path, other: Path) -> str:
    """What tells two files apart; nothing if they are the same."""
    if one.suffix == ".nc":
        return _netcdf_difference(one, other)
    if one.suffix in (".json", ".jsonl"):
        return _json_difference(one, other)
    if one.suffix == ".csv":
        first, second = (list(csv.DictReader(path.read_text().splitlines())) for path in (one, other))
        same = len(first) == len(second) and all(
            ours.get(key) == value
            for ours, theirs in zip(first, second, strict=True)
            for key, value in theirs.items()
            if key not in COSTS
        )
        return "" if same else "other values"
    return "" if one.read_bytes() == other.read_bytes() else "other bytes"


def _json_difference(one: Path, other: Path) -> str:
    """What tells two descriptions or histories of trainings apart, but for seconds and memory."""
    first, second = (
        [{key: value for key, value in json.loads(record).items() if key not in COSTS} for record in records]
        for records in (
            [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines() for path in (one, other)
        )
    )
    return "" if first == second else "other values"


def _netcdf_difference(one: Path, other: Path) -> str:
    """What tells two NetCDF files apart."""
    with netCDF4.Dataset(one) as first, netCDF4.Dataset(other) as second:
        if set(first.variables) != set(second.variables):
            return "other variables"
        for name in second.variables:
            if name in COSTS:
                continue
            ours, theirs = (np.ma.filled(file.variables[name][...], np.nan)
                            if file.variables[name].dtype.kind == "f" else np.asarray(file.variables[name][...])
                            for file in (first, second))  # fmt: skip
            if ours.dtype != theirs.dtype or ours.tobytes() != theirs.tobytes():
                return f"other values of '{name}'"
    return ""


def partial(folder: Path) -> list[str]:
    """What is left of files that were not finished, and of trainings."""
    found = [*folder.rglob("*.partial"), *folder.rglob(".*.unfinished")]
    return sorted(str(path.relative_to(folder)) for path in found)


def warm(folder: Path, tasks: list[Task]) -> dict[str, int]:
    """Runs tasks once, and takes over what each process has imported and read of the sources of the package.

    Args:
        folder: The folder, with the experiment in it.
        tasks: The tasks, in order.

    Returns:
        The number of moments of each task at which it touches files of the study, by its name.
    """
    from posterity.experiment import load
    from posterity.experiment.dependencies import dependencies
    from posterity.tasks.training import checkpoint

    # Every step saves its state, not each half minute: these trainings take a second.
    checkpoint.INTERVAL = 0.0
    experiment = load(folder / "config" / "experiments" / "small.yaml")
    for task, (stage, name) in zip(TASKS, STAGES, strict=True):
        if task in tasks:
            dependencies(stage, experiment, name)
    noted, moments = folder.with_name("noted.log"), {}
    for task in tasks:
        seen: list[str] = []
        code, said = Process(
            folder, task, lambda: at_moments(folder, seen.append),  # noqa: B023
            lambda: noted.write_text(" ".join((str(len(seen)), *sys.modules))),  # noqa: B023
        ).wait()  # fmt: skip
        if code:
            raise RuntimeError(f"{task.name} ended with {code}:\n{said}")
        count, *imported = noted.read_text().split()
        moments[task.name] = int(count)
        for module in imported:
            with contextlib.suppress(Exception):
                importlib.import_module(module)
    return moments


def at_moments(folder: Path, act: Callable[[str], object]) -> None:
    """Has this process do something at each moment at which it touches files of the study's results.

    Args:
        folder: The folder of the study.
        act: What it does, given the event.
    """
    place, busy = str(folder / "results"), []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or busy or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if str(Path(os.fsdecode(arguments[0])).absolute()).startswith(place):
            busy.append(True)
            act(event)
            busy.clear()

    sys.addaudithook(hook)
