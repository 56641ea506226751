"""Missing values: what the conventions say, and what looks like one."""

import fcntl

import netCDF4
import numpy as np
import pytest
import xarray as xr

from posterity import data
from posterity.data.missing import suspects
from posterity.errors import DataError

SEEN = ("case", "time", "obs_channel", "obs_x")
#: Observations, of which the masked ones are missing.
Y = np.ma.masked_array(np.arange(6.0).reshape(1, 2, 1, 3), mask=np.array([0, 1, 0, 0, 0, 1]).reshape(1, 2, 1, 3))


def write(path, dtype: str = "f8", attributes: dict | None = None, values=Y, **options: object) -> None:
    """Writes a file as other packages do, through the netCDF library."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(SEEN, Y.shape, strict=True):
            file.createDimension(name, size)
        variable = file.createVariable("observation", dtype, SEEN, **options)
        variable.setncatts(attributes or {})
        variable[:] = values
        file.createVariable("observation_std", "f4", SEEN)[:] = 0.5


@pytest.mark.parametrize(
    ("dtype", "attributes", "values", "options"),
    [
        ("f4", {}, Y, {}),
        ("f8", {}, Y, {}),
        ("i2", {}, Y, {}),
        ("i4", {}, Y, {}),
        ("i2", {"scale_factor": 0.5, "add_offset": 1.0}, Y, {}),
        ("f4", {}, Y, {"fill_value": -9.0}),
        ("f8", {"missing_value": -999.0}, Y.filled(-999.0), {}),
        ("f8", {"valid_range": [-100.0, 100.0]}, Y.filled(500.0), {}),
        ("f8", {"valid_range": [-100.0, 100.0]}, Y.filled(500.0), {"fill_value": np.nan}),
        ("f8", {"valid_max": 100.0}, Y.filled(500.0), {}),
        ("f8", {"valid_min": -1.0}, Y.filled(-500.0), {}),
        ("i2", {"valid_range": np.array([0, 99], "i2")}, Y.filled(500.0), {"fill_value": -1}),
    ],
)
def test_what_the_conventions_call_missing_is_missing(tmp_path, dtype, attributes, values, options) -> None:
    write(tmp_path / "my.nc", dtype, attributes, values, **options)
    found = data.read(tmp_path / "my.nc", "twin")["observation"]
    np.testing.assert_allclose(found, Y.filled(np.nan))


def test_packed_values_are_held_against_a_range_in_either_form(tmp_path) -> None:
    packing = {"scale_factor": 0.5}
    for name, limits in (("packed.nc", np.array([0, 8], "i2")), ("plain.nc", np.array([0.0, 4.0]))):
        write(tmp_path / name, "i2", {**packing, "valid_range": limits}, np.arange(6.0).reshape(Y.shape))
        found = data.read(tmp_path / name, "twin")["observation"].to_numpy().ravel()
        np.testing.assert_array_equal(found, [0, 1, 2, 3, 4, np.nan])


def test_values_far_from_all_others_are_suspects() -> None:
    rng = np.random.default_rng(0)
    assert suspects(rng.standard_normal(1000)) == []
    marked = np.where(rng.random(1000) < 0.7, -999.0, rng.standard_normal(1000))
    assert suspects(marked) == [(-999.0, int((marked == -999).sum()))]
    assert suspects(np.append(marked, 1e20))[1] == (1e20, 1)
    assert suspects(np.full(3, np.nan)) == []


def test_groups_and_locked_files_are_named(tmp_path) -> None:
    path = tmp_path / "my.nc"
    xr.Dataset({"observation": (SEEN, np.asarray(Y))}).to_netcdf(path, group="ObsValue")
    with pytest.raises(DataError, match=r"my\.nc: its variables stand in groups \(ObsValue\).*group='ObsValue'"):
        data.read(path, "twin")
    write(path)
    # The same process may open a file twice: its lock is taken by hand, as HDF5 takes it in another one.
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"my\.nc: another process holds it open for writing; wait for it to end"):
            data.read(path, "twin")


def test_dimensions_in_another_order_are_put_in_order(tmp_path) -> None:
    write(tmp_path / "my.nc")
    ordered = data.read(tmp_path / "my.nc", "twin").load()
    ordered.transpose("obs_x", "time", "obs_channel", "case").to_netcdf(tmp_path / "other.nc")
    xr.testing.assert_identical(data.read(tmp_path / "other.nc", "twin").load(), ordered)


def test_nobody_is_told_to_delete_a_file_of_their_own(tmp_path) -> None:
    write(tmp_path / "my.nc")
    content = (tmp_path / "my.nc").read_bytes()
    for kept in (0, 10, len(content) // 2, len(content) - 100):
        (tmp_path / "my.nc").write_bytes(content[:kept])
        with pytest.raises(DataError) as raised:
            data.read(tmp_path / "my.nc", "twin").load()
        assert "delete it" not in str(raised.value)
    (tmp_path / "my.csv").write_text("time,y\n0,1\n")
    with pytest.raises(DataError, match=r"my\.csv: cannot be read as NetCDF .*a twin is a NetCDF") as raised:
        data.read(tmp_path / "my.csv", "twin")
    assert "delete it" not in str(raised.value)


def test_an_output_that_is_an_input_is_refused(tmp_path) -> None:
    (tmp_path / "a.nc").write_text("a")
    (tmp_path / "link.nc").symlink_to(tmp_path / "a.nc")
    (tmp_path / "hard.nc").hardlink_to(tmp_path / "a.nc")
    for path in ("a.nc", "link.nc", "hard.nc"):
        with pytest.raises(DataError, match=r"would be written over .*a\.nc, which is read; give another path"):
            data.apart([tmp_path / path], [tmp_path / "a.nc"])
        with pytest.raises(DataError, match="would be written over"):
            data.apart([tmp_path / path], [tmp_path])
    data.apart([tmp_path / "new.nc"], [tmp_path / "a.nc"])
