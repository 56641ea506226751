"""Cutting large batches into chunks that fit the memory of the device, and the cache of a processor."""

from collections.abc import Iterator

import torch

#: Entries of the largest intermediate tensor that a chunk may hold: four mebibytes in single precision. Measured
#: with Lorenz-96 on a processor: smaller chunks pay for the dispatch of every operation, larger ones leave the cache
#: (ensemble 4DVAR is half slower again at twice as much). A GPU wants chunks as large as it can hold.
CACHE = {"cpu": 2**20, "cuda": 2**28}

#: Entries of all tensors that a chunk may hold at once, where that is known: four gibibytes in single precision.
MEMORY = 2**30

#: Unknowns beyond which products are faster than matrices.
LARGE = 512


def chunks(total: int, size: int, device: torch.device, kept: float = 0) -> Iterator[slice]:
    """Cuts a batch into slices that fit the memory.

    Args:
        total: The number of elements of the batch.
        size: The number of entries that one element takes in the largest intermediate tensor.
        device: Where the computation runs.
        kept: The number of entries that one element takes in all tensors that are held at once, as an adjoint holds
            all that the model computes; 0 if the largest one is what counts.

    Yields:
        Slices that cover ``range(total)`` in order.
    """
    step = CACHE.get(device.type, CACHE["cuda"]) // size
    if kept:
        step = min(step, int(MEMORY / kept))
    step = max(1, step)
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
