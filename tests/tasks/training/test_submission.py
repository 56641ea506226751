"""The driver of a training on several nodes, with a Slurm that says what it is told to (a real one: tests/slurm)."""

import signal
from pathlib import Path

import pytest
import yaml

from posterity.errors import ConfigError, PosterityError
from posterity.experiment import load
from posterity.experiment.sections import TrainingConfig
from posterity.tasks.training import submission
from posterity.tasks.training.submission import Arguments, submit

STUDY = {
    "title": "A ring of 6 sites",
    "system": {"kind": "linear", "options": {"size": 6}},
    "observation": {"std": 1.0},
    "prior": {"std": 1.0},
    "window": 4,
    "splits": {"test": {"cases": 5}},
    "methods": {"npe": {"kind": "npe", "training": {"nodes": 4, "gpus": 2}}},
}


class Slurm:
    """Answers of Slurm, by job; the last one is repeated. What was asked is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.states, self.asked = folder, {}, []
        self.queue: list[str] = []

    def __call__(self, *words: str) -> str:
        self.asked.append(" ".join(words))
        if words[0] == "scancel":
            self.queue = []
            return ""
        options = dict(word.removeprefix("--").split("=") for word in words[1:] if "=" in word)
        if words[0] == "sacct":
            return ""
        if "job" not in options:
            return "\n".join(self.queue)
        states = self.states[options["job"]]
        state = states.pop(0) if len(states) > 1 else states[0]
        if callable(state) or not state:
            return state() if state else ""
        if state == "COMPLETED":
            (self.folder / "npe").mkdir(exist_ok=True)
            (self.folder / "npe" / "estimator.json").write_text("{}")
        return f"{state} node[1-4]"

    def submitted(self) -> list[str]:
        """The jobs that were submitted, as text."""
        return [path.read_text() for path in sorted(self.folder.glob("sbatch.*"))]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands on the path that submit, and all others within this process; on a clock that does not wait."""
    commands = tmp_path / "bin"
    commands.mkdir()
    number = f'$(ls {tmp_path} | grep -c "sbatch\\.")'
    script = f'#!/bin/sh\nif [ -f {tmp_path}/refused ]; then echo "no such partition" >&2; exit 1; fi\n'
    (commands / "sbatch").write_text(
        f'{script}cp "$1" {tmp_path}/sbatch.{number}\necho "Submitted batch job {number}"\n'
    )
    (commands / "srun").write_text("#!/bin/sh\n")
    for command in commands.iterdir():
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    clock = iter(range(10**9))
    monkeypatch.setattr(submission, "sleep", lambda seconds: None)
    monkeypatch.setattr(submission, "monotonic", lambda: float(next(clock)))
    found = Slurm(tmp_path)
    monkeypatch.setattr(submission, "command", found)
    return found


@pytest.fixture
def training(tmp_path) -> Arguments:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    for name in ("train.nc", "valid.nc"):
        (tmp_path / name).write_text(name)
    return Arguments(load(file), "npe", [tmp_path / "train.nc"], [tmp_path / "valid.nc"], tmp_path / "npe")


def test_it_submits_a_task_for_each_process_and_waits(slurm, training, tmp_path, capsys) -> None:
    def says() -> str:
        (tmp_path / ".npe.unfinished" / "jobs" / "1_0_log.out").write_text("epoch 1\n")
        return "RUNNING node[1-4]"

    slurm.states = {"1": ["PENDING (Resources)", says, "COMPLETED"]}
    submit(training, {"gpu": "8", "mem_mb": "3000", "runtime": "30", "cpus_per_task": "3", "slurm_partition": "long"})
    (job,) = slurm.submitted()
    for option in (
        "nodes=4", "ntasks-per-node=2", "gpus-per-node=2", "mem=6000M", "time=30", "cpus-per-task=3", "partition=long",
        "signal=USR2@120", "requeue", "open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH --{option}\n" in job
    assert "--kill-on-bad-exit=1" in job
    assert capsys.readouterr().out == "epoch 1\n"
    assert not (tmp_path / ".npe.unfinished").exists()


@pytest.mark.parametrize("ended", ["PREEMPTED", "NODE_FAIL", "BOOT_FAIL"])
def test_it_submits_again_what_lost_its_nodes(slurm, training, ended) -> None:
    """Unless Slurm does so itself: a state that does not last is not the last one."""
    slurm.states = {"1": ["RUNNING", ended, "PENDING", "RUNNING", ended], "2": ["COMPLETED"]}
    submit(training, {})
    assert len(slurm.submitted()) == 2


def test_a_job_that_fails_is_named_with_what_its_processes_said(slurm, training) -> None:
    slurm.states = {"1": ["RUNNING", "OUT_OF_MEMORY"]}
    with pytest.raises(PosterityError, match=r"npe: the job 1 of Slurm ended as OUT_OF_MEMORY; .*/jobs/1_\*_log\.out"):
        submit(training, {})


def test_of_a_job_that_slurm_forgets_its_files_tell(slurm, training, tmp_path) -> None:
    """What stood there before does not."""
    described = tmp_path / "npe" / "estimator.json"
    described.parent.mkdir()
    described.write_text("old")
    slurm.states = {"1": ["RUNNING", ""]}
    with pytest.raises(PosterityError, match="job 1 of Slurm ended as UNKNOWN"):
        submit(training, {})

    def written() -> str:
        described.write_text("new")
        return ""

    slurm.states = {"2": ["RUNNING", written, ""]}
    submit(training, {})


def test_time_limits_count_if_nothing_was_saved(slurm, training, tmp_path) -> None:
    def saved() -> str:
        key = slurm.submitted()[0].split("comment=")[1].split(".")[0]
        (tmp_path / ".npe.unfinished" / f"{key}.pt").write_text("state")
        return "RUNNING"

    slurm.states = {"1": ["RUNNING", saved, "TIMEOUT"], "2": ["RUNNING", "TIMEOUT"]}
    with pytest.raises(PosterityError, match=r"job 2 .* TIMEOUT without a step in 7 minutes; give it more"):
        submit(training, {"runtime": "7"})
    with pytest.raises(ConfigError, match="runtime: 4 minutes leave no time to train"):
        submit(training, {"runtime": "4"})


def test_it_finds_its_job_and_cancels_another_of_the_same_output(slurm, training, tmp_path) -> None:
    slurm.states = {"1": ["FAILED"], "7": ["COMPLETED"]}
    with pytest.raises(PosterityError):
        submit(training, {})
    key = slurm.submitted()[0].split("comment=")[1].split()[0]
    slurm.queue = [f"7 {key}"]
    submit(training, {})
    assert len(slurm.submitted()) == 1
    # Other data: the job that is there trains what nobody wants any more.
    (tmp_path / "train.nc").write_text("others")
    slurm.states = {"2": ["COMPLETED"]}
    submit(training, {})
    assert [words for words in slurm.asked if words.startswith("scancel --name=posterity-npe-")]
    assert len(slurm.submitted()) == 2


def test_a_job_of_another_driver_that_ended_badly_is_submitted_anew(slurm, training) -> None:
    """As one that was cancelled with the workflow before, and had not gone yet."""
    slurm.states = {"1": ["FAILED"]}
    with pytest.raises(PosterityError):
        submit(training, {})
    slurm.queue = [f"1 {slurm.submitted()[0].split('comment=')[1].split()[0]}"]

    def gone() -> str:
        slurm.queue = []
        return "CANCELLED"

    slurm.states = {"1": [gone, "CANCELLED"], "2": ["COMPLETED"]}
    submit(training, {})
    assert len(slurm.submitted()) == 2


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_it_cancels_its_job(slurm, training, told) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def stopped() -> str:
        signal.raise_signal(told)
        return "RUNNING"

    slurm.states = {"1": [stopped]}
    with pytest.raises(KeyboardInterrupt):
        submit(training, {})
    assert slurm.asked[-1].startswith("scancel --name=posterity-npe-")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_refusal_is_told(slurm, training, tmp_path, monkeypatch) -> None:
    (tmp_path / "refused").touch()
    with pytest.raises(ConfigError, match=r"(?s)methods\.npe\.training: Slurm refuses the job: .*no such partition"):
        submit(training, {})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"4 x 2 processes .* take Slurm, which is not here; .* 'shares' to 8"):
        submit(training, {})


@pytest.mark.parametrize(
    ("resources", "option", "value"),
    [
        ({}, "gpus_per_node", None),
        ({"gpu": "0"}, "gpus_per_node", None),
        ({"gpu": "2", "gpu_model": "a100"}, "gpus_per_node", "a100:8"),
        ({"gres": "gpu:a100:1"}, "gres", "gpu:a100:8"),
        ({"mem_mb_per_cpu": "500"}, "mem_per_cpu", "500M"),
        ({"qos": "long", "slurm_account": "me"}, "qos", "long"),
        ({"slurm_extra": "--exclusive '--reservation=my days'"}, "additional_parameters",
         {"requeue": True, "exclusive": True, "reservation": "my days"}),
    ],
)  # fmt: skip
def test_resources_are_those_of_each_process(resources, option, value) -> None:
    options = submission._options(resources, TrainingConfig(nodes=2, gpus=8))
    assert options.get(option) == value
