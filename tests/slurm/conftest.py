"""A Slurm on this host, and studies that run on it."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: Rules pieces of which share a job in the undisturbed study, as docs/cluster.md describes.
SHARED = ("simulate", "plot")
NEEDED = ("mariadbd", "munged", "slurmctld", "slurmd", "slurmdbd", "sbatch", "sacct")


class Cluster:
    """The commands of a Slurm that is up."""

    def command(self, *words: str) -> str:
        """Runs a command of Slurm; returns what it printed."""
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def training(self) -> str:
        """The number of the job of a training on several nodes, if there is one."""
        listed = self.command("squeue", "--noheader", "--format=%i %j").splitlines()
        return next((line.split()[0] for line in listed if "posterity-npe" in line), "")

    def preempt(self, job: str, node: str) -> None:
        """Has a job of more importance take a node of another, and waits until that is back in the queue."""
        self.command("sbatch", "--partition=urgent", f"--nodelist={node}", "--exclusive", "--wrap=sleep 1",
                     "--output=/dev/null")  # fmt: skip
        self.wait_for_requeue(job)

    def wait_for_requeue(self, job: str) -> None:
        """Waits until a job is back in the queue."""
        deadline = time.monotonic() + 120
        while self.command("squeue", "--noheader", f"--job={job}", "--format=%r") != "BeginTime":
            assert time.monotonic() < deadline, self.command("scontrol", "show", "job", job)
            time.sleep(0.2)

    def start_now(self, job: str, *changes: str) -> None:
        """Starts a job that is back in the queue: Slurm holds it for two minutes, which is long for a test."""
        self.command("scontrol", "update", f"JobId={job}", "StartTime=now", *changes)

    def drain(self) -> None:
        """Waits until no job is left."""
        deadline = time.monotonic() + 60
        while left := self.command("squeue", "--noheader"):
            assert time.monotonic() < deadline, left
            time.sleep(0.2)

    def jobs(self, printed: str, *flags: str) -> list[dict[str, str]]:
        """What the accounting says of the jobs of a run, given what the run printed; each with its rule."""
        run = re.search(r"SLURM run ID: (\S+)", printed)
        assert run, printed
        fields = "JobID,Comment,ReqTRES,TimelimitRaw,State"
        table = self.command("sacct", "--allocations", "--parsable2", "--format", fields, "--name", run[1], *flags)
        found = list(csv.DictReader(table.splitlines(), delimiter="|"))
        for job in found:
            job["rule"] = job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
        return found


class Study:
    """A working copy of the project, and runs of its workflow with the profile for Slurm."""

    def __init__(self, folder: Path, experiment: str = "tiny") -> None:
        self.folder, self.experiment = folder, experiment
        self.results = folder / "results" / experiment
        # The copy's package comes before the installed one: an edit amid a run would be a reason to train anew.
        self.environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        for name in ("Snakefile", "workflow", "config", "profiles", "envs", "src"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        for file in HERE.glob("*.yaml"):
            shutil.copy(file, folder / "config" / "experiments")

    def start(self, *flags: str) -> None:
        """Starts a run in a process group of its own.

        Only what would make tests slow differs from the profile: how often Slurm is asked, and for how much at a time,
        because the nodes are but this host.
        """
        command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--jobs", "4"]
        command += ["--slurm-init-seconds-before-status-checks", "2", *flags]
        command += ["--config", f"experiments={self.experiment}"]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # Who runs the tests in the background has interrupts ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits until something is so, while the run goes on."""
        deadline = time.monotonic() + 300
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"waited in vain:\n{self.kill()}")
            time.sleep(0.05)

    def finish(self) -> str:
        """Waits for the good end of the run; returns what it printed."""
        try:
            printed, _ = self.process.communicate(timeout=1200)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run does not end:\n{self.kill()}")
        assert self.process.returncode == 0, printed
        return printed

    def kill(self) -> str:
        """Kills the run, with all its processes on this host but for its jobs; returns what it printed."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.communicate()[0]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Slurm with accounting, two nodes and four GPUs, for the session."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    lacking = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if lacking or os.geteuid() != 0:
        reason = f"the test cluster needs root, and {', '.join(lacking or NEEDED)} (tests/slurm/cluster.sh)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    subprocess.run([HERE / "cluster.sh", "up"], check=True, timeout=240)
    yield Cluster()
    subprocess.run([HERE / "cluster.sh", "down"], check=True, timeout=120)


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, str]:
    """A study that ran from its start to its end undisturbed, in which pieces share jobs, and what the run printed."""
    study = Study(tmp_path_factory.mktemp("undisturbed"))
    profile = study.folder / "profiles" / "slurm" / "profile.yaml"
    settings = yaml.safe_load(profile.read_text())
    for rule in SHARED:
        settings["set-resources"][rule] = {"batch": 4}
    profile.write_text(yaml.safe_dump(settings, sort_keys=False))
    study.start()
    return study, study.finish()


@pytest.fixture
def fresh(cluster: Cluster, tmp_path: Path) -> Study:
    """A study that has not run yet."""
    return Study(tmp_path)


@pytest.fixture
def on_nodes(undisturbed: tuple[Study, str], tmp_path: Path) -> Iterator[Study]:
    """A study with a training on four nodes, one core for each process, since this host has no more."""
    study = Study(tmp_path, "nodes")
    # Its training cases are those of the other.
    shutil.copytree(undisturbed[0].results / "simulations", study.results / "simulations")
    profile = tmp_path / "profiles" / "slurm" / "profile.yaml"
    profile.write_text(profile.read_text().replace("cpus_per_task: 4", "cpus_per_task: 1"))
    yield study
    if study.process.poll() is None:
        study.kill()
