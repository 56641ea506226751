"""Batches of a training set that need not fit into memory."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ...problems import Problem, Twin, refill

#: Numbers of the states held in memory at once: one gibibyte in single precision.
MEMORY = 2**28

#: Blocks of the training set that are held in memory, and shuffled, together.
BLOCKS = 16


class TrainingError(Exception):
    """Raised when a training cannot go on: a loss, or all cases at once, are not finite."""


class States(NamedTuple):
    """Cases of a training set without observations, which are drawn anew every epoch.

    Args:
        x: The states, with shape ``(case, window + forecast, *shape)``.
        theta: The unknown parameters, with shape ``(case, parameters)``.
        background: The backgrounds, with shape ``(case, *shape)``.
        background_std: Their standard deviations, with the same shape.
        start: The times at which the windows start, in steps, with shape ``(case,)``.
    """

    x: Tensor
    theta: Tensor
    background: Tensor
    background_std: Tensor
    start: Tensor

    @classmethod
    def join(cls, parts: "list[States]") -> Self:
        """Joins the cases of several parts, in order."""
        return cls(*(torch.cat(values) for values in zip(*parts, strict=True))) if len(parts) > 1 else cls(*parts[0])

    def take(self, cases: Tensor) -> Self:
        """Selects some of the cases."""
        return type(self)(*(value.index_select(0, cases.to(value.device)) for value in self))

    def split(self, count: int) -> "list[Self]":
        """The cases in equal parts, in order."""
        parts = zip(*(value.chunk(count) for value in self), strict=True) if count > 1 else [self]
        return [type(self)(*part) for part in parts]

    def finite(self) -> Tensor:
        """Whether states and parameters of each case are finite, with shape ``(case,)``."""
        x, theta = (value.reshape(len(value), -1) for value in (self.x, self.theta))
        return x.isfinite().all(dim=1) & theta.isfinite().all(dim=1)

    def sound(self) -> Self:
        """The cases, those that are not finite replaced by others, so that batches keep their sizes.

        Raises:
            TrainingError: If there are no others.
        """
        good = self.finite()
        if good.all():
            return self
        if not good.any():
            raise TrainingError(f"none of {len(good)} training cases is finite; see why the model fails, and simulate")
        return type(self)(*(refill(good.unsqueeze(-1), value.unsqueeze(1)).squeeze(1) for value in self))

    def observe(self, problem: Problem) -> Twin:
        """Draws observations of the cases."""
        return problem.observe(*self)


class Batches:
    """Shuffled batches of a training set, read in blocks.

    A set that fits into memory is read once, and shuffled as a whole. Of a larger one, blocks of neighbouring cases are
    read in random order, some at a time, and shuffled together; the next ones are read meanwhile. The order depends on
    the seed and the epoch alone, so that a training can continue from any batch of any epoch. Cases that are not
    finite, where the model failed, are left out: others of those in memory take their places.

    Args:
        read: Reads some of the cases.
        cases: The number of cases.
        batch: Cases per batch.
        seed: Seed of the order.
        memory: Cases that are held in memory at once.
        rank: The rank of this process among those that share every batch.
        world: The number of these processes.
        shares: Equal shares of a batch, of which each process takes as many as any other; of a batch that they do not
            divide, the last few cases are left out.

    Raises:
        ValueError: If the shares, the batch and the processes do not fit.
    """

    def __init__(
        self,
        read: Callable[[slice], States],
        cases: int,
        batch: int,
        seed: int = 0,
        memory: int | None = None,
        rank: int = 0,
        world: int = 1,
        shares: int = 1,
    ) -> None:
        if batch % shares:
            raise ValueError(f"batch: {batch} cases have no {shares} equal shares; make it a multiple")
        if cases < shares:
            raise ValueError(f"train: {cases} cases have no {shares} shares; have fewer")
        if shares % world:
            raise ValueError(
                f"shares: {shares} of a batch cannot be divided equally among {world} processes; make it a multiple of "
                "them, or start others"
            )
        self.read, self.cases, self.batch, self.seed, self.shares = read, cases, batch, seed, shares
        self.own = range(rank, shares, world)
        memory = cases if memory is None else memory
        block = cases if cases <= memory else max(1, memory // (2 * BLOCKS))
        self.blocks = [slice(start, min(start + block, cases)) for start in range(0, cases, block)]
        self._whole: States | None = None

    def parts(self, size: int, most: int) -> Iterator[States]:
        """The first cases of the set in order, some at a time: enough of them for statistics.

        Args:
            size: The number of cases of a part.
            most: The most cases of all parts.
        """
        last = min(most, self.cases)
        for start in range(0, last, size):
            states = self.read(slice(start, min(start + size, last)))
            # Of later parts one without a finite case is left out: there are others.
            if not start or states.finite().any():
                yield states.sound()

    def epoch(self, epoch: int, done: int = 0) -> Iterator[States]:
        """The batches of one epoch, of each the part of this process.

        Args:
            epoch: The number of the epoch.
            done: The number of first batches to skip, which are not read.
        """
        pools = []
        for blocks, batches in self._plan(epoch):
            if batches[done:]:
                pools.append((blocks, batches[done:]))
            done = max(0, done - len(batches))
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._load, *pools[0]) if pools else None
            for number, (_, batches) in enumerate(pools):
                assert coming is not None
                states, rows = coming.result()
                if number + 1 < len(pools):
                    coming = reader.submit(self._load, *pools[number + 1])
                for own in rows.split([len(self._own(batch)) for batch in batches]):
                    yield states.take(own)

    @property
    def order(self) -> dict[str, int]:
        """What the order of the cases depends on: a training that goes on with another would skip or repeat some."""
        block = self.blocks[0].stop
        return {"cases": self.cases, "batch": self.batch, "shares": self.shares, "seed": self.seed, "block": block}

    def __len__(self) -> int:
        """The number of batches of the first epoch; others differ from it by some where blocks differ in size."""
        return sum(len(batches) for _, batches in self._plan(0))

    def _plan(self, epoch: int) -> list[tuple[list[slice], list[Tensor]]]:
        """The blocks that are in memory together, and the batches of their rows."""
        generator = torch.Generator("cpu").manual_seed(derive(self.seed, "order", epoch))
        plan = []
        for numbers in torch.randperm(len(self.blocks), generator=generator, device="cpu").split(BLOCKS):
            blocks = [self.blocks[number] for number in numbers.tolist()]
            rows = torch.randperm(sum(b.stop - b.start for b in blocks), generator=generator, device="cpu")
            # Shares are equal, or the cases in them would not weigh the same.
            batches = [batch[: len(batch) // self.shares * self.shares] for batch in rows.split(self.batch)]
            plan.append((blocks, [batch for batch in batches if len(batch)]))
        return plan

    def _own(self, batch: Tensor) -> Tensor:
        """The rows of a batch that belong to this process, share by share."""
        return torch.cat([batch[share :: self.shares] for share in self.own])

    def _load(self, blocks: list[slice], batches: list[Tensor]) -> tuple[States, Tensor]:
        """Reads this process's part of some blocks; its rows, batch by batch, are positions among the states read."""
        rows = torch.cat([self._own(batch) for batch in batches])
        if len(self.blocks) == 1:
            if self._whole is None:
                self._whole = self.read(self.blocks[0]).sound()
            return self._whole, rows
        kept, position = rows.unique(return_inverse=True)
        parts, offset = [], 0
        for block in blocks:
            size = block.stop - block.start
            inside = kept[(kept >= offset) & (kept < offset + size)] - offset
            parts.append(self.read(block).take(inside))
            offset += size
        return States.join(parts).sound(), position


def derive(seed: int, *keys: object) -> int:
    """Derives the seed of one part of the work from that of all and the keys of the part."""
    text = " ".join(map(str, (seed, *keys)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
