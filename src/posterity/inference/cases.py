"""Cases of training sets, as estimators take them: in batches, from one dataset or from several shards."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import prod

import torch
import xarray as xr
from torch import Tensor

from ..data.stream import Shards
from ..data.tensors import states, window_of
from ..estimators.learning.batches import MEMORY, Batches, States
from ..estimators.learning.processes import Processes
from ..experiment.sections import TrainingConfig
from ..problems import Problem, Twin, Window

log = logging.getLogger("posterity")

#: Failed cases that a message names.
NAMED = 10


class Cases:
    """The cases of several shards, read when asked for; it says which of them are not finite.

    Args:
        shards: The shards, of ``states`` or ``twin`` datasets.
        problem: The problem.
        device: Where the tensors go.
    """

    def __init__(self, shards: Shards, problem: Problem, device: torch.device) -> None:
        self.shards, self.problem, self.device = shards, problem, device
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


def training_batches(cases: Cases, settings: TrainingConfig, seed: int, processes: Processes) -> Batches:
    """The training set, in batches of which each process takes its shares."""
    problem = cases.problem
    memory = max(1, MEMORY // (problem.steps * prod(problem.shape)))
    shares = settings.equal_shares()
    return Batches(cases.states, len(cases), settings.batch, seed, memory, processes.rank, processes.count, shares)


def validation(cases: Cases, batch: int, processes: Processes) -> Validation:
    """The validation draws of a process, in batches; each is read once, so that what is damaged shows at once."""
    problem = cases.problem
    starts = range(0, len(cases), batch)[processes.rank :: processes.count]
    # Observations with their deviations beside the states, in a quarter of the memory of the training set.
    numbers = problem.steps * (prod(problem.shape) + 2 * prod(problem.observation.shape))
    draws = Validation(
        lambda start: cases.twins(slice(start, start + batch)), starts, hold=len(cases) * numbers <= MEMORY // 4
    )
    for _ in draws:
        pass
    return draws
