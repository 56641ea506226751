"""Faults of single tasks: how each is brought about, in the process of a task or in the files of a finished study."""

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from disks import Disk, damage
from study import CRASHED, MADE_BY, MODEL, TASKS, TRAINED, Process, Task, at_moments, nothing

NETCDF = tuple(file for file in MADE_BY if file.endswith(".nc"))


class Scene(NamedTuple):
    """Where a fault happens.

    Args:
        folder: The folder of the study.
        task: The task that is disturbed, or that reads what is spoiled; it and those behind it have not run.
        rng: Where chances come from.
        moments: The number of moments at which the task touches files.
        disk: The disk on which the folder is; None for that of the machine.
    """

    folder: Path
    task: Task
    rng: random.Random
    moments: int
    disk: Disk | None


def at_moment(scene: Scene, act: Callable[[], object]) -> tuple[str, Callable[[], None]]:
    """A moment of a task, and what has its process do something then."""
    number = scene.rng.randrange(scene.moments)
    seen: list[str] = []

    def once(event: str) -> None:
        seen.append(event)
        if len(seen) == number + 1:
            act()

    return f"moment {number + 1} of {scene.moments}", lambda: at_moments(scene.folder, once)


def _kill(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def _disturbed(scene: Scene, spoil: Callable[[], object], crash: bool = False) -> str:
    """Runs the task with something that befalls it, which may make it crash or not; returns how it ended."""
    code, said = Process(scene.folder, scene.task, spoil).wait()
    assert crash or code != CRASHED, said
    return f"exit {code}"


def killed_at_a_file(scene: Scene) -> str:
    """kill -9 as it opens, renames or removes a file."""
    moment, spoil = at_moment(scene, _kill)
    return f"{moment}, {_disturbed(scene, spoil)}"


def killed_as_it_computes(scene: Scene) -> str:
    """kill -9 at any time, as by the out-of-memory killer of the kernel."""
    seconds = scene.rng.uniform(0.01, 0.6)

    def spoil() -> None:
        signal.signal(signal.SIGPROF, lambda *_: _kill())
        signal.setitimer(signal.ITIMER_PROF, seconds)

    return f"after {seconds:.2f} CPU s, {_disturbed(scene, spoil)}"


def preempted(scene: Scene) -> str:
    """SIGTERM, as at preemption; a training saves its state and stops."""
    moment, spoil = at_moment(scene, lambda: _kill(signal.SIGTERM))
    return f"{moment}, {_disturbed(scene, spoil)}"


def out_of_time(scene: Scene) -> str:
    """The end of the job is near; a training stops by itself, others are killed."""
    seconds = scene.rng.uniform(0.05, 0.6)

    def spoil() -> None:
        from posterity.tasks.training.ending import MARGIN

        os.environ["SLURM_JOB_END_TIME"] = str(time.time() + MARGIN + seconds / 2)
        signal.signal(signal.SIGPROF, lambda *_: _kill())
        signal.setitimer(signal.ITIMER_PROF, 4 * seconds)

    return f"{seconds:.2f} s, {_disturbed(scene, spoil)}"


def out_of_memory(scene: Scene) -> str:
    """No more memory is given (ulimit -v)."""
    more = scene.rng.choice((0, 2, 5, 10, 20, 40)) * 2**20 + scene.rng.randrange(2**20)

    def spoil() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more,) * 2)

    return f"{more / 2**20:.1f} MiB left, {_disturbed(scene, spoil, crash=True)}"


def full_disk(scene: Scene) -> str:
    """The disk is full on the way; afterwards somebody makes room."""
    assert scene.disk is not None
    size = scene.rng.randrange(0, 120 * 1024)
    scene.disk.room(size)
    ended = _disturbed(scene, nothing)
    scene.disk.room(2**24)
    return f"{size / 1024:.0f} KiB left, {ended}"


def read_only_disk(scene: Scene) -> str:
    """The disk becomes read-only on the way; afterwards it is mended."""
    assert scene.disk is not None
    moment, spoil = at_moment(scene, scene.disk.lock)
    ended = _disturbed(scene, spoil)
    scene.disk.room(2**24)
    return f"{moment}, {ended}"


def _spoiled_input(scene: Scene, how: str, among: tuple[str, ...]) -> str:
    """Damages a file that the task reads."""
    choices = [file for file in scene.task.reads if file in among]
    return damage(scene.folder / scene.rng.choice(choices), scene.rng, how)


def truncated_netcdf(scene: Scene) -> str:
    """A NetCDF file is cut off."""
    return _spoiled_input(scene, "truncated", NETCDF)


def empty_netcdf(scene: Scene) -> str:
    """A NetCDF file has no byte."""
    return _spoiled_input(scene, "empty", NETCDF)


def flipped_netcdf(scene: Scene) -> str:
    """A bit of a NetCDF file is flipped."""
    return _spoiled_input(scene, "flipped", NETCDF)


def spoiled_training(scene: Scene) -> str:
    """The weights, the description or the history of a training are cut off, empty, or a bit is flipped."""
    return _spoiled_input(scene, scene.rng.choice(("truncated", "empty", "flipped")), TRAINED)


def spoiled_checkpoint(scene: Scene) -> str:
    """A training is stopped amid, and then its saved state is cut off, emptied, or a bit of it is flipped."""
    moment, spoil = at_moment(scene, lambda: _kill(signal.SIGTERM))
    ended = f"{moment}, {_disturbed(scene, spoil)}"
    states = list((scene.folder / MODEL).parent.glob(".npe.unfinished/[!.]*.pt"))
    how = scene.rng.choice(("truncated", "empty", "flipped", "flipped"))
    return f"{ended}, " + (damage(states[0], scene.rng, how) if states else "no state")


def clock_jumps(scene: Scene) -> str:
    """A task is killed amid, and the clock jumps: all files are of another time."""
    days = scene.rng.choice((-3650, -1, 1, 365))
    moment, spoil = at_moment(scene, _kill)
    ended = _disturbed(scene, spoil)
    for path in scene.folder.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime + 86400 * days + scene.rng.uniform(-100, 100)
            os.utime(path, (then, then))
    return f"{moment}, {ended}, {days} days"


def twice_at_once(scene: Scene) -> str:
    """Two processes run the same task side by side; sometimes one of them is killed."""
    moment, spoil = at_moment(scene, _kill if scene.rng.random() < 0.5 else nothing)
    one = Process(scene.folder, scene.task)
    other = Process(scene.folder, scene.task, spoil)
    ends = [process.wait() for process in (one, other)]
    for code, said in ends:
        if code not in (0, -signal.SIGKILL) and "is in use by" not in said:
            raise AssertionError(f"two at once: exit {code}:\n{said}")
    return f"{moment}, exits {ends[0][0]} and {ends[1][0]}"


def left_behind(scene: Scene) -> str:
    """Half-written files of processes that died lie about, here and on another machine."""
    from posterity.data.files import HOST

    for file in scene.task.writes:
        for name, age in ((f"{HOST}.{2**22 + scene.rng.randrange(1000)}", 0), (f"elsewhere.{os.getpid()}", 2 * 86400)):
            path = (scene.folder / file).with_name(f".{Path(file).name}.{name}.partial")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(scene.rng.randbytes(scene.rng.randrange(4096)))
            os.utime(path, (time.time() - age,) * 2)
    return f"{2 * len(scene.task.writes)} files"


class Kind(NamedTuple):
    """A kind of fault.

    Args:
        act: What brings it about.
        tasks: The tasks that it can befall.
        spoils: Whether it spoils files that are finished: they cannot be whole then, and must be noticed.
        disk: Whether it takes a disk of its own.
    """

    act: Callable[[Scene], str]
    tasks: tuple[Task, ...] = tuple(TASKS)
    spoils: bool = False
    disk: bool = False


def _reading(among: tuple[str, ...]) -> tuple[Task, ...]:
    """The tasks that read some files."""
    return tuple(task for task in TASKS if set(task.reads) & set(among))


TRAIN = tuple(task for task in TASKS if task.name == "train")

KINDS = {
    "kill -9 at a file": Kind(killed_at_a_file),
    "kill -9 amid computing": Kind(killed_as_it_computes),
    "preemption (SIGTERM)": Kind(preempted),
    "time limit": Kind(out_of_time, TRAIN),
    "out of memory (ulimit)": Kind(out_of_memory),
    "full disk": Kind(full_disk, disk=True),
    "read-only disk": Kind(read_only_disk, disk=True),
    "truncated NetCDF": Kind(truncated_netcdf, _reading(NETCDF), spoils=True),
    "zero-length NetCDF": Kind(empty_netcdf, _reading(NETCDF), spoils=True),
    "bit flipped in NetCDF": Kind(flipped_netcdf, _reading(NETCDF), spoils=True),
    "spoiled weights": Kind(spoiled_training, _reading(TRAINED), spoils=True),
    "spoiled checkpoint": Kind(spoiled_checkpoint, TRAIN),
    "clock jump": Kind(clock_jumps),
    "two at once": Kind(twice_at_once),
    "partial files left behind": Kind(left_behind),
}
