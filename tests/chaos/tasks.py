"""Faults of single tasks, one after another, in copies of a finished study."""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from disks import Disk
from faults import KINDS, Kind, Scene
from study import HERE, MADE_BY, TASKS, Process, Task, chosen, differences, files, needed, partial, warm

#: How often tasks may fail before they are given up.
TRIES = 6


def kinds(wanted: str, among: str, disks: bool) -> list[str]:
    """The kinds of faults that can be brought about, given parts of their names and of those of tasks."""
    return [
        name
        for name in chosen(KINDS, wanted)
        if chosen((task.name for task in KINDS[name].tasks), among) and (disks or not KINDS[name].disk)
    ]


@contextmanager
def opened(base: Path, among: str) -> Iterator[Callable[[Path, str, random.Random], tuple[str, list[str]]]]:
    """Runs the study once, and yields what disturbs copies of it, in tasks whose names hold some parts."""
    reference = base / "reference"
    (reference / "config" / "experiments").mkdir(parents=True)
    shutil.copy(HERE / "small.yaml", reference / "config" / "experiments")
    moments = warm(reference, needed(task for task in TASKS if chosen([task.name], among)))
    yield lambda folder, name, rng: disturb(reference, folder, name, rng, moments, among)


def disturb(
    reference: Path, folder: Path, name: str, rng: random.Random, moments: Mapping[str, int], among: str
) -> tuple[str, list[str]]:
    """Brings a fault about, runs what is left to run as a user would, and compares.

    Args:
        reference: A finished study.
        folder: A folder for the copy; made and removed.
        name: The kind of the fault.
        rng: Where chances come from.
        moments: The number of moments of each task.
        among: Parts of the names of tasks that are disturbed, by commas.

    Returns:
        What happened, and what was not survived.
    """
    kind = KINDS[name]
    folder.mkdir()
    disk = Disk(folder) if kind.disk else None
    try:
        if disk is not None:
            assert disk.mount("size=16m")
        shutil.copytree(reference, folder, dirs_exist_ok=True)
        task = rng.choice([task for task in kind.tasks if chosen([task.name], among)])
        for file in task.writes:
            (folder / file).unlink()
        try:
            told, wrong = kind.act(Scene(folder, task, rng, moments[task.name], disk)), []
        except AssertionError as error:
            told, wrong = "ended as it should not", [str(error)]
        if not kind.spoils:
            wrong += half_written(reference, folder)
        wrong += again(folder, task, kind)
        wrong += differences(folder, reference, files(reference))
        wrong += [f"{file}: is left behind" for file in partial(folder)]
        return f"{task.name}: {told}", wrong
    finally:
        if disk is not None:
            disk.unmount()
        shutil.rmtree(folder)


def half_written(reference: Path, folder: Path) -> list[str]:
    """What stands under its name and is not whole."""
    return [f"half-written: {found}" for found in differences(folder, reference, files(folder))]


def again(folder: Path, task: Task, kind: Kind) -> list[str]:
    """Runs a task until it has ended well; files that an error names as damaged are made again, as it says."""
    pending, tries = [task], 0
    while pending:
        task = pending[0]
        code, said = Process(folder, task).wait()
        if not code:
            pending.pop(0)
            continue
        tries += 1
        named = [file for file in task.reads if f"{file}:" in said]
        if "Traceback" in said or not named or not kind.spoils or tries > TRIES:
            return [f"{task.name} ended with {code} when it was run again:\n{said}"]
        # "Delete it and make it again", or "train again".
        pending[:0] = dict.fromkeys(MADE_BY[file] for file in named)
        for file in (file for file in named if file.endswith(".nc")):
            (folder / file).unlink()
    return []
