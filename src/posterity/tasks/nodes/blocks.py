"""The blocks of a lazy dataset, computed by workers and handed over one after another."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from operator import getitem
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import dask
import netCDF4
import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from ...errors import PosterityError

if TYPE_CHECKING:
    from distributed import Client, Future

#: Numbers of draws in a block, 64 MiB in single precision: some chunks, read one after another, so that a block takes
#: far longer than its plan.
BLOCK = 2**24

#: Seconds between two looks at whether there are workers, and seconds for which there may be none.
LOOK, ALONE = 10.0, 60.0

#: The places of a block along the dimensions that are cut.
Where = Mapping[Hashable, slice]


@dataclass(frozen=True)
class Workers:
    """Workers of dask, which compute the blocks of lazy datasets.

    Args:
        client: The client of their scheduler.
        source: What messages call them.
        remedy: What helps when they are gone.
        runs: Whether what has started them still runs.
    """

    client: "Client"
    source: str
    remedy: str
    runs: Callable[[], bool] = lambda: True

    def wait(self, seconds: float) -> None:
        """Waits until there is a worker.

        Args:
            seconds: For how long.

        Raises:
            PosterityError: If none comes.
        """
        deadline = monotonic() + seconds
        while not self.client.scheduler_info(n_workers=1)["workers"]:
            if monotonic() > deadline or not self.runs():
                raise PosterityError(f"{self.source}: there are no workers; {self.remedy}")
            sleep(0.1)

    def __call__(self, dataset: xr.Dataset, draws: xr.DataArray) -> xr.Dataset:
        """A lazy dataset whose blocks the workers compute, each of whole chunks of draws.

        A block holds what this process would make of these chunks, bit by bit: workers run its part of the same graph,
        in one thread, chunk by chunk.

        Args:
            dataset: The dataset, lazy, made of draws.
            draws: The draws, in chunks along ``case`` and maybe ``time``.

        Returns:
            The dataset, lazy. It is computed once: a block that has been fetched is forgotten.

        Raises:
            PosterityError: If the workers go, die of a block, or cannot read the files.
        """
        cuts = blocks_of(draws)
        groups: dict[tuple[str, ...], list[Hashable]] = {}
        for name, variable in dataset.data_vars.items():
            if variable.chunks is not None:
                groups.setdefault(tuple(dim for dim in cuts if dim in variable.dims), []).append(name)
        for dims, names in groups.items():
            part = dataset[names].drop_vars([name for name in dataset[names].coords if name not in dataset.dims])
            with self._saying():
                dataset = dataset.assign(self._fetched(part, {dim: cuts[dim] for dim in dims}))
        return dataset

    def _fetched(self, part: xr.Dataset, cuts: Mapping[str, Sequence[int]]) -> dict[Hashable, xr.Variable]:
        """The variables of a dataset, whose blocks along some dimensions are asked for now, and fetched when needed."""
        import dask.array as da

        # A task, which the scheduler can give again: data would go with the worker that holds them.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            shared = self.client.submit(given, part, pure=False)
        ends = {dim: np.cumsum([0, *sizes]) for dim, sizes in cuts.items()}
        futures: dict[tuple[int, ...], Future] = {}
        for place in product(*(range(len(sizes)) for sizes in cuts.values())):
            where = {dim: slice(*ends[dim][at : at + 2]) for dim, at in zip(cuts, place, strict=True)}
            futures[place] = self.client.submit(computed, shared, where, pure=False)
        blocks = {(shared.key, *place): (lambda *at: self._result(futures.pop(at)), *place) for place in futures}
        found = {}
        for name, variable in part.data_vars.items():
            own = f"{name}-{shared.key}"
            chunks = tuple(cuts.get(str(dim), (size,)) for dim, size in variable.sizes.items())
            graph = dict(blocks)
            for at in product(*(range(len(sizes)) for sizes in chunks)):
                block = (shared.key, *(at[variable.dims.index(dim)] for dim in cuts))
                graph[own, *at] = (getitem, block, name)
            found[name] = xr.Variable(variable.dims, da.Array(graph, own, chunks, variable.dtype), variable.attrs)
        return found

    def _result(self, future: "Future") -> Any:
        """What a block holds, once it has been computed."""
        from distributed import wait

        with self._saying(), self.client.as_current():
            while not future.done():
                try:
                    wait(future, timeout=LOOK)
                except TimeoutError:
                    self.wait(ALONE)
            return future.result()

    @contextmanager
    def _saying(self) -> Iterator[None]:
        """Says what helps if workers have gone."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            yield
        except (CancelledError, CommClosedError, TimeoutError) as error:
            raise PosterityError(f"{self.source}: its scheduler or its workers have gone; {self.remedy}") from error
        except KilledWorker as error:
            raise PosterityError(f"{self.source}: workers die of a block; give each 2 GB; {self.remedy}") from error


def given(dataset: xr.Dataset) -> xr.Dataset:
    """The lazy dataset that blocks are of."""
    return dataset


def computed(dataset: xr.Dataset, where: Where) -> dict[Hashable, np.ndarray]:
    """A block of a lazy dataset, in the worker that runs this: variables by name."""
    # As in the process that opened the files: HDF5 would keep what is read but once.
    netCDF4.set_chunk_cache(0)
    with threadpool_limits(1):
        block = dataset.isel(where).compute(scheduler="synchronous")
    return {name: variable.to_numpy() for name, variable in block.data_vars.items()}


def blocks_of(draws: xr.DataArray) -> dict[str, tuple[int, ...]]:
    """The sizes of blocks: whole chunks of draws, as many times as are a block, and if all are, as many cases."""
    each = draws.size // (draws.sizes["case"] * draws.sizes["time"])
    cases, times = draws.chunksizes["case"], draws.chunksizes["time"]
    return {
        "case": _joined(cases, BLOCK // (each * draws.sizes["time"])),
        "time": _joined(times, BLOCK // (each * cases[0])),
    }


def _joined(sizes: Sequence[int], room: int) -> tuple[int, ...]:
    """Neighbouring sizes joined up to some sum, each alone that is larger."""
    found = [sizes[0]]
    for size in sizes[1:]:
        if found[-1] + size <= room:
            found[-1] += size
        else:
            found.append(size)
    return tuple(found)
