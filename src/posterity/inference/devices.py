"""Devices: which one computes, and what it takes."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from ..errors import ConfigError


@contextmanager
def on_device(device: str) -> Iterator[torch.device]:
    """Makes a device torch's default.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for the GPU if there is one.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"--device: must be cpu, cuda or auto, not '{device}'") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: torch sees no GPU; use --device cpu, or install a torch built for CUDA")
    # A device's context takes part in every call of torch, which small ones feel.
    with nullcontext() if chosen == torch.get_default_device() else chosen:
        yield chosen


def cost(seconds: float, device: torch.device) -> dict[str, str | float]:
    """The attributes that say what a dataset has cost."""
    return {"wall_seconds": seconds, "peak_memory_mib": peak_memory(device), "device": device_name(device)}


def peak_memory(device: torch.device) -> float:
    """The peak memory so far in mebibytes: the GPU's on a GPU, the process's elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def device_name(device: torch.device) -> str:
    """The name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} of {os.cpu_count()} threads"
