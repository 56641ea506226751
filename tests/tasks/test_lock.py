"""Locks of folders: one process at a time, and nothing left behind by those that died."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from posterity.errors import DataError
from posterity.tasks.files.lock import lock

HOLD = """
import sys, time
from pathlib import Path
from posterity.tasks.files.lock import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "models")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_and_told_who_holds_the_lock(holder, tmp_path) -> None:
    said = rf"models: is in use by process {holder.pid} on .*, since \d{{4}}-"
    with pytest.raises(DataError, match=said), lock(tmp_path / "models"):
        pass


def test_a_killed_process_leaves_no_lock(holder, tmp_path) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with lock(tmp_path / "models"):
        assert str(os.getpid()) in (tmp_path / "models" / ".lock").read_text()


def test_a_lock_ends_with_its_block(tmp_path) -> None:
    for _ in range(2):
        with lock(tmp_path):
            pass
    assert (tmp_path / ".lock").read_text() == ""


def test_other_folders_are_free(holder, tmp_path) -> None:
    with lock(tmp_path / "others"):
        pass
