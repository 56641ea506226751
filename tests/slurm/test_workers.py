"""A training that is shared by tasks of a Slurm step, on two nodes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

TINY = Path(__file__).parent / "tiny.yaml"
EXPERIMENTS = Path(__file__).resolve().parents[2] / "config" / "experiments"


def test_the_tasks_of_a_step_train_one_estimator(cluster, tmp_path) -> None:
    """The nodes are names of this host, which no resolver knows: they are told where to meet."""
    for name in ("demo", "vi4dvar"):
        (tmp_path / f"{name}.yaml").write_text((EXPERIMENTS / f"{name}.yaml").read_text())
    experiment = tmp_path / "tiny.yaml"
    experiment.write_text(TINY.read_text().replace("epochs: 80", "epochs: 3"))
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
