"""Whole runs of the workflow: what they write, what a kill leaves, what a mistake says."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import xarray as xr

from posterity.experiment import load

from . import forks

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]


def test_a_run_writes_everything(finished):
    methods = ("prior", "4dvar", "npe")
    for method in methods:
        for shard in range(2):
            assert (finished.results / "posteriors" / method / f"{shard}.nc").is_file()
            assert (finished.results / "metrics" / method / f"{shard}.nc").is_file()
    with xr.open_dataset(finished.results / "references" / "1.nc", decode_times=False) as reference:
        assert list(reference["case"].values) == [2, 3]
        assert reference["run"].values.tolist() == [0] * 16 + [1] * 16
    with xr.open_dataset(finished.results / "metrics.nc", decode_times=False) as metrics:
        assert metrics["mean_error"].notnull().all()
        assert list(metrics["method"].values) == list(methods)
        assert metrics.sizes["case"] == 4
    rows = (finished.results / "table.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["method", *methods]
    figures = {path.name for path in (finished.results / "figures").iterdir()}
    assert {"hovmoller.svg", "hovmoller.png", "table.svg", "data.png"} <= figures


def test_a_run_ends_with_the_verdict(study):
    """Printed by the workflow itself, by `run` and by `show`, from the file that aggregate writes."""
    verdict = study.results / "verdict.json"
    found = json.loads(verdict.read_text())
    methods = list(load(study.folder / "config" / "experiments" / "tiny.yaml").methods)
    assert sorted(one["method"] for one in found["methods"]) == sorted(methods)
    assert found["score"] == "sliced Wasserstein distance to the reference"
    # Four cases are too few for tests.
    assert "4 cases are too few for tests of calibration" in found["distrust"]
    verdict.unlink()
    won = " ".join(found["won"].split())
    assert won in " ".join(study.run().split())

    def posterity(*arguments):
        """What a command prints, in one line, and its errors."""
        done = subprocess.run(
            [forks.python(), "-m", "posterity", *arguments], cwd=study.folder, env=study.environment, text=True,
            capture_output=True, timeout=300, check=True,
        )  # fmt: skip
        return " ".join(done.stdout.split()), done.stderr

    assert won in posterity("show", "tiny")[0]
    assert posterity("run", "tiny", "-n")[0] == "Nothing to be done: all results are up to date."
    (study.results / "figures" / "table.svg").unlink()
    said, errors = posterity("run", "tiny", "--cores", "2")
    assert won in said
    assert re.search(r"^\[1/1\] .* plot: table of tiny$", errors, flags=re.MULTILINE)
    assert said.endswith("tiny: the table is results/tiny/table.csv, figures are in results/tiny/figures")


def test_files_say_where_they_come_from(finished):
    with xr.open_dataset(finished.results / "posteriors" / "4dvar" / "1.nc", decode_times=False) as posterior:
        assert posterior.attrs["experiment"] == "tiny"
        assert posterior.attrs["method"] == "4dvar"
        assert posterior.attrs["joint"] == "background"
        assert {"seed", "configuration", "version", "commit", "wall_seconds", "device", "peak_memory_mib"} <= set(
            posterior.attrs
        )
        assert {"info_seconds", "info_model_steps", "info_gradients", "info_failed"} <= set(posterior.data_vars)
        assert list(posterior["case"].values) == [2, 3]


def test_a_report_has_every_figure(study):
    """All that there are for this study, of which the other tests draw a few."""
    study.edit("config/experiments/tiny.yaml", "figures: {only: [table, data, hovmoller, coverage]}\n", "\n")
    study.run("--", "reports")
    page = (study.results / "report.html").read_text()
    shown = re.findall(r'<img alt="(\w+)"', page)
    assert shown[0] == "table"
    assert len(shown) == 16
    assert sorted(shown) == sorted(path.stem for path in (study.results / "figures").glob("*.svg"))


def test_killed_runs_end_like_undisturbed_ones(fresh, finished):
    # First a rule alone is killed, then Snakemake with all its jobs, twice.
    process = fresh.start("--until", "train")
    _kill_first(fresh, "train")
    printed, _ = process.communicate(timeout=900)
    assert process.returncode != 0, printed
    assert "Error in rule train" in printed
    for seconds in (4.0, 9.0):
        process = fresh.start("--rerun-triggers", "mtime", "code", "params", "input")
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    fresh.run()

    compared = 0
    for path in sorted(finished.results.rglob("*.nc")):
        ours = fresh.results / path.relative_to(finished.results)
        with xr.open_dataset(path, decode_times=False) as one, xr.open_dataset(ours, decode_times=False) as other:
            # Seconds are what a run took, not what it found.
            xr.testing.assert_identical(
                one.drop_vars("info_seconds", errors="ignore").drop_attrs(),
                other.drop_vars("info_seconds", errors="ignore").drop_attrs(),
            )
        compared += 1
    assert compared > 15
    weights = Path("models/npe/weights.safetensors")
    assert (fresh.results / weights).read_bytes() == (finished.results / weights).read_bytes()
    assert not list(fresh.results.rglob("*.partial"))


def test_a_mistake_in_the_experiment_stops_before_any_job(study):
    study.edit("config/experiments/tiny.yaml", "samples: 20", "sampels: 20")
    status, printed = study.end()
    assert status != 0
    assert "unknown key 'sampels'; did you mean 'samples'?" in printed
    assert "tiny.yaml" in printed


def test_a_training_on_several_nodes_is_not_begun_without_slurm(copied):
    """Before anything else is: it is planned nevertheless, for a cluster."""
    copied.edit("config/experiments/tiny.yaml", "epochs: 3,", "epochs: 4, nodes: 4,")
    assert copied.planned()["train_on_nodes"] == 1
    status, printed = copied.end()
    assert status != 0
    assert "methods.npe.training: 4 x 1 processes (nodes x gpus) take Slurm: use profiles/slurm, or set both" in printed


def test_a_second_workflow_is_refused_and_a_dead_one_stands_in_no_way(study):
    (study.results / "metrics.nc").unlink()
    first = study.start()
    lock = study.results / ".lock"
    deadline = time.monotonic() + 120
    # The file stays when a run ends, and with it what it said; the lock itself does not.
    while f"process {first.pid} " not in lock.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # It holds the lock for as long as the second takes to plan, however fast the jobs are.
    os.killpg(first.pid, signal.SIGSTOP)
    status, printed = study.end()
    assert status != 0
    assert re.search(rf"results/tiny: is in use by process {first.pid} on .*; wait for it to end, or stop it", printed)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    study.run("--until", "aggregate")
    assert (study.results / "metrics.nc").is_file()


def test_methods_of_experiments_are_told_apart_by_their_own(copied):
    """One name may be an estimator here and a baseline there."""
    (copied.folder / "config" / "experiments" / "other.yaml").write_text(
        "extends: tiny\ntitle: Another\n"
        "methods: {prior: null, 4dvar: null, npe: {kind: 4dvar, training: null, options: {iterations: 3}}}\n"
    )
    planned = copied.planned("tiny,other")
    assert {rule: planned[rule] for rule in ("train", "sample", "assimilate")} == {
        "train": 1, "sample": 2, "assimilate": 4 + 2,
    }  # fmt: skip


def _kill_first(study, verb: str) -> None:
    """Kills the first process of a study that runs a verb of the command line."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                folder = (entry / "cwd").resolve()
            except OSError:
                continue
            if folder == study.folder and words[1:4] == ["-m", "posterity", verb]:
                os.kill(int(entry.name), signal.SIGKILL)
                return
        time.sleep(0.05)
    raise AssertionError(f"no process ran 'posterity {verb}'")
