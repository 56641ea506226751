"""A training as one job of Slurm with several processes, and the wait for it. Imports no torch: it waits for days."""

import getpass
import hashlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

from ...data.artifacts import DESCRIPTION
from ...errors import ConfigError, PosterityError
from ...experiment import Experiment
from ...experiment.dependencies import dependencies
from ...experiment.sections import TrainingConfig
from ..files.lock import lock
from .ending import MARGIN, SIGNALS
from .unfinished import unfinished

log = logging.getLogger("posterity")

#: The options of sbatch, by the names that Snakemake's plugin gives to resources.
OPTIONS = {"slurm_partition": "partition", "slurm_account": "account", "qos": "qos", "constraint": "constraint"}

#: Minutes, mebibytes and cores, where the profile does not say.
RUNTIME, MEMORY, CORES = 60, 4000, 1

#: Starts Python with the signals held back that tell a training to stop: until it listens, they would end Python.
START = (
    f"import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {[int(number) for number in SIGNALS]}); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)

#: States of jobs whose training goes on in another: their nodes were taken away, or their time was up.
GOES_ON = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT")

#: States of jobs that have ended, and will not start again.
ENDED = ("COMPLETED", "FAILED", "OUT_OF_MEMORY", "CANCELLED", "DEADLINE", "UNKNOWN", *GOES_ON)

#: The most seconds between two questions to Slurm.
PATIENCE = 30.0

#: Seconds for which what nodes have written may be late on this machine.
LATENCY = 60.0


class Arguments(NamedTuple):
    """What :func:`posterity.tasks.train.train` takes."""

    experiment: Experiment
    method: str
    train: Sequence[Path]
    valid: Sequence[Path]
    output: Path
    device: str = "auto"
    climatology: Path | None = None

    @property
    def settings(self) -> TrainingConfig:
        """How the method is trained."""
        return self.experiment.training(self.method)


def submit(training: Arguments, resources: Mapping[str, str]) -> None:
    """Trains an estimator in a job of Slurm, with a task for each process, and returns when it has ended well.

    The job puts itself back into the queue, and goes on from its last state, as often as it must. It is known by its
    name in the queue: who submits the same while it is there waits for it instead. Interrupted or terminated, this
    cancels the job; killed, it leaves it.

    Args:
        training: The training.
        resources: What each of its processes gets, by the names of Snakemake's plugin for Slurm.

    Raises:
        ConfigError: If the method is not trained, if there is no Slurm, or if Slurm refuses the job.
        PosterityError: If the job fails.
    """
    settings = training.settings
    if shutil.which("sbatch") is None:
        raise ConfigError(
            f"methods.{training.method}.training: {settings.nodes} x {settings.gpus} processes (nodes x gpus) take "
            "Slurm, which is not here; run it on a cluster, or set both to 1 and 'shares' to "
            f"{settings.equal_shares()}: one process then takes the same steps"
        )
    depends = dependencies("train", training.experiment, training.method)
    state = unfinished(training.output, depends.key, [*training.train, *training.valid])
    queue = Queue(state.parent / "jobs", training, f"{state.stem}.{settings.nodes}x{settings.gpus}")
    with _cancelling(queue):
        _run(queue, state, _options(resources, settings))
    shutil.rmtree(state.parent, ignore_errors=True)


def _run(queue: "Queue", state: Path, options: dict[str, Any]) -> None:
    """Finds the job or submits it, again and again, until it has ended well."""
    described = queue.training.output / DESCRIPTION
    while True:
        saved, written = _changed(state), _changed(described)
        job, ours = queue.join(options)
        ended = queue.wait(job)
        # Of a job that Slurm has forgotten, what it has written tells.
        well = ended == "COMPLETED" or (ours and ended == "UNKNOWN" and _changed(described) > written)
        if well and _appears(described):
            return
        stuck = ended == "TIMEOUT" and _changed(state) == saved
        if ours and (stuck or ended not in GOES_ON):
            raise PosterityError(
                f"methods.{queue.training.method}: the job {job} of Slurm ended as {ended}"
                + (f" without a step in {options['time']} minutes; give it more" if stuck else "")
                + f"; what its processes said is in {queue.folder}/{job}_*_log.out"
            )


def _options(resources: Mapping[str, str], settings: TrainingConfig) -> dict[str, Any]:
    """The options of submitit for a job whose processes get some resources each."""
    runtime = int(resources.get("runtime", RUNTIME))
    if 60 * runtime <= 2 * MARGIN:
        raise ConfigError(
            f"runtime: {runtime} minutes leave no time to train: the state is saved {MARGIN} seconds before; raise it"
        )
    cores = resources.get("cpus_per_task", CORES)
    options: dict[str, Any] = {
        "nodes": settings.nodes,
        "ntasks_per_node": settings.gpus,
        "cpus_per_task": cores,
        "time": runtime,
        "signal_delay_s": MARGIN,
        "stderr_to_stdout": True,
        # What one process says last is not lost, and the others do not wait for one that has died.
        "srun_args": ["--open-mode=append", "--kill-on-bad-exit=1", f"--cpus-per-task={cores}"],
        "setup": [
            f"export OMP_NUM_THREADS={cores}",
            # Names of nodes need not be names of machines.
            'address=$(scontrol --oneliner show node "$SLURMD_NODENAME")',
            "export MASTER_ADDR=$(sed 's/.*NodeAddr=\\([^ ]*\\).*/\\1/' <<<\"$address\")",
            # srun would kill its tasks at once, which have a state to save.
            "trap '' TERM",
        ],
    }
    options |= {option: resources[name] for name, option in OPTIONS.items() if name in resources}
    if "mem_mb_per_cpu" in resources:
        options["mem_per_cpu"] = f"{resources['mem_mb_per_cpu']}M"
    else:
        options["mem"] = f"{settings.gpus * int(resources.get('mem_mb', MEMORY))}M"
    if "gres" in resources:
        kind, _, count = resources["gres"].rpartition(":")
        options["gres"] = f"{kind}:{settings.gpus * int(count)}"
    elif int(resources.get("gpu", 0)):
        model = resources.get("gpu_model")
        options["gpus_per_node"] = f"{model}:{settings.gpus}" if model else settings.gpus
    extra = [flag.removeprefix("--").partition("=") for flag in shlex.split(resources.get("slurm_extra", ""))]
    options["additional_parameters"] = {"requeue": True} | {name: value or True for name, _, value in extra}
    return options


class Queue:
    """The jobs of a training, of which there should be one.

    Args:
        folder: Where their files stand.
        training: The training.
        key: What tells it from another of the same output.
    """

    def __init__(self, folder: Path, training: Arguments, key: str) -> None:
        self.folder, self.training, self.key = folder, training, key
        place = hashlib.sha256(str(training.output.resolve()).encode()).hexdigest()[:8]
        self.name = f"posterity-{training.method}-{place}"

    def join(self, options: dict[str, Any]) -> tuple[str, bool]:
        """The job that is there, or a new one; and whether it is new."""
        with lock(self.folder):
            for job, key in self._found():
                if key == self.key:
                    log.info("%s: finds job %s of Slurm", self.training.output, job)
                    return job, False
            # One of another configuration or of other data, which nobody waits for any more.
            while self._found():
                self.cancel()
                sleep(1)
            return self._submit(options), True

    def _found(self) -> list[tuple[str, str]]:
        """The numbers and keys of the jobs that wait, run, or are about to end."""
        told = command("squeue", "--me", "--noheader", f"--name={self.name}", "--format=%i %k")
        return [(job, key) for job, _, key in (line.partition(" ") for line in told.splitlines())]

    def _submit(self, options: dict[str, Any]) -> str:
        """Submits a new job; returns its number."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.helpers import clean_env

        executor = SlurmExecutor(self.folder, python=shlex.join([sys.executable, "-I", "-c", START, sys.executable]))
        executor.update_parameters(job_name=self.name, comment=self.key, **options)
        try:
            with clean_env() if "SLURM_JOB_ID" in os.environ else nullcontext():
                job = executor.submit(work, self.training)
        except (FailedJobError, FailedSubmissionError) as error:
            raise ConfigError(f"methods.{self.training.method}.training: Slurm refuses the job: {error}") from error
        settings = self.training.settings
        log.info("%s: job %s of Slurm, %d x %d processes", self.name, job.job_id, settings.nodes, settings.gpus)
        return str(job.job_id)

    def wait(self, job: str) -> str:
        """Waits for the end of a job, and shows meanwhile what its first process says; returns its last state."""
        from submitit.core.utils import JobPaths

        paths = JobPaths(self.folder, job, 0)
        known, place, asked, delay = ("", ""), 0, monotonic(), 1.0
        while True:
            place = _show(paths.stdout, place)
            if monotonic() - asked >= delay:
                told = self._state(job)
                if told == known and told[0] in ENDED:
                    _show(paths.stdout, place)
                    return told[0]
                if told != known:
                    log.info("job %s: %s", job, " ".join(told))
                # A job that has ended is asked about twice: Slurm may be about to put it back into the queue.
                soon = told != known or paths.result_pickle.exists()
                known, asked, delay = told, monotonic(), 1.0 if soon else min(PATIENCE, 1.5 * delay)
            sleep(0.5)

    def _state(self, job: str) -> tuple[str, str]:
        """The state of a job, and the nodes it runs on, or why it does not run."""
        told = command("squeue", "--noheader", "--states=all", f"--job={job}", "--format=%T %R")
        if not told and shutil.which("sacct"):
            told = command("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job}", "--format=State")
        state, _, where = told.partition(" ")
        return state or "UNKNOWN", where

    def cancel(self) -> None:
        """Cancels all there are."""
        log.warning("%s: cancels its job of Slurm", self.training.output)
        command("scancel", f"--name={self.name}", f"--user={getpass.getuser()}")


def work(training: Arguments) -> None:
    """What each process of a job does: it trains, and the first puts the job back into the queue if it was stopped."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    logging.getLogger("submitit").propagate = False
    from ..train import StoppedError, train

    try:
        train(*training, keep=True)
    except StoppedError as stopped:
        if os.environ["SLURM_PROCID"] == "0":
            log.info("%s", stopped)
            _requeue(os.environ["SLURM_JOB_ID"])
    except PosterityError as error:
        log.error("%s", error)
        sys.exit(2)


def _requeue(job: str) -> None:
    """Puts a job back into the queue; unless Slurm is at it, which preempts it, or somebody has cancelled it."""
    if command("squeue", "--noheader", f"--job={job}", "--format=%T") == "RUNNING":
        subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)


def command(*words: str) -> str:
    """What a command of Slurm prints; nothing if Slurm does not know the job."""
    for pause in (1, 5, 20, 60, 0):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0 or "Invalid job id" in done.stderr:
            return done.stdout.strip()
        log.warning("%s: %s", words[0], done.stderr.strip())
        sleep(pause)
    raise PosterityError(f"{words[0]}: {done.stderr.strip()}; see whether Slurm is up, and run it again")


def _show(file: Path, place: int) -> int:
    """Prints what a file holds behind some place; returns where it ends."""
    try:
        with file.open("rb") as stream:
            stream.seek(place)
            said = stream.read()
    except FileNotFoundError:
        return place
    sys.stdout.write(said.decode(errors="replace"))
    sys.stdout.flush()
    return place + len(said)


def _changed(file: Path) -> int:
    """When a file was changed last, in nanoseconds; 0 if it is not there."""
    return file.stat().st_mtime_ns if file.is_file() else 0


def _appears(file: Path) -> bool:
    """Whether a file is there, which may take a while to show."""
    deadline = monotonic() + LATENCY
    while not file.is_file() and monotonic() < deadline:
        sleep(1)
    return file.is_file()


@contextmanager
def _cancelling(queue: Queue) -> Iterator[None]:
    """Cancels the job of a training if this process is interrupted, or told to end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        # Once: Ctrl-C comes from the terminal, and then from the workflow.
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        queue.cancel()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
