"""A study on a real Slurm: it ends, asks for what the profile says, and survives what happens on clusters.

All tests that use the cluster stand in this file: the session that brings it up takes it down, and files may run in
sessions of their own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import xarray as xr
import yaml

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "profiles" / "slurm"
GUIDE = ROOT / "docs" / "cluster.md"
#: How many jobs of Slurm there are of each rule: all three pieces of `simulate`, and both figures, share one.
RULES = {
    "simulate": 1, "train": 1, "sample": 1, "assimilate": 1, "reference": 1, "evaluate": 2, "aggregate": 1, "plot": 1,
}  # fmt: skip
FIGURES = 2
SCORES = "results/tiny/metrics/npe/0.nc"
(LEFTOVERS,) = (
    line.removeprefix("$ ") for line in GUIDE.read_text().splitlines() if "xargs --no-run-if-empty scancel" in line
)


def test_a_study_ends_with_all_its_files(cluster, undisturbed):
    study, printed = undisturbed
    for method in ("4dvar", "npe"):
        assert (study.results / "posteriors" / method / "0.nc").is_file()
    with xr.open_dataset(study.results / "metrics.nc", decode_times=False) as metrics:
        assert list(metrics["method"].values) == ["4dvar", "npe"]
        assert metrics.sizes["case"] == 2
    assert len(list((study.results / "figures").glob("*.svg"))) == FIGURES
    assert partial(study) == []
    assert Counter(job["rule"] for job in cluster.jobs(printed) if job["State"] == "COMPLETED") == RULES


def test_jobs_ask_for_what_the_profile_says(cluster, undisturbed):
    profile = yaml.safe_load((PROFILE / "profile.yaml").read_text())
    for job in cluster.jobs(undisturbed[1]):
        wanted = {**profile["default-resources"], **profile["set-resources"].get(job["rule"], {})}
        asked = dict(pair.split("=") for pair in job["ReqTRES"].split(","))
        assert asked["cpu"] == str(profile["set-threads"].get(job["rule"], 1))
        assert asked["mem"] == f"{at_first(wanted['mem_mb'])}M"
        assert asked.get("gres/gpu", "0") == str(wanted.get("gpu", 0))
        assert job["TimelimitRaw"] == str(at_first(wanted["runtime"]))


def test_rules_with_a_gpu_see_one_and_others_none(cluster, tmp_path):
    rules = [f"rule {name}:\n    output: '{name}.txt'\n    shell: 'env > {{output}}'" for name in ("train", "simulate")]
    (tmp_path / "Snakefile").write_text("\n\n".join(rules))
    command = [sys.executable, "-m", "snakemake", "--profile", str(PROFILE), "train.txt", "simulate.txt"]
    subprocess.run([*command, "--slurm-init-seconds-before-status-checks", "2"], cwd=tmp_path, check=True, timeout=300)
    train, simulate = (variables(tmp_path / f"{name}.txt") for name in ("train", "simulate"))
    assert train["CUDA_VISIBLE_DEVICES"] in ("0", "1")
    assert "CUDA_VISIBLE_DEVICES" not in simulate
    assert simulate["OMP_NUM_THREADS"] == "1"


def test_a_cancelled_job_is_tried_again(cluster, undisturbed, fresh):
    fresh.start("results/tiny/simulations/valid/0.nc")
    fresh.wait_until(lambda: cluster.command("squeue", "--noheader", "--states=running") != "")
    cluster.command("scancel", "--user=root")
    states = [job["State"].split()[0] for job in cluster.jobs(fresh.finish())]
    assert states == ["CANCELLED", "COMPLETED"]
    assert same(undisturbed[0], fresh) == 1


def test_a_killed_and_preempted_study_ends_like_an_undisturbed_one(cluster, undisturbed, fresh):
    # Neither trained nor drawn yet; its scores are made by workers on two nodes.
    for part in ("simulations", "references"):
        shutil.copytree(undisturbed[0].results / part, fresh.results / part)
    profile = fresh.folder / "profiles" / "slurm" / "profile.yaml"
    nodes = "  evaluate:\n    nodes: 2\n    tasks: 2\n"
    profile.write_text(profile.read_text().replace("set-resources:\n", f"set-resources:\n{nodes}"))

    # Snakemake dies, and the training that it leaves behind is cancelled as docs/cluster.md says.
    fresh.start(SCORES)
    fresh.wait_until(lambda: checkpointed(fresh) > 0)
    fresh.kill()
    subprocess.run(LEFTOVERS, shell=True, cwd=fresh.folder, check=True)
    cluster.drain()

    # The next run takes the training up, until a job of more importance takes its node.
    before = checkpointed(fresh)
    fresh.start(SCORES)
    fresh.wait_until(lambda: checkpointed(fresh) > before)
    running = cluster.command("squeue", "--noheader", "--format=%i %N %k").splitlines()
    training, node, _ = next(line for line in running if "rule_train" in line).split()
    cluster.preempt(training, node)
    cluster.start_now(training)
    printed = fresh.finish()

    states = [f"{job['rule']} {job['State']}" for job in cluster.jobs(printed, "--duplicates")]
    assert states == ["train PREEMPTED", "train COMPLETED", "sample COMPLETED", "evaluate COMPLETED"]
    assert "goes on after epoch" in (fresh.results / "logs" / "train" / "npe.log").read_text()
    assert partial(fresh) == []
    weights = Path("models", "npe", "weights.safetensors")
    assert (fresh.results / weights).read_bytes() == (undisturbed[0].results / weights).read_bytes()
    assert "2 workers on 2 nodes" in (fresh.results / "logs" / "evaluate" / "npe" / "0.log").read_text()
    assert same(undisturbed[0], fresh) == 3 + 1 + 1 + 1


def at_first(value: int | str) -> int:
    """What a value of the profile comes to at the first attempt."""
    return eval(str(value), {"attempt": 1})


def variables(file: Path) -> dict[str, str]:
    """The environment that a job wrote down."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)


def checkpointed(study) -> int:
    """When the state of an unfinished training was saved last, in nanoseconds; 0 if there is none."""
    for file in (study.results / "models" / ".npe.unfinished").glob("[!.]*.pt"):
        return file.stat().st_mtime_ns
    return 0


def partial(study) -> list[Path]:
    """Files that are not whole."""
    return sorted(study.results.rglob("*.partial"))


def same(undisturbed, study) -> int:
    """Compares all that a study has computed with what an undisturbed one did; returns the number of files."""
    files = sorted(study.results.rglob("*.nc"))
    for file in files:
        other = undisturbed.results / file.relative_to(study.results)
        with xr.open_dataset(file, decode_times=False) as ours, xr.open_dataset(other, decode_times=False) as theirs:
            # Seconds are what a run took, not what it found.
            xr.testing.assert_identical(
                ours.drop_vars("info_seconds", errors="ignore").drop_attrs(),
                theirs.drop_vars("info_seconds", errors="ignore").drop_attrs(),
            )
    return len(files)


def test_four_nodes_train_one_estimator_whatever_befalls_it(cluster, on_nodes):
    """Its time limit, two preemptions, and the death of the workflow: to the bits of a training that nothing befell."""
    weights = "results/nodes/models/npe/weights.safetensors"
    on_nodes.start(weights)
    on_nodes.wait_until(lambda: cluster.training() != "")
    # Who stops the workflow stops its job: Ctrl-C, as a signal of Snakemake's alone.
    cancelled = cluster.training()
    on_nodes.process.send_signal(signal.SIGINT)
    on_nodes.process.communicate(timeout=120)
    cluster.drain()

    on_nodes.start(weights)
    on_nodes.wait_until(lambda: cluster.training() != "")
    job = cluster.training()

    # Slurm says two minutes before the end of a job that it is near.
    cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=2")
    cluster.wait_for_requeue(job)
    assert checkpointed(on_nodes) > 0
    cluster.start_now(job, "TimeLimit=60")

    # A job of more importance takes one of its nodes.
    before = checkpointed(on_nodes)
    on_nodes.wait_until(lambda: checkpointed(on_nodes) > before)
    cluster.preempt(job, "node3")

    # The workflow dies meanwhile; the next one finds the job that it has left, before another preemption.
    on_nodes.kill()
    cluster.start_now(job)
    on_nodes.start(weights)
    before = checkpointed(on_nodes)
    on_nodes.wait_until(lambda: checkpointed(on_nodes) > before)
    cluster.preempt(job, "node1")
    cluster.start_now(job)
    on_nodes.finish()

    assert cluster.command("sacct", "-XnP", "--format=State", "--jobs", cancelled).startswith("CANCELLED")
    accounted = cluster.command("sacct", "-DXnP", "--format=State,NNodes", "--jobs", job)
    assert accounted.split() == ["REQUEUED|4", "PREEMPTED|4", "PREEMPTED|4", "COMPLETED|4"]
    said = (on_nodes.results / "logs" / "train" / "npe.log").read_text()
    assert f"finds job {job} of Slurm" in said
    assert said.count("goes on after epoch") == 3
    assert not list((on_nodes.results / "models").glob(".*"))
    assert partial(on_nodes) == []

    # What its processes may ask for is no reason to train again.
    profile = on_nodes.folder / "profiles" / "slurm" / "profile.yaml"
    profile.write_text(profile.read_text().replace("mem_mb: 12000", "mem_mb: 9000"))
    on_nodes.start(weights, "--dry-run")
    assert "Nothing to be done" in on_nodes.finish()

    alone = plain_processes(on_nodes, 4)
    assert (on_nodes.folder / weights).read_bytes() == (alone / "weights.safetensors").read_bytes()
    assert losses(on_nodes.results / "models" / "npe") == losses(alone)
    assert json.loads((alone / "estimator.json").read_text())["processes"] == 4


def test_a_node_may_fail(cluster):
    """One of the kinds of `make chaos`, over its smaller study."""
    command = [sys.executable, ROOT / "tests" / "chaos", "--level", "slurm", "--faults", "1", "--kinds", "node down"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 faults survived (seed 0)" in done.stdout


def plain_processes(study, count: int) -> Path:
    """Trains what a study did by processes of this host that nothing befalls; returns the folder of the weights."""
    output = study.folder / "alone"
    command = [sys.executable, "-m", "posterity", "train", "config/experiments/nodes.yaml", "--method", "npe"]
    for split in ("train", "valid"):
        command += [f"--{split}", *map(str, sorted((study.results / "simulations" / split).glob("*.nc")))]
    world = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "19999", "WORLD_SIZE": str(count)}
    started = [
        subprocess.Popen(
            [*command, "--output", str(output)],
            cwd=study.folder, env={**study.environment, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.DEVNULL,
        )
        for rank in range(count)
    ]  # fmt: skip
    assert [process.wait(timeout=900) for process in started] == [0] * count
    return output


def losses(folder: Path) -> list[tuple[float, float]]:
    """The losses of a training, epoch by epoch."""
    records = (json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines())
    return [(record["train_loss"], record["valid_loss"]) for record in records]
