"""Files: streamed, in chunks that suit the scores, and whole or not there."""

import weakref
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from posterity import data
from posterity.data import files, schema
from posterity.errors import DataError

DIMS = ("case", "sample", "time", "channel", "y", "x")


def posterior(*shape: int) -> xr.Dataset:
    """A posterior of some shape, lazy and empty of meaning."""
    return xr.Dataset({"state": (DIMS, da.zeros(shape, dtype=np.float32, chunks=-1))})


@pytest.mark.parametrize(
    ("shape", "disk", "memory"),
    [
        ((9, 10, 4, 1, 1, 8), (9, 10, 4, 1, 1, 8), (9, 10, 4, 1, 1, 8)),
        ((512, 1000, 16, 1, 1, 256), (1, 1000, 4, 1, 1, 256), (1, 1000, 16, 1, 1, 256)),
        ((512, 1000, 10, 1, 1, 300), (1, 1000, 3, 1, 1, 300), (1, 1000, 10, 1, 1, 300)),
        ((4, 1000, 16, 2, 64, 64), (1, 1000, 1, 1, 16, 64), (1, 1000, 1, 1, 64, 64)),
        ((4, 300, 5, 3, 64, 64), (1, 300, 1, 1, 54, 64), (1, 300, 1, 3, 64, 64)),
    ],
)
def test_disk_chunks_hold_all_samples_and_memory_chunks_whole_disk_chunks(shape, disk, memory) -> None:
    state = posterior(*shape)["state"]
    assert tuple(files._disk_chunk(state).values()) == disk
    chunk = tuple(files._memory_chunk(state).values())
    assert chunk == memory
    assert np.prod(chunk) <= files.MEMORY_CHUNK
    for size, whole, stored in zip(chunk, shape, disk, strict=True):
        assert size == whole or size % stored == 0


def test_lazy_datasets_stream(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "THREADS", 2)
    alive, most = [], []

    def make(block: np.ndarray) -> np.ndarray:
        made = block + 1
        alive.append(1)
        most.append(len(alive))
        weakref.finalize(made, alive.pop)
        return made

    lazy = posterior(40, 5, 3, 1, 2, 4)
    zeros = da.zeros(lazy["state"].shape, dtype=np.float32, chunks=(1, -1, -1, -1, -1, -1))
    lazy["state"] = (DIMS, zeros.map_blocks(make, meta=zeros._meta))
    data.write(lazy, tmp_path / "posterior.nc", "posterior")
    assert len(most) == 40
    # Two threads, each with a chunk at work and perhaps one that waits to be written.
    assert max(most) <= 8
    assert (data.read(tmp_path / "posterior.nc", "posterior")["state"] == 1).all()


def test_a_round_trip_is_identical(tmp_path) -> None:
    rng = np.random.default_rng(0)
    written = xr.Dataset(
        {
            "state": (DIMS, rng.standard_normal((3, 5, 2, 1, 2, 4)).astype(np.float32), {"units": "m/s"}),
            "info_seconds": ("case", np.arange(3.0, dtype=np.float32), {"units": "seconds"}),
        },
        {"case": [3, 4, 5], "time": ("time", [0.0, 0.1], {"units": "hours since 2000-01-01"}), "channel": ["u"]},
        {"method": "vi"},
    )
    data.write(written, tmp_path / "posterior.nc", "posterior")
    found = data.read(tmp_path / "posterior.nc", "posterior").load()
    xr.testing.assert_identical(found, schema.described(written, "posterior"))
    assert found["info_seconds"].attrs == {"units": "seconds", "long_name": "wall time"}


def test_an_empty_parameter_is_read(tmp_path) -> None:
    written = posterior(2, 3, 1, 1, 1, 4).assign(parameter=(("case", "sample", "parameter"), np.zeros((2, 3, 0))))
    data.write(written, tmp_path / "posterior.nc", "posterior")
    assert data.read(tmp_path / "posterior.nc", "posterior")["parameter"].shape == (2, 3, 0)


def test_a_failed_write_leaves_nothing(tmp_path) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise RuntimeError("NetCDF: HDF error")

    lazy = posterior(2, 3, 1, 1, 1, 4)
    lazy["state"] = lazy["state"].copy(data=lazy["state"].data.map_blocks(fail, meta=np.zeros((0,) * 6, np.float32)))
    with pytest.raises(DataError, match=r"posterior\.nc: cannot be written .*disk is full"):
        data.write(lazy, tmp_path / "posterior.nc", "posterior")
    assert not list(tmp_path.iterdir())


def flipped(path: Path, where: bytes) -> None:
    """Flips a bit of a file."""
    content = bytearray(path.read_bytes())
    content[content.index(where)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("size", [3, 2000])
def test_a_flipped_bit_of_data_is_noticed_and_the_file_is_named(tmp_path, size) -> None:
    """Of few numbers as of many, whoever reads them: to load them, or to write what is made of them."""
    values = np.random.default_rng(0).random((1, 1, 1, 1, 1, size), dtype=np.float32)
    path, lazy = tmp_path / "posterior.nc", posterior(*values.shape)
    data.write(lazy.assign(state=(DIMS, values)), path, "posterior")
    content = path.read_bytes()
    # Where a compressed chunk begins, or the values as they are.
    flipped(path, values.tobytes() if size < 1000 else content[content.index(b"\x28\xb5\x2f\xfd") + 200 :][:16])
    damaged = data.read(path, "posterior")
    message = rf"^{path}: is damaged \(.*\); copy it anew"
    with pytest.raises(DataError, match=message):
        damaged.load()
    with pytest.raises(DataError, match=message):
        data.write(damaged, tmp_path / "other.nc", "posterior")
    assert list(tmp_path.iterdir()) == [path]


def test_a_flipped_bit_of_an_attribute_is_a_message(tmp_path) -> None:
    path = tmp_path / "posterior.nc"
    data.write(posterior(1, 1, 1, 1, 1, 4).assign_attrs(remark="as it was"), path, "posterior")
    flipped(path, b"as it was")
    with pytest.raises(DataError, match=rf"^{path}: cannot be read as NetCDF"):
        data.read(path, "posterior")
