"""The worker: what it answers is what a process of one's own would, and it ends with whom it belongs to."""

import os
import resource
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


#: Has a worker, says which, and waits.
OWNER = """
import os
from posterity import worker
worker.start()
with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as children:
    print(*children.read().split(), os.environ[worker.ADDRESS], flush=True)
input()
"""


def test_a_worker_answers_as_a_process_of_ones_own(tmp_path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid, address = owner.stdout.readline().split()
    warm = {**os.environ, ADDRESS: address}

    def called(environment: dict[str, str], shard: int, output: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "posterity", "simulate", "study.yaml", "--shard", str(shard)]
        return subprocess.run(
            [*command, "--output", output], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    before = seconds_of_children()
    try:
        assert called(warm, 0, "first.nc").returncode == 0
        # One that fails costs the others nothing, and says why to whom it should.
        refused = called(warm, 7, "none.nc")
        assert (refused.returncode, refused.stderr.count("has shards 0 to 1, no 7")) == (2, 1)
        second = called(warm, 1, "second.nc")
        assert second.returncode == 0
        assert "second.nc: written" in second.stderr
        # It imported once: a new process takes some seconds of the processor for that.
        assert seconds_of_children() - before < 1
    finally:
        # However its owner ends, the worker ends with it.
        owner.kill()
        owner.communicate()
    deadline = monotonic() + 30
    while runs(pid):
        assert monotonic() < deadline
        sleep(0.05)

    alone = {name: value for name, value in os.environ.items() if name != ADDRESS}
    assert called(alone, 1, "alone.nc").returncode == 0
    assert (tmp_path / "second.nc").read_bytes() == (tmp_path / "alone.nc").read_bytes()


def seconds_of_children() -> float:
    """The seconds of the processor that children which have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def runs(pid: str) -> bool:
    """Whether a process runs; of one that has ended, and that nobody asks about, the command line is empty."""
    file = Path("/proc", pid, "cmdline")
    return file.exists() and file.read_bytes() != b""
