"""Runs of the workflow over the small study, each in a fork of this process, and their jobs in forks of a server."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from study import HERE, MADE_BY, RESULTS, ROOT, TASKS, Task

sys.path.append(str(ROOT / "tests" / "workflow"))

import forks

#: The logs of the tasks, in their order.
LOGS = dict(zip(
    TASKS,
    (f"{RESULTS}/logs/{name}.log" for name in (
        *(f"simulate/{split}/0" for split in ("train", "valid", "test")), "train/npe", "assimilate/4dvar/0",
        "sample/npe/0", "evaluate/4dvar/0", "evaluate/npe/0", "aggregate", "plot/coverage",
    )),
    strict=True,
))  # fmt: skip

#: How often a run may fail before it is given up.
TRIES = 4

#: Seconds after which a run is taken to wait for ever.
PATIENCE = 480.0


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A command that stands for ``python``, whose calls are answered by forks of this process as it is now."""
    for name in forks.PACKAGES:
        __import__(name)
    listening, command = forks.commands(folder)
    reading, writing = os.pipe()
    assert len(threading.enumerate()) == 1, "threads do not survive a fork"
    if (pid := os.fork()) == 0:
        try:
            os.setsid()
            os.close(writing)
            os.dup2(reading, 0)
            forks.serve(listening)
        finally:
            os._exit(0)
    os.close(reading)
    listening.close()
    try:
        yield command
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


class Run:
    """A run of Snakemake, in a process group of its own with its jobs.

    Args:
        folder: The folder of the study, which is the working directory.
        command: What stands for ``python``.
        options: Those of Snakemake.
    """

    def __init__(self, folder: Path, command: str, *options: str) -> None:
        # Not in the folder, whose disk may be full.
        self.log = folder.with_name(f"{folder.name}.{time.monotonic_ns()}.log")
        self.deadline = time.monotonic() + PATIENCE
        self.code: int | None = None
        words = ["snakemake", "-s", str(ROOT / "Snakefile"), "--config", "experiments=small", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        request = {"arguments": [command, "-m", *words], "folder": str(folder), "environment": environment}
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            said = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            # Who runs this in the background has interrupts ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            forks.run(request, [os.open(os.devnull, os.O_RDONLY), said, os.dup(said)])

    def ended(self) -> bool:
        """Whether it has; one that seems to wait for ever is killed with its jobs."""
        if self.code is None and (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.code = os.waitstatus_to_exitcode(found[1])
        elif self.code is None and time.monotonic() > self.deadline:
            os.killpg(self.pid, signal.SIGKILL)
        return self.code is not None

    def wait(self) -> int:
        """Waits for the end; returns the exit status, negative for a signal."""
        while not self.ended():
            time.sleep(0.01)
        assert self.code is not None
        return self.code

    def send(self, number: int, group: bool = False) -> None:
        """Sends a signal to Snakemake, or also to its jobs."""
        if not self.ended():
            (os.killpg if group else os.kill)(self.pid, number)

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")


def processes(folder: Path) -> list[int]:
    """The processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def settle(folder: Path) -> None:
    """Waits for the end of jobs whose run was killed, and kills those that never end."""
    deadline = time.monotonic() + PATIENCE
    while left := processes(folder):
        if time.monotonic() > deadline:
            subprocess.run(["kill", "-KILL", *map(str, left)], check=False)
        time.sleep(0.02)


def brought(act: Callable[[], str]) -> tuple[str, list[str]]:
    """Brings a fault about; returns what happened, and what was said of it that should not be."""
    try:
        return act(), []
    except AssertionError as error:
        return "ended as it should not", [str(error)]


def again(folder: Path, ended: Callable[[], Run]) -> list[str]:
    """Runs the workflow until it has ended well; what others still have is waited for, as it says.

    Args:
        folder: The folder of the study.
        ended: Makes a run, and waits for its end.

    Returns:
        What was not survived.
    """
    for _ in range(TRIES):
        run = ended()
        if run.code == 0:
            return []
        if "is in use by" not in run.said:
            break
        settle(folder)
    return [f"the workflow ended with {run.code} when it was run again:\n{run.said}"]


def behind(tasks: Iterable[Task]) -> list[Task]:
    """Some tasks, and all that depend on what they make, in order."""
    found = set(tasks)
    for task in TASKS:
        if any(MADE_BY[file] in found for file in task.reads):
            found.add(task)
    return [task for task in TASKS if task in found]


def unmake(folder: Path, tasks: Iterable[Task]) -> None:
    """Takes away what tasks have made, and said."""
    for task in tasks:
        for file in (*task.writes, LOGS[task]):
            (folder / file).unlink(missing_ok=True)


def prepare(folder: Path) -> None:
    """Makes the folder of a study of which nothing has run."""
    (folder / "config" / "experiments").mkdir(parents=True)
    shutil.copy(HERE / "small.yaml", folder / "config" / "experiments")


def finished(folder: Path) -> dict[str, tuple[int, int]]:
    """The files whose jobs Snakemake has seen end, each with what tells whether it is made again."""
    found = {}
    for file in MADE_BY:
        record = urlsafe_b64encode(file.encode()).decode()
        known, marked = (folder / ".snakemake" / part / record for part in ("metadata", "incomplete"))
        if (folder / file).exists() and known.exists() and not marked.exists():
            status = (folder / file).stat()
            found[file] = (status.st_ino, status.st_mtime_ns)
    return found
