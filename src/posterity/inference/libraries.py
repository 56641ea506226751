"""Libraries of states, each after its spin-up."""

from math import prod

import torch
from torch import Tensor

from ..errors import PosterityError
from ..problems import chunks
from ..systems import System
from .progress import track


@torch.no_grad()
def spun_up(system: System, total: int, title: str, device: torch.device) -> Tensor:
    """Draws states at the start of a system's ensemble.

    Args:
        system: The system.
        total: Their number.
        title: What progress calls them.
        device: Where to compute.

    Returns:
        The states, on the processor, with shape ``(total, *shape)``.

    Raises:
        PosterityError: If a spin-up diverges.
    """
    batches = list(chunks(total, prod(system.shape), device))
    shown = track(batches, title, len(batches))
    states = torch.cat([system.initial((batch.stop - batch.start,)).cpu() for batch in shown])
    if failed := int((~states.flatten(1).isfinite().all(dim=1)).sum()):
        raise PosterityError(
            f"climatology: {failed} of {total} spin-ups diverged; give the system more substeps, or a smaller dt"
        )
    return states
