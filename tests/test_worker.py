"""The worker: what it answers is what a process of one's own would, and it ends with whom it belongs to."""

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
import yaml

from posterity.worker import ADDRESS

pytestmark = pytest.mark.slow

STUDY = {
    "title": "A study",
    "system": {"kind": "linear", "options": {"size": 4}},
    "observation": {"std": 1},
    "prior": {"std": 1},
    "window": 2,
    "splits": {"test": {"cases": 2, "shard": 1}},
    "samples": 5,
    "methods": {"prior": {"kind": "prior"}},
}


def test_a_worker_answers_as_a_process_of_ones_own(tmp_path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    owner = subprocess.Popen(["sleep", "600"])
    address = str(tmp_path / str(owner.pid))
    warm = {**os.environ, ADDRESS: address}

    def called(environment: dict[str, str], shard: int, output: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "posterity", "simulate", "study.yaml", "--shard", str(shard)]
        return subprocess.run(
            [*command, "--output", output], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    try:
        assert called(warm, 0, "first.nc").returncode == 0
        # One that fails costs the others nothing, and says why to whom it should.
        refused = called(warm, 7, "none.nc")
        assert (refused.returncode, refused.stderr.count("has shards 0 to 1, no 7")) == (2, 1)
        (worker,) = workers(address)
        second = called(warm, 1, "second.nc")
        assert second.returncode == 0
        assert "second.nc: written" in second.stderr
        # It is the same worker still.
        assert workers(address) == [worker]
    finally:
        owner.kill()
        owner.wait()
    deadline = monotonic() + 30
    while workers(address):
        assert monotonic() < deadline
        sleep(0.05)

    alone = {name: value for name, value in os.environ.items() if name != ADDRESS}
    assert called(alone, 1, "alone.nc").returncode == 0
    assert (tmp_path / "second.nc").read_bytes() == (tmp_path / "alone.nc").read_bytes()


def workers(address: str) -> list[int]:
    """The processes that were started for an address."""
    wanted = f"-m\0posterity.worker\0{address}\0"
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found
