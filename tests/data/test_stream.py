"""Shards as one sequence of cases: what is read is what was asked for, and damage is named."""

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr

from posterity import data
from posterity.data.stream import Shards
from posterity.errors import DataError

SIZES = (5, 1, 4)


@pytest.fixture
def paths(tmp_path):
    """Three files whose states are the numbers of their cases."""
    first = 0
    for number, size in enumerate(SIZES):
        case = np.arange(first, first + size)
        state = np.broadcast_to(case[:, None, None, None], (size, 2, 1, 3)).astype(float)
        variables = {"state": (("case", "time", "channel", "x"), state)}
        data.write(xr.Dataset(variables, {"case": case}), tmp_path / f"{number}.nc", "states")
        first += size
    return [tmp_path / f"{number}.nc" for number in range(3)]


def numbers(dataset: xr.Dataset, source: str) -> tuple[torch.Tensor, ...]:
    return (torch.as_tensor(dataset["state"].to_numpy()[:, 0, 0, 0]), torch.as_tensor(dataset["case"].to_numpy()))


@pytest.mark.parametrize(
    "cases", [slice(0, 10), slice(0, 5), slice(4, 7), slice(5, 6), slice(9, 10), slice(3, 12), slice(None)]
)
def test_any_cases_are_read_in_order(paths, cases) -> None:
    shards = Shards.open(paths, "states")
    assert len(shards) == 10
    for found in shards.read(cases, numbers):
        assert found.tolist() == list(range(10))[cases]


def test_only_the_files_that_hold_them_are_read(paths) -> None:
    shards = Shards.open(paths, "states")
    sources = []

    def noted(dataset: xr.Dataset, source: str) -> tuple[torch.Tensor, ...]:
        sources.append((source, dataset.sizes["case"]))
        return numbers(dataset, source)

    shards.read(slice(5, 8), noted)
    assert sources == [(str(paths[1]), 1), (str(paths[2]), 2)]


def test_a_truncated_file_is_named_at_once(paths) -> None:
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    with pytest.raises(DataError, match=r"1\.nc: cannot be read as NetCDF .* truncated"):
        Shards.open(paths, "states")


def test_a_file_of_another_size_is_named(paths) -> None:
    with data.read(paths[1], "states") as dataset:
        other = dataset.isel(time=[0]).load()
    data.write(other, paths[1], "states")
    with pytest.raises(DataError, match=r"1\.nc: has 1 along 'time', but .*0\.nc has 2"):
        Shards.open(paths, "states")


def test_what_was_read_is_not_kept(paths) -> None:
    """HDF5's cache is one of each variable of each open file: of many shards it would hold all that they hold."""
    netCDF4.set_chunk_cache(2**20)
    Shards.open(paths, "states")
    assert netCDF4.get_chunk_cache()[0] == 0
