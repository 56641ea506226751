"""Scores by workers of dask: the bits of one process, and what is said when workers are missing."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import numpy as np
import pytest
import xarray as xr

from posterity import data
from posterity.errors import ConfigError, PosterityError
from posterity.experiment import Experiment
from posterity.tasks.evaluate import evaluate
from posterity.tasks.nodes import cluster
from posterity.tasks.nodes.blocks import blocks_of
from posterity.tasks.nodes.cluster import Allocation, workers

if TYPE_CHECKING:
    from distributed import LocalCluster

CASES, SAMPLES, TIMES, SITES = 3, 4, 6, 8
EXPERIMENT = Experiment.model_validate(
    {
        "title": "A ring",
        "system": {"kind": "linear", "options": {"size": SITES}},
        "observation": {"std": 0.5},
        "prior": {"std": 1.0},
        "window": TIMES,
        "splits": {"test": {"cases": CASES}},
        "methods": {"4dvar": {"kind": "4dvar"}},
    }
)


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Iterator[Callable[[int], tuple["LocalCluster", Path]]]:
    """Starts clusters within this process, of some workers; returns them with their scheduler files."""
    from distributed import LocalCluster

    with ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.comm.timeouts.connect": "200ms"}))

        def start(count: int) -> tuple[LocalCluster, Path]:
            own = LocalCluster(n_workers=count, threads_per_worker=1, processes=False, dashboard_address=":0")
            file = tmp_path_factory.mktemp("cluster") / "scheduler.json"
            file.write_text(json.dumps({"address": stack.enter_context(own).scheduler_address}))
            return own, file

        yield start


@pytest.fixture(scope="module")
def two(started) -> str:
    """The scheduler file of two workers."""
    return str(started(2)[1])


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """A twin, and a posterior with draws, log-likelihoods and parameters, in other chunks each."""
    rng = np.random.default_rng(0)
    dims, seen = ("case", "time", "channel", "x"), ("case", "time", "obs_channel", "obs_x")
    truth = rng.standard_normal((CASES, TIMES, 1, SITES))
    theta = rng.standard_normal((CASES, 2))
    places = {"case": 3 + np.arange(CASES), "time": ("time", 0.5 * np.arange(TIMES), {"units": "s"}), "channel": ["u"]}
    named = {**places, "parameter": ["a", "b"]}
    twin = {"state": (dims, truth), "observation": (seen, truth), "observation_std": (seen, np.full_like(truth, 0.5))}
    draws = {
        "state": (("case", "sample", *dims[1:]), rng.standard_normal((CASES, SAMPLES, TIMES, 1, SITES))),
        "theta": (("case", "sample", "parameter"), rng.standard_normal((CASES, SAMPLES, 2))),
        "log_likelihood": (("case", "sample"), rng.standard_normal((CASES, SAMPLES))),
        "info_seconds": ("case", np.arange(CASES) * 1.0),
    }
    data.write(xr.Dataset(twin | {"theta": (("case", "parameter"), theta)}, named), tmp_path / "twin.nc", "twin")
    data.write(xr.Dataset(draws, named, {"method": "4dvar"}), tmp_path / "posterior.nc", "posterior")
    return tmp_path / "twin.nc", tmp_path / "posterior.nc"


@pytest.mark.parametrize(
    ("chunks", "room", "blocks"),
    [
        # Whole chunks, however large, ...
        ({"case": (2, 1), "time": (6,)}, 1, {"case": (2, 1), "time": (6,)}),
        # ... as many times as have room, and of all times as many cases; 32 numbers are one state of each draw.
        ({"case": (1, 1, 1), "time": (2, 2, 2)}, 4 * 32, {"case": (1, 1, 1), "time": (4, 2)}),
        ({"case": (1, 1, 1), "time": (3, 3)}, 15 * 32, {"case": (2, 1), "time": (6,)}),
    ],
)
def test_blocks_are_whole_chunks(monkeypatch, chunks, room, blocks) -> None:
    monkeypatch.setattr("posterity.tasks.nodes.blocks.BLOCK", room)
    dims = ("case", "sample", "time", "channel", "x")
    draws = xr.DataArray(np.zeros((CASES, SAMPLES, TIMES, 1, SITES)), dims=dims)
    assert blocks_of(draws.chunk(chunks)) == blocks


@pytest.mark.slow
def test_workers_make_the_scores_of_one_process(two, files, tmp_path, monkeypatch) -> None:
    """Bit by bit, of chunks that hold half the times of a case."""
    for name in ("DISK_CHUNK", "MEMORY_CHUNK"):
        monkeypatch.setattr(data.files, name, 3 * SAMPLES * SITES)
    monkeypatch.setattr("posterity.tasks.nodes.blocks.BLOCK", 1)
    evaluate(EXPERIMENT, *files, tmp_path / "threads.nc")
    with workers(two) as found:
        evaluate(EXPERIMENT, *files, tmp_path / "workers.nc", compute=found)
    ours, theirs = (data.read(tmp_path / f"{name}.nc", "metrics", data.SCORES) for name in ("workers", "threads"))
    xr.testing.assert_identical(ours.load(), theirs.load())
    assert {"crps", "rank", "tarp_rank", "log_likelihood", "parameter_crps", "info_seconds"} <= set(ours)


@pytest.mark.slow
def test_a_file_that_workers_cannot_read_is_named(two, files, tmp_path) -> None:
    with workers(two) as found:

        def lost(dataset: xr.Dataset, draws: xr.DataArray) -> xr.Dataset:
            xr.backends.file_manager.FILE_CACHE.clear()
            files[1].rename(tmp_path / "moved.nc")
            return found(dataset, draws)

        with pytest.raises(PosterityError, match=r"posterior\.nc: was there, and is not .*under the same path"):
            evaluate(EXPERIMENT, *files, tmp_path / "metrics.nc", compute=lost)
    assert not (tmp_path / "metrics.nc").exists()


@pytest.mark.slow
def test_a_cluster_that_goes_is_named(started, files, tmp_path) -> None:
    own, file = started(1)
    with workers(str(file)) as found:

        def ended(dataset: xr.Dataset, draws: xr.DataArray) -> xr.Dataset:
            lazy = found(dataset, draws)
            own.close()
            return lazy

        with pytest.raises(PosterityError, match=rf"--dask {file}: its scheduler .*gone; start it: dask scheduler"):
            evaluate(EXPERIMENT, *files, tmp_path / "metrics.nc", compute=ended)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, ConfigError, "there is no such scheduler file; correct the path, or start it: dask scheduler"),
        ("[]", ConfigError, "is no scheduler file of dask"),
        (
            '{"address": "tcp://127.0.0.1:9"}',
            PosterityError,
            "tcp://127.0.0.1:9, is gone or out of reach; delete the file",
        ),
    ],
)
def test_scheduler_files_that_lead_nowhere_are_named(tmp_path, text, error, message) -> None:
    file = tmp_path / "scheduler.json"
    if text is not None:
        file.write_text(text)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(error, match=f"--dask {file}: .*{message}"),
        workers(str(file)),
    ):
        pass


def test_a_cluster_without_workers_is_not_waited_for_without_end(started, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    with pytest.raises(PosterityError, match="there are no workers; start it"), workers(str(started(0)[1])):
        pass


def test_workers_of_another_version_are_refused(two, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "__version__", "9.9")
    monkeypatch.setattr(cluster, "version", str)
    with pytest.raises(PosterityError, match=r"workers run posterity .*, and this is 9\.9"), workers(two):
        pass


def test_a_step_needs_a_job_of_slurm(monkeypatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ConfigError, match=r"--dask slurm: .* leave it out, or give a scheduler file"), workers("slurm"):
        pass


@pytest.mark.parametrize(
    ("memory", "limit"),
    [
        # Three nodes have 12 GB each, of which one is for the task itself, and three workers at most.
        ("AllocTRES=cpu=8,mem=36G,node=3", (12 * 1024**3 - 10**9) // 3),
        ("ReqTRES=cpu=8,mem=1M,node=3 AllocTRES=cpu=8,mem=36G,node=3", (12 * 1024**3 - 10**9) // 3),
        ("TRES=cpu=8,node=3", "auto"),
    ],
)
def test_workers_share_the_memory_of_their_node(monkeypatch, memory, limit) -> None:
    told = f"JobId=1 NumNodes=3 NumCPUs=8 NumTasks=8 CPUs/Task=1 {memory} MinMemoryNode=12G"
    monkeypatch.setattr(cluster, "command", lambda *words: told)
    assert Allocation.of("1").limit() == str(limit)


def test_too_little_memory_is_said_with_what_is_enough() -> None:
    enough = Allocation(2, 5, 2 * 3243 * 2**20)
    assert int(enough.limit()) >= cluster.LEAST
    with pytest.raises(ConfigError, match=r"2000 MB on each of 2 nodes are too few for 5 tasks; .* mem_mb: 3243"):
        Allocation(2, 5, 2 * 2000 * 2**20).limit()
