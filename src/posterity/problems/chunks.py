"""Cutting large batches into pieces that fit the memory of the device, and the cache of a processor."""

from collections.abc import Iterator

import torch

#: Entries of the largest intermediate tensor that a piece may hold: one mebibyte in single precision stays within
#: the cache of a processor core, where it is several times faster; a GPU wants pieces as large as it can hold.
CACHE = {"cpu": 2**18, "cuda": 2**28}


def chunks(total: int, size: int, device: torch.device) -> Iterator[slice]:
    """Cuts a batch.

    Args:
        total: The number of elements of the batch.
        size: The number of entries that one element takes in the largest intermediate tensor.
        device: Where the computation runs.

    Yields:
        Slices that cover ``range(total)`` in order.
    """
    step = max(1, CACHE.get(device.type, CACHE["cuda"]) // size)
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
