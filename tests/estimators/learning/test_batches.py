"""Batches: every case once an epoch, in an order of the seed alone, whatever fits into memory."""

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
@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_any_processes_see_the_same_shares_of_each_batch(memory, world) -> None:
    """Together, what one alone sees, but for what has no equal shares of the last batch."""
    alone = numbers(Batches(numbered, 201, 18, memory=memory), 2)
    shares: list[dict[int, list[int]]] = [{} for batch in alone if len(batch) >= 6]
    for rank in range(world):
        batches = Batches(numbered, 201, 18, memory=memory, rank=rank, world=world, shares=6)
        for found, states in zip(shares, batches.epoch(2), strict=True):
            found |= {
                share: part.x.int().tolist() for share, part in zip(batches.own, states.split(6 // world), strict=True)
            }
    for batch, found in zip(alone, shares, strict=False):
        assert [found[share] for share in range(6)] == [batch[: len(batch) // 6 * 6][share::6] for share in range(6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 16, "shares": 3}, "batch: 16 cases have no 3 equal shares; make it a multiple"),
        ({"batch": 200, "shares": 200}, "train: 100 cases have no 200 shares; have fewer"),
        ({"batch": 16, "shares": 4, "world": 3}, "shares: 4 of a batch cannot be divided equally among 3 processes"),
        ({"batch": 16, "world": 2}, "shares: 1 of a batch cannot be divided equally among 2 processes"),
    ],
)
def test_what_cannot_be_shared_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        Batches(numbered, 100, **options)
