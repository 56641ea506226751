"""Streams of cases: shards as one sequence, read when asked for."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from ..errors import DataError
from .files import read


class Shards:
    """The cases of several files, in order.

    Files are opened lazily and checked against each other at once; their data are read, through dask, when asked for.

    Args:
        paths: The files.
        kind: Their kind in the schema.

    Raises:
        DataError: If a file cannot be read, or differs from the first in a size; the message names it.
    """

    def __init__(self, paths: Sequence[Path], kind: str) -> None:
        self.paths = list(paths)
        self.parts = [read(path, kind) for path in paths]
        for path, part in zip(self.paths, self.parts, strict=True):
            for name, size in self.parts[0].sizes.items():
                if name != "case" and part.sizes.get(name) != size:
                    raise DataError(
                        f"{path}: has {part.sizes.get(name, 'no')} along '{name}', but {self.paths[0]} has {size}"
                    )
        self.ends = [sum(part.sizes["case"] for part in self.parts[: n + 1]) for n in range(len(self.parts))]

    def __len__(self) -> int:
        """The number of cases."""
        return self.ends[-1]

    def read(self, cases: slice, convert: Callable[[xr.Dataset, str], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Reads neighbouring cases.

        Args:
            cases: Which, as of a sequence: what lies beyond the last one is left out.
            convert: Turns a dataset, and the name of its file, into tensors with a leading dimension ``case``.

        Returns:
            The tensors of all cases.

        Raises:
            DataError: If a file is damaged; the message names it.
        """
        first, last, _ = cases.indices(len(self))
        found = []
        while first < last:
            number = bisect_right(self.ends, first)
            start = self.ends[number - 1] if number else 0
            stop = min(last, self.ends[number])
            chunk = self.parts[number].isel(case=slice(first - start, stop - start))
            found.append(convert(chunk.load(), str(self.paths[number])))
            first = stop
        return tuple(torch.cat(values) if len(values) > 1 else values[0] for values in zip(*found, strict=True))
