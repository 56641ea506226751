"""Faults of runs of the workflow on a real Slurm, with a training on two nodes, one after another."""

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

from runs import LOGS, Run, again, behind, brought, prepare, processes, served, settle, unmake
from study import ROOT, TASKS, Task, chosen, differences, files, partial

CLUSTER = ROOT / "tests" / "slurm" / "cluster.sh"
STATE = Path("/var/lib/posterity-slurm")
NEEDED = ("mariadbd", "munged", "slurmctld", "slurmd", "slurmdbd", "sbatch", "sacct")
NODES = tuple(f"node{number}" for number in range(1, 5))
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

#: Small jobs, since the nodes are but this host; what stands here takes the place of the profile's.
OPTIONS = (
    "--profile", str(ROOT / "profiles" / "slurm"), "--jobs", "3", "--slurm-init-seconds-before-status-checks", "2",
    "--set-threads", "sample=1", "assimilate=1",
)  # fmt: skip
TRAINING = ("train_on_nodes:cpus_per_task=1", "train_on_nodes:mem_mb=4000", "train_on_nodes:runtime=60")


def slurm(*words: str) -> str:
    """Runs a command of Slurm; returns what it printed, nothing if it was too late."""
    # A daemon looks for its other settings beside this file, not beside the link to it.
    environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(STATE / "slurm.conf")}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment).stdout.strip()


class Scene(NamedTuple):
    """Where a fault happens.

    Args:
        folder: The folder of the study.
        command: What stands for ``python`` there.
        task: The task at which it happens; it and those behind it have not run.
        rng: Where chances come from.
    """

    folder: Path
    command: str
    task: Task
    rng: random.Random

    def run(self, *resources: str) -> Run:
        """Starts the workflow, with some resources of rules."""
        return Run(self.folder, self.command, *OPTIONS, "--set-resources", *TRAINING, *resources)

    def job(self, run: Run) -> tuple[str, str, str]:
        """Waits for a job that runs once the task has begun; returns its number, its node, and where that is."""
        seconds = self.rng.uniform(0.0, 2.0)
        while not (self.folder / LOGS[self.task]).exists() and not run.ended():
            time.sleep(0.05)
        time.sleep(seconds)
        while not (found := slurm("squeue", "--noheader", "--states=running", "--format=%i %N")) and not run.ended():
            time.sleep(0.2)
        job, _, nodes = self.rng.choice(found.splitlines() or ["0 node1"]).partition(" ")
        # Of several nodes the first: node[1-2].
        return job, "node" + nodes.removeprefix("node").strip("[]")[0], f"{self.task.name}, {seconds:.1f} s"

    def end(self, run: Run) -> str:
        """Waits for the end of a run, and starts jobs that are in the queue again.

        Slurm holds them for minutes or, if their node came back before it forgot them, until somebody lets them go.
        """
        while not run.ended():
            for job, reason in listed("squeue", "--states=pending", "--format=%i %r"):
                if reason.endswith("BeginTime"):
                    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
                elif reason.endswith("launch failed requeued held"):
                    for node, why in listed("sinfo", "--Node", "--partition=gpu", "--format=%N %E"):
                        if why.endswith("Duplicate jobid"):
                            slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
                    slurm("scontrol", "release", job)
            time.sleep(1)
        return f"exit {run.wait()}"


def listed(command: str, *options: str) -> list[tuple[str, str]]:
    """The jobs or nodes that Slurm lists, and what it says of each, such as why a job waits."""
    lines = slurm(command, "--noheader", *options).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def killed_step(scene: Scene) -> str:
    """kill -9 of a job and its steps."""
    run = scene.run()
    job, _, moment = scene.job(run)
    slurm("scancel", "--full", "--signal=KILL", job)
    return f"{moment}, {scene.end(run)}"


def cancelled(scene: Scene) -> str:
    """Somebody cancels a job."""
    run = scene.run()
    job, _, moment = scene.job(run)
    slurm("scancel", job)
    return f"{moment}, {scene.end(run)}"


def requeued(scene: Scene) -> str:
    """A job is preempted, and put back into the queue."""
    run = scene.run()
    job, _, moment = scene.job(run)
    slurm("scontrol", "requeue", job)
    return f"{moment}, {scene.end(run)}"


def killed_snakemake(scene: Scene) -> str:
    """kill -9 of Snakemake, with what runs beside it: its jobs go on."""
    run = scene.run()
    _, _, moment = scene.job(run)
    run.send(signal.SIGKILL, group=True)
    return f"{moment}, {scene.end(run)}"


def killed_driver(scene: Scene) -> str:
    """kill -9 of the driver of a training on two nodes: its job goes on, and the next driver finds it."""
    unmake(scene.folder, behind([task for task in TASKS if task.name == "train"]))
    run = scene._replace(task=next(task for task in TASKS if task.name == "train")).run()
    while "posterity-npe" not in slurm("squeue", "--noheader", "--format=%j") and not run.ended():
        time.sleep(0.1)
    time.sleep(seconds := scene.rng.uniform(0.0, 3.0))
    for pid in processes(scene.folder):
        with suppress(OSError):
            if b"\0posterity\0train\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    return f"{seconds:.1f} s, {scene.end(run)}"


def killed_daemon(scene: Scene) -> str:
    """kill -9 of the daemon of a node, which starts again."""
    run = scene.run()
    _, node, moment = scene.job(run)
    with suppress(OSError):
        os.kill(int((STATE / f"{node}.pid").read_text()), signal.SIGKILL)
    time.sleep(scene.rng.uniform(0.0, 5.0))
    slurm("slurmd", "-N", node)
    return f"{moment}, {node}, {scene.end(run)}"


def node_down(scene: Scene) -> str:
    """A node fails, and comes back."""
    run = scene.run()
    _, node, moment = scene.job(run)
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=chaos")
    time.sleep(scene.rng.uniform(0.0, 5.0))
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    return f"{moment}, {node}, {scene.end(run)}"


def node_drained(scene: Scene) -> str:
    """A node takes no more jobs."""
    run = scene.run()
    _, node, moment = scene.job(run)
    slurm("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=chaos")
    told = f"{moment}, {node}, {scene.end(run)}"
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    return told


def out_of_time(scene: Scene) -> str:
    """A job hangs until its time limit."""
    run = scene.run()
    job, _, moment = scene.job(run)
    for pid in set(processes(scene.folder)) - {run.pid}:
        with suppress(OSError):
            os.kill(pid, signal.SIGSTOP)
    slurm("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    while slurm("squeue", "--noheader", "--states=running", f"--jobs={job}") and not run.ended():
        time.sleep(0.5)
    for pid in processes(scene.folder):
        with suppress(OSError):
            os.kill(pid, signal.SIGCONT)
    return f"{moment}, {scene.end(run)}"


def out_of_memory(scene: Scene) -> str:
    """Slurm kills what takes more memory than it asked for; the next attempt asks for more."""
    rule = scene.task.name.partition(" ")[0]
    little = f"{'assimilate' if rule == 'train' else rule}:mem_mb=5 if attempt == 1 else 4000"
    return f"{scene.task.name}, {scene.end(scene.run(little))}"


def second_run(scene: Scene) -> str:
    """A second Snakemake at the folder: it is refused."""
    one = scene.run()
    _, _, moment = scene.job(one)
    other = scene.run()
    ends = scene.end(other), scene.end(one)
    if other.code and "is in use by" not in other.said:
        raise AssertionError(f"the second of two: {ends[0]}:\n{other.said}")
    return f"{moment}, {ends[1]} and {ends[0]}"


KINDS: dict[str, Callable[[Scene], str]] = {
    "kill -9 of a step": killed_step,
    "job cancelled": cancelled,
    "preemption by requeue": requeued,
    "kill -9 of Snakemake": killed_snakemake,
    "kill -9 of the driver": killed_driver,
    "kill -9 of slurmd": killed_daemon,
    "node down": node_down,
    "node drained": node_drained,
    "time limit": out_of_time,
    "out of memory": out_of_memory,
    "two at one folder": second_run,
}


def kinds(wanted: str) -> list[str]:
    """The kinds of faults, given parts of their names; none where there is no Slurm."""
    possible = os.geteuid() == 0 and all(shutil.which(name, path=PATH) for name in NEEDED)
    return chosen(KINDS, wanted) if possible else []


@contextmanager
def opened(base: Path) -> Iterator[Callable[[Path, str, random.Random], tuple[str, list[str]]]]:
    """Brings Slurm up unless it is, runs the study once, and yields what disturbs copies of it."""
    up = STATE.exists()
    subprocess.run([CLUSTER, "up"], check=True, timeout=240)
    reference = base / "reference"
    prepare(reference)
    file = reference / "config" / "experiments" / "small.yaml"
    file.write_text(file.read_text().replace("training: {", "training: {nodes: 2, "))
    try:
        with served(base) as command:
            scene = Scene(reference, command, TASKS[0], random.Random(0))
            run = scene.run()
            scene.end(run)
            if run.code:
                raise RuntimeError(f"the undisturbed run ended with {run.code}:\n{run.said}")
            yield lambda folder, name, rng: disturb(reference, command, folder, name, rng)
    finally:
        if not up:
            subprocess.run([CLUSTER, "down"], check=True, timeout=120)


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
    shutil.copytree(reference, folder)
    scene = Scene(folder, command, rng.choice(TASKS), rng)
    unmake(folder, behind([scene.task]))
    try:
        told, wrong = brought(lambda: KINDS[name](scene))
        here = differences(folder, reference, files(folder))
        wrong += [f"half-written: {one}" for one in here if "cannot be read" in one]
        wrong += again(folder, lambda: ended(scene))
        wrong += differences(folder, reference, files(reference))
        wrong += [f"{file}: is left behind" for file in partial(folder)]
        return told, wrong
    finally:
        slurm("scancel", "--user=root")
        settle(folder)
        shutil.rmtree(folder)


def ended(scene: Scene) -> Run:
    """A run that has ended and, if it ended well, with it the jobs that a killed one has left."""
    run = scene.run()
    scene.end(run)
    while run.code == 0 and slurm("squeue", "--noheader"):
        time.sleep(0.5)
    return run
