"""Batches: every case once an epoch, in an order of the seed alone, whatever fits into memory."""

from collections import Counter

import pytest
import torch

from posterity.estimators import Batches, States


def numbered(cases: slice) -> States:
    """States that are their own numbers."""
    x = torch.arange(cases.start, cases.stop, dtype=torch.float64)
    return States(x, x, x, x, x)


def numbers(batches: Batches, epoch: int, done: int = 0) -> list[list[int]]:
    return [states.x.int().tolist() for states in batches.epoch(epoch, done)]


@pytest.mark.parametrize("memory", [None, 200, 64, 40])
def test_every_case_comes_once_an_epoch(memory) -> None:
    batches = Batches(numbered, 201, 16, memory=memory)
    first, second = numbers(batches, 0), numbers(batches, 1)
    for epoch in (first, second):
        assert sorted(case for batch in epoch for case in batch) == list(range(201))
    assert first != second
    assert numbers(batches, 0) == first
    assert len(batches) == len(first)
    assert numbers(Batches(numbered, 201, 16, seed=5, memory=memory), 0) != first


def test_what_does_not_fit_is_read_a_part_at_a_time() -> None:
    """Never more than the memory's worth, twice: what is shuffled, and what is read meanwhile."""
    read: list[int] = []

    def noted(cases: slice) -> States:
        read.append(cases.stop - cases.start)
        return numbered(cases)

    batches = Batches(noted, 3200, 50, memory=640)
    epoch = batches.epoch(0)
    next(epoch)
    assert sum(read) <= 640
    for _ in epoch:
        pass
    assert sum(read) == 3200


def test_cases_of_distant_blocks_meet_in_a_batch() -> None:
    batches = numbers(Batches(numbered, 3200, 50, memory=640), 0)
    spread = [max(batch) - min(batch) for batch in batches]
    assert min(spread) > 640


@pytest.mark.parametrize("memory", [None, 64])
@pytest.mark.parametrize("done", [1, 4, 11])
def test_an_epoch_goes_on_from_any_batch(memory, done) -> None:
    batches = Batches(numbered, 201, 16, memory=memory)
    assert numbers(batches, 3, done) == numbers(batches, 3)[done:]


@pytest.mark.parametrize("memory", [None, 64])
def test_processes_share_each_batch_equally(memory) -> None:
    """Together they see what one alone does, but for the remainder of a batch."""
    parts = [numbers(Batches(numbered, 201, 16, memory=memory, rank=rank, world=3), 2) for rank in range(3)]
    alone = numbers(Batches(numbered, 201, 16, memory=memory), 2)
    for batch, *own in zip(alone, *parts, strict=True):
        assert len({len(part) for part in own}) == 1
        together = Counter(case for part in own for case in part)
        assert together <= Counter(batch)
        assert sum(together.values()) == len(batch) // 3 * 3


def test_too_few_cases_to_share_are_refused() -> None:
    with pytest.raises(ValueError, match="batch: 2 cases cannot be shared by 3 processes"):
        Batches(numbered, 100, 2, world=3)
