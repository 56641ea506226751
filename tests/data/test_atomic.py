"""Atomic writes: the whole file or none, whatever happens to the process, and nothing left behind for long."""

import errno
import os
import platform
import resource
import signal
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

from posterity.data import atomic
from posterity.errors import DataError


def killed() -> int:
    """The number of a process that was killed."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.kill()
    process.wait()
    return process.pid


def partial(path: Path, host: str, pid: int) -> Path:
    """A partial file that a process left beside a target."""
    left = path.with_name(f".{path.name}.{host}.{pid}.partial")
    left.write_text("half")
    return left


HOST = platform.node().partition(".")[0]


def test_the_target_appears_when_the_block_ends(tmp_path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with atomic(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(tmp_path, error) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
def test_a_killed_write_leaves_what_was_there_and_the_next_one_clears_up(tmp_path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom posterity.data import atomic\n"
        "with atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n    print('written', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert target.read_text() == "old"
    assert [path.read_text() for path in tmp_path.glob(".*.partial")] == ["half"]
    with atomic(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_only_what_is_abandoned_is_removed(tmp_path) -> None:
    target = tmp_path / "file.txt"
    gone = [partial(target, HOST, killed()), partial(target, "elsewhere", 1)]
    os.utime(gone[1], (time() - 2 * 86400,) * 2)
    kept = [
        partial(target, HOST, os.getppid()),
        partial(target, "elsewhere", 2),
        partial(tmp_path / "other.txt", HOST, killed()),
    ]
    with atomic(target) as temporary:
        temporary.write_text("new")
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_a_partial_file_that_goes_meanwhile_stands_in_no_way(tmp_path) -> None:
    """Its writer on another machine may finish it between two looks; a link to nothing stands for that."""
    tmp_path.joinpath(".file.txt.elsewhere.1.partial").symlink_to(tmp_path / "gone")
    with atomic(tmp_path / "file.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "file.txt").read_text() == "new"


def test_the_content_is_on_the_disk_before_the_name_is_there(tmp_path, monkeypatch) -> None:
    """Or a machine that fails leaves an empty file under it, on many file systems."""
    target, done, sync = tmp_path / "file.txt", [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (done.append((os.fstat(file).st_size, target.exists())), sync(file)))
    with atomic(target) as temporary:
        temporary.write_text("whole")
    assert done == [(5, False)]
    assert target.exists()


def test_a_disk_that_becomes_read_only_is_a_message(tmp_path, monkeypatch) -> None:
    """Though the partial file cannot be removed either."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with (
        pytest.raises(DataError, match=r"file\.txt: cannot be written \(Read-only"),
        atomic(tmp_path / "file.txt") as new,
    ):
        new.write_text("new")


def test_a_folder_that_is_a_file_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    message = r"file/below\.nc: cannot be written \(.*\); check the folder's permissions"
    with pytest.raises(DataError, match=message), atomic(tmp_path / "file" / "below.nc"):
        pytest.fail("the block must not run")


FULL = """
import resource, sys
from pathlib import Path
import numpy as np, xarray as xr
from posterity import data
from posterity.errors import DataError
big = np.random.default_rng(0).random((8, 4, 3, 1, 500), dtype=np.float32)
dataset = xr.Dataset({"state": (("case", "sample", "time", "channel", "x"), big)})
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
target = Path(sys.argv[1])
try:
    data.write(dataset, target / "posterior.nc", "posterior")
except DataError as error:
    print(error)
try:
    with data.atomic(target / "table.csv") as temporary:
        temporary.write_bytes(bytes(100_000))
except DataError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path) -> None:
    """A limit on the size of files stands for the end of the disk."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    (tmp_path / "posterior.nc").write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    netcdf, table = done.stdout.splitlines()
    assert netcdf.startswith(f"{tmp_path / 'posterior.nc'}: cannot be written (")
    assert "the disk is full" in netcdf
    assert table.startswith(f"{tmp_path / 'table.csv'}: cannot be written (File too large); check")
    assert table.endswith("that the disk has room; nothing that was there is lost")
    assert (tmp_path / "posterior.nc").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "posterior.nc"]
