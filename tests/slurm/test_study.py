"""A study on a real Slurm: it ends, asks for what the profile says, and survives what happens on clusters.

All tests that use the cluster stand in this file: the session that brings it up takes it down, and files may run in
sessions of their own.
"""

import json
import os
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
RULES = {
    "simulate": 4, "train": 1, "sample": 2, "assimilate": 2, "reference": 2, "evaluate": 4, "aggregate": 1, "plot": 4,
}  # fmt: skip
ALL_METRICS = "results/tiny/metrics.nc"
(LEFTOVERS,) = (
    line.removeprefix("$ ") for line in GUIDE.read_text().splitlines() if "xargs --no-run-if-empty scancel" in line
)


def test_a_study_ends_with_all_its_files(cluster, undisturbed):
    study, printed = undisturbed
    for method in ("4dvar", "npe"):
        for shard in range(2):
            assert (study.results / "posteriors" / method / f"{shard}.nc").is_file()
    with xr.open_dataset(study.folder / ALL_METRICS, decode_times=False) as metrics:
        assert list(metrics["method"].values) == ["4dvar", "npe"]
        assert metrics.sizes["case"] == 4
    assert len(list((study.results / "figures").glob("*.svg"))) == RULES["plot"]
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
    # Snakemake dies, and the training that it leaves behind is cancelled as docs/cluster.md says.
    fresh.start(ALL_METRICS)
    fresh.wait_until(lambda: checkpointed(fresh) > 0)
    fresh.kill()
    subprocess.run(LEFTOVERS, shell=True, cwd=fresh.folder, check=True)
    cluster.drain()

    # The next run takes the training up, until a job of more importance takes its node.
    before = checkpointed(fresh)
    fresh.start(ALL_METRICS)
    fresh.wait_until(lambda: checkpointed(fresh) > before)
    running = cluster.command("squeue", "--noheader", "--format=%i %N %k").splitlines()
    training, node, _ = next(line for line in running if "rule_train" in line).split()
    urgent = ("--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    cluster.command("sbatch", *urgent)
    # Slurm holds what it puts back for two minutes: long, for a test.
    fresh.wait_until(lambda: cluster.command("squeue", "--noheader", f"--job={training}", "--format=%r") == "BeginTime")
    cluster.command("scontrol", "update", f"JobId={training}", "StartTime=now")
    printed = fresh.finish()

    states = [job["State"] for job in cluster.jobs(printed, "--duplicates") if job["rule"] == "train"]
    assert states == ["PREEMPTED", "COMPLETED"]
    assert "goes on after epoch" in (fresh.results / "logs" / "train" / "npe.log").read_text()
    assert partial(fresh) == []
    assert same(undisturbed[0], fresh) == 4 + 2 + 4 + 4 + 1


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


def test_the_tasks_of_a_step_train_one_estimator(cluster, tmp_path) -> None:
    """The nodes are names of this host, which no resolver knows: they are told where to meet."""
    for name in ("demo", "vi4dvar"):
        (tmp_path / f"{name}.yaml").write_text((ROOT / "config" / "experiments" / f"{name}.yaml").read_text())
    experiment = tmp_path / "tiny.yaml"
    experiment.write_text((Path(__file__).parent / "tiny.yaml").read_text().replace("epochs: 600", "epochs: 3"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    posterity = [sys.executable, "-m", "posterity"]

    def run(*command: str) -> None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr

    for split in ("train", "valid"):
        run(*posterity, "simulate", str(experiment), "--split", split, "--output", str(tmp_path / f"{split}.nc"))
    shards = ["--train", str(tmp_path / "train.nc"), "--valid", str(tmp_path / "valid.nc")]
    output = ["--output", str(tmp_path / "npe"), "--device", "cpu"]
    step = ["srun", "--nodes", "2", "--ntasks", "2", "--mem", "4G"]
    run(*step, *posterity, "train", str(experiment), "--method", "npe", *shards, *output)
    described = json.loads((tmp_path / "npe" / "estimator.json").read_text())
    assert described["processes"] == 2
