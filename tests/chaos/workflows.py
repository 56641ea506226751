"""Faults of whole runs of the workflow, one after another, in copies of a finished study."""

import functools
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from disks import Disk, damage
from runs import LOGS, Run, again, behind, brought, finished, prepare, processes, served, settle, unmake
from study import MADE_BY, ROOT, TASKS, Task, chosen, differences, files, partial

#: How Snakemake is called.
OPTIONS = ("--profile", str(ROOT / "profiles" / "local"), "--cores", "2")

#: What a second pass makes of the methods that are left, when others have failed.
JOINED = tuple(file for task in TASKS if task.name in ("aggregate", "plot") for file in task.writes)


class Scene(NamedTuple):
    """Where a fault happens.

    Args:
        folder: The folder of the study.
        command: What stands for ``python`` there.
        task: The task at which it happens; it and those behind it have not run.
        rng: Where chances come from.
        disk: The disk on which the folder is; None for that of the machine.
    """

    folder: Path
    command: str
    task: Task
    rng: random.Random
    disk: Disk | None

    def run(self) -> Run:
        """Starts the workflow."""
        return Run(self.folder, self.command, *OPTIONS)

    def moment(self, run: Run) -> str:
        """Waits until a run is somewhere at the task, or has ended; returns where that is."""
        seconds = self.rng.uniform(0.0, 0.6)
        while not (self.folder / LOGS[self.task]).exists() and not run.ended():
            time.sleep(0.005)
        time.sleep(seconds)
        return f"{self.task.name}, {seconds:.2f} s"


def signalled(scene: Scene, number: int, group: bool = False) -> str:
    """A signal to Snakemake alone, whose jobs go on, or also to its jobs, as when a machine fails."""
    run = scene.run()
    moment = scene.moment(run)
    run.send(number, group)
    return f"{moment}, exit {run.wait()}"


def killed_job(scene: Scene) -> str:
    """kill -9 of a process of a job: its shell, or what that runs."""
    run = scene.run()
    moment = scene.moment(run)
    jobs = sorted(set(processes(scene.folder)) - {run.pid})
    with suppress(ProcessLookupError, IndexError):
        os.kill(scene.rng.choice(jobs), signal.SIGKILL)
    return f"{moment}, exit {run.wait()}"


def interrupted(scene: Scene) -> str:
    """SIGINT of Snakemake, or as of Ctrl-C also of its jobs."""
    run, group = scene.run(), scene.rng.random() < 0.5
    moment = scene.moment(run)
    run.send(signal.SIGINT, group)
    return f"{moment}, {'all' if group else 'alone'}, exit {run.wait()}"


def second_run(scene: Scene) -> str:
    """A second Snakemake on the folder: it is refused, or finds all done; sometimes the first is killed meanwhile."""
    one = scene.run()
    moment = scene.moment(one)
    other = scene.run()
    if killed := scene.rng.random() < 0.5:
        time.sleep(scene.rng.uniform(0.0, 2.0))
        one.send(signal.SIGKILL)
    ends = (one.wait(), other.wait())
    if ends[1] and "is in use by" not in other.said:
        raise AssertionError(f"the second of two: exit {ends[1]}:\n{other.said}")
    if ends[0] and not killed:
        raise AssertionError(f"the first of two: exit {ends[0]}:\n{one.said}")
    return f"{moment}, exits {ends[0]} and {ends[1]}"


def _partly(scene: Scene) -> str:
    """Leaves the study finished, or kills a run of it amid."""
    if scene.rng.random() < 0.5:
        return "finished"
    unmake(scene.folder, behind([scene.task]))
    told = signalled(scene, signal.SIGKILL, group=True)
    settle(scene.folder)
    return told


def clock_jumps(scene: Scene) -> str:
    """The clock jumps between two runs, or amid one that is killed: all files are of another time."""
    told, days = _partly(scene), scene.rng.choice((-3650, -1, 1, 365))
    for file in scene.folder.rglob("*"):
        if file.is_file():
            then = file.stat().st_mtime + 86400 * days
            os.utime(file, (then, then))
    return f"{told}, {days} days"


def older_than_inputs(scene: Scene) -> str:
    """Files are copied or restored in any order: some are older than those that they were made of."""
    told = _partly(scene)
    for file in sorted(scene.folder.rglob("results/**/*")):
        if file.is_file():
            then = time.time() - scene.rng.uniform(0, 86400)
            os.utime(file, (then, then))
    return told


def truncated_output(scene: Scene) -> str:
    """Results are cut off between two runs, at their time or now."""
    return _spoil(scene, "truncated")


def empty_output(scene: Scene) -> str:
    """Results have no byte any more."""
    return _spoil(scene, "empty")


def _spoil(scene: Scene, how: str) -> str:
    """Damages up to three results of a finished study."""
    told = []
    for file in scene.rng.sample(list(MADE_BY), scene.rng.randrange(1, 4)):
        told.append(damage(scene.folder / file, scene.rng, how))
        if scene.rng.random() < 0.5:
            os.utime(scene.folder / file)
    return ", ".join(told)


def full_disk(scene: Scene) -> str:
    """The disk is full on the way, for results and for what Snakemake notes; afterwards somebody makes room."""
    assert scene.disk is not None
    size = scene.rng.randrange(0, 250 * 1024)
    scene.disk.room(size)
    code = scene.run().wait()
    settle(scene.folder)
    scene.disk.room(2**26)
    return f"{size / 1024:.0f} KiB left, exit {code}"


def read_only_disk(scene: Scene) -> str:
    """Results become read-only on the way; afterwards it is mended."""
    run, results = scene.run(), scene.folder / "results"
    moment = scene.moment(run)
    # A mount of its own, since files are open for writing in the other.
    subprocess.run(["mount", "--bind", results, results], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", results], check=True)
        return f"{moment}, exit {run.wait()}"
    finally:
        settle(scene.folder)
        subprocess.run(["umount", "--lazy", results], check=True)


class Kind(NamedTuple):
    """A kind of fault.

    Args:
        act: What brings it about.
        whole: Whether it befalls a study of which nothing is taken away before.
        spoils: Whether it spoils files that are finished.
        disk: Whether it takes a disk of its own; "mount" if only the right to mount.
    """

    act: Callable[[Scene], str]
    whole: bool = False
    spoils: bool = False
    disk: str = ""


KINDS = {
    "kill -9 of Snakemake": Kind(functools.partial(signalled, number=signal.SIGKILL)),
    "kill -9 of a job": Kind(killed_job),
    "kill -9 of Snakemake and its jobs": Kind(functools.partial(signalled, number=signal.SIGKILL, group=True)),
    "SIGTERM of Snakemake": Kind(functools.partial(signalled, number=signal.SIGTERM)),
    "SIGINT of Snakemake": Kind(interrupted),
    "two at one folder": Kind(second_run),
    "clock jump": Kind(clock_jumps, whole=True),
    "files older than their inputs": Kind(older_than_inputs, whole=True),
    "truncated results": Kind(truncated_output, whole=True, spoils=True),
    "zero-length results": Kind(empty_output, whole=True, spoils=True),
    "full disk": Kind(full_disk, disk="disk"),
    "read-only disk": Kind(read_only_disk, disk="mount"),
}


def kinds(wanted: str, disks: bool) -> list[str]:
    """The kinds of faults that can be brought about, given parts of their names."""
    return [name for name in chosen(KINDS, wanted) if disks or not KINDS[name].disk]


@contextmanager
def opened(base: Path) -> Iterator[Callable[[Path, str, random.Random], tuple[str, list[str]]]]:
    """Runs the study once, and yields what disturbs copies of it."""
    reference = base / "reference"
    prepare(reference)
    with served(base) as command:
        run = Run(reference, command, *OPTIONS)
        if run.wait():
            raise RuntimeError(f"the undisturbed run ended with {run.code}:\n{run.said}")
        yield lambda folder, name, rng: disturb(reference, command, folder, name, rng)


def disturb(reference: Path, command: str, folder: Path, name: str, rng: random.Random) -> tuple[str, list[str]]:
    """Brings a fault about, runs the workflow again until it ends well, and compares.

    Args:
        reference: A finished study.
        command: What stands for ``python``.
        folder: A folder for the copy; made and removed.
        name: The kind of the fault.
        rng: Where chances come from.

    Returns:
        What happened, and what was not survived.
    """
    kind = KINDS[name]
    folder.mkdir()
    disk = Disk(folder) if kind.disk == "disk" else None
    try:
        if disk is not None:
            assert disk.mount("size=64m")
        shutil.copytree(reference, folder, dirs_exist_ok=True)
        task = rng.choice(TASKS)
        if not kind.whole:
            unmake(folder, behind([task]))
        scene = Scene(folder, command, task, rng, disk)
        told, wrong = brought(lambda: kind.act(scene))
        here = differences(folder, reference, files(folder))
        if not kind.spoils:
            odd = (one for one in here if "cannot be read" in one or not one.startswith(JOINED))
            wrong += [f"half-written: {one}" for one in odd]
        # What was seen to be made, and is as it should be, need not be made again, unless what it was made of must be.
        bad = {one.partition(": ")[0] for one in here}
        redone = {file for one in behind(MADE_BY[file] for file in bad) for file in one.writes}
        kept = {file: state for file, state in finished(folder).items() if file not in redone}
        wrong += again(folder, lambda: ended(scene.run()))
        settle(folder)
        wrong += differences(folder, reference, files(reference))
        now = finished(folder)
        wrong += [f"{file}: was made again" for file, state in kept.items() if now.get(file) != state]
        wrong += [f"{file}: is left behind" for file in partial(folder)]
        return told, wrong
    finally:
        settle(folder)
        if disk is not None:
            disk.unmount()
        shutil.rmtree(folder)


def ended(run: Run) -> Run:
    """A run that has ended."""
    run.wait()
    return run
