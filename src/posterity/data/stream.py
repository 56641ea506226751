"""Streams of cases: shards as one sequence, read when asked for."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
import xarray as xr
from torch import Tensor

from ..errors import DataError
from .files import read


class Shards:
    """The cases of several datasets, in order.

    Datasets are checked against each other at once; lazy ones, as of files, are read when they are asked for.

    Args:
        parts: The datasets, by the names that messages call them.

    Raises:
        DataError: If one differs from the first in a size; the message names it.
    """

    def __init__(self, parts: Mapping[str, xr.Dataset]) -> None:
        self.names, self.parts = list(parts), list(parts.values())
        for source, part in parts.items():
            for name, size in self.parts[0].sizes.items():
                if name != "case" and part.sizes.get(name) != size:
                    raise DataError(
                        f"{source}: has {part.sizes.get(name, 'no')} along '{name}', but {self.names[0]} has {size}"
                    )
        self.ends = [sum(part.sizes["case"] for part in self.parts[: n + 1]) for n in range(len(self.parts))]

    @classmethod
    def open(cls, paths: Sequence[Path], kind: str) -> Self:
        """The cases of several files, opened lazily.

        Args:
            paths: The files.
            kind: Their kind in the schema.

        Raises:
            DataError: If a file cannot be read, or differs from the first in a size; the message names it.
        """
        return cls({str(path): read(path, kind) for path in paths})

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
            found.append(convert(chunk.load(), self.names[number]))
            first = stop
        return tuple(torch.cat(values) if len(values) > 1 else values[0] for values in zip(*found, strict=True))
