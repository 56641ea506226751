"""Cases of several shards, as estimators take them."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from ...data.stream import Shards
from ...data.tensors import states, window_of
from ...estimators.learning.batches import States
from ...problems import Problem, Twin, Window
from ..common import log

#: Failed cases that a message names.
NAMED = 10


class Cases:
    """The cases of several shards, read when asked for; it says which of them are not finite.

    Args:
        paths: The files.
        kind: Their kind, ``states`` or ``twin``.
        problem: The problem.
        device: Where the tensors go.

    Raises:
        DataError: If a file cannot be read, or differs from the first in a size.
    """

    def __init__(self, paths: Sequence[Path], kind: str, problem: Problem, device: torch.device) -> None:
        self.shards, self.problem, self.device = Shards(paths, kind), problem, device
        self._said = set[tuple[str, object]]()

    def __len__(self) -> int:
        """The number of cases."""
        return len(self.shards)

    def states(self, cases: slice) -> States:
        """Reads neighbouring cases without observations.

        Args:
            cases: Which.

        Returns:
            The cases, those that failed among them.

        Raises:
            DataError: If a file is damaged, or does not fit the problem.
        """

        def convert(dataset: xr.Dataset, source: str) -> tuple[Tensor, ...]:
            """States, parameters, backgrounds and starts."""
            found = States(*states(dataset, self.problem, source, self.device))
            self._report(dataset, source, found.finite())
            return found

        return States(*self.shards.read(cases, convert))

    def twins(self, cases: slice) -> Twin:
        """Reads neighbouring windows with their truths.

        Args:
            cases: Which.

        Returns:
            The draws of the joint, with one batch dimension ``case``, without those that failed.

        Raises:
            DataError: If a file is damaged, or does not fit the problem.
        """

        def convert(dataset: xr.Dataset, source: str) -> tuple[Tensor, ...]:
            """States, parameters, and the fields of a window."""
            found = States(*states(dataset, self.problem, source, self.device))
            good = found.finite()
            self._report(dataset, source, good)
            window = window_of(dataset.isel(case=good.cpu().numpy()), self.problem, source, self.device)
            return found.x[good], found.theta[good], *window

        x, theta, *window = self.shards.read(cases, convert)
        return Twin(x, theta, Window(*window))

    def _report(self, dataset: xr.Dataset, source: str, good: Tensor) -> None:
        """Says which cases are not finite, each once."""
        failed = dataset["case"].to_numpy()[~good.cpu().numpy()].tolist()
        new = [case for case in failed if (source, case) not in self._said]
        self._said.update((source, case) for case in new)
        if new:
            named = ", ".join(map(str, new[:NAMED])) + (", …" if len(new) > NAMED else "")
            log.warning(
                "%s: %d of %d cases are not finite, and are left out of the training: case %s",
                source,
                len(new),
                len(good),
                named,
            )


class Validation:
    """The validation draws in batches, held if they fit into memory, else read anew in every pass.

    Args:
        read: Reads the batch that starts with a case.
        starts: The first cases of the batches.
        hold: Whether to hold what was read.
    """

    def __init__(self, read: Callable[[int], Twin], starts: Sequence[int], hold: bool) -> None:
        self._read, self._starts = cache(read) if hold else read, starts

    def __iter__(self) -> Iterator[Twin]:
        """One pass; batches without a case that is finite are left out."""
        return (twin for twin in map(self._read, self._starts) if len(twin.x))
