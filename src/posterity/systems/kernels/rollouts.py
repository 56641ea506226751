"""Rollouts of ordinary differential equations by kernels of Triton, with their derivatives, for GPUs.

One kernel does all steps of a function, for as many members as there are: what compiled loops do on a CPU
(:mod:`posterity.systems.compiled.rollouts`), with the same arguments. It is written for a system at the first call, and
compiled once for each precision; Triton keeps it on disk.
"""

import linecache
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..equations.expressions import Integration
from ..equations.rollouts import whole_batch
from . import kinds
from .kinds import Kind
from .writer import Writer, lanes

#: Lanes of a program where states are small: a warp, of which each thread has two. Gathers within a warp take as many
#: shuffles as the square of that.
LANES = 64
#: The most warps of a program.
WARPS = 16


def check() -> None:
    """Raises where there is no Triton, or it has no device, or no C compiler for what calls kernels."""
    import triton

    if not triton.knobs.runtime.interpret:
        triton.runtime.driver.active.get_current_target()


def rollout(integration: Integration, steps: int, x0: Tensor, theta: Tensor, error: Tensor | None) -> Tensor:
    """The trajectories; see :func:`posterity.systems.compiled.rollouts.rollout`."""
    given = {"x0": (x0, 1), "theta": (theta, 1)} | ({} if error is None else {"error": (error, 2)})
    batch = whole_batch(*given.values())
    out = x0.new_empty(*batch, steps + 1, x0.shape[-1])
    _launch(kinds.rollout, integration, steps, batch, given | {"out": (out, 2)})
    return out


def tangent(
    integration: Integration, path: Tensor, theta: Tensor, dx0: Tensor, dtheta: Tensor, derror: Tensor | None
) -> Tensor:
    """The changes of trajectories; see :func:`posterity.systems.compiled.rollouts.tangent`."""
    given = {"path": (path, 2), "theta": (theta, 1), "dx0": (dx0, 1), "dtheta": (dtheta, 1)}
    given |= {} if derror is None else {"derror": (derror, 2)}
    batch = whole_batch(*given.values())
    out = path.new_empty(*batch, *path.shape[-2:])
    _launch(kinds.tangent, integration, path.shape[-2] - 1, batch, given | {"out": (out, 2)})
    return out


def adjoint(
    integration: Integration, path: Tensor, theta: Tensor, gradient: Tensor, kept: int, parameters: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of states and parameters; see :func:`posterity.systems.compiled.rollouts.adjoint`."""
    given = {"path": (path, 2), "theta": (theta, 1), "gradient": (gradient, 2)}
    batch = whole_batch(*given.values())
    out = path.new_empty(*batch, kept, path.shape[-1])
    sums = path.new_zeros(*batch, theta.shape[-1], integration.sites)
    given |= _tapes(integration, path, batch, "tape") | {"out": (out, 2)} | ({"sums": (sums, 2)} if parameters else {})
    _launch(kinds.adjoint, integration, path.shape[-2] - 1, batch, given)
    return out, sums.sum(dim=-1)


def curvature(
    integration: Integration, path: Tensor, theta: Tensor, cotangent: Tensor, change: Tensor, dtheta: Tensor
) -> tuple[Tensor, Tensor]:
    """The changes of adjoints of single steps; see :func:`posterity.systems.compiled.rollouts.curvature`."""
    given = {"path": (path, 2), "theta": (theta, 1), "cotangent": (cotangent, 2)}
    given |= {"change": (change, 2), "dtheta": (dtheta, 1)}
    batch = whole_batch(*given.values())
    out = path.new_zeros(*batch, *path.shape[-2:])
    sums = path.new_empty(*batch, theta.shape[-1], integration.sites)
    given |= _tapes(integration, path, batch, "tape", "changes") | {"out": (out, 2), "sums": (sums, 2)}
    _launch(kinds.curvature, integration, path.shape[-2] - 1, batch, given)
    return out, sums.sum(dim=-1)


def _tapes(integration: Integration, like: Tensor, batch: torch.Size, *names: str) -> dict[str, tuple[Tensor, int]]:
    """Memory for what the substeps of a step start from; one substep starts from what is given."""
    if integration.substeps == 1:
        return {}
    return {name: (like.new_empty(*batch, integration.substeps, like.shape[-1]), 2) for name in names}


def _launch(
    kind: Kind, integration: Integration, steps: int, batch: torch.Size, tensors: dict[str, tuple[Tensor, int]]
) -> None:
    """Runs a kernel for all members.

    Args:
        kind: Its kind.
        integration: What it integrates.
        steps: The number of steps.
        batch: The whole batch.
        tensors: What it takes, by name, each with its number of dimensions behind the batch.
    """
    members = batch.numel()
    if not members:
        return
    width = lanes(integration.sites)
    if width > LANES:
        # What programs have of their neighbours: up to four fields at once.
        like, _ = tensors["out"]
        tensors |= {"around": (like.new_empty(*batch, 4, integration.equations.channels * integration.sites), 2)}
    arguments: list[Any] = []
    for value, event in tensors.values():
        rows = value.shape[: value.ndim - event].numel()
        arguments += value.detach().contiguous(), rows, value.numel() // rows
    together = max(1, LANES // width)
    warps = min(WARPS, together * width // LANES)
    kernel = _kernel(kind, integration, tuple(tensors), arguments[0].dtype)
    # Triton launches on the current device, which need not be that of the tensors.
    with torch.cuda.device_of(arguments[0]):
        kernel[(-(-members // together),)](*arguments, members, steps, MEMBERS=together, num_warps=warps, num_stages=1)


@cache
def _kernel(kind: Kind, integration: Integration, tensors: tuple[str, ...], dtype: torch.dtype) -> Any:
    """A kernel for one system and precision, whatever the numbers of members and steps."""
    # Not with the module, which pages of the reference import where there is no Triton.
    import triton
    import triton.language as tl

    writer = Writer(integration, tensors, {torch.float32: "tl.float32", torch.float64: "tl.float64"}[dtype])
    kind(writer)
    text = writer.text()
    # Triton reads the source of a function where Python's tracebacks do, which need not be a file.
    name = f"<{kind.__name__} of {integration.equations.name} in {dtype}, kernel {len(linecache.cache)}>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    module = {"tl": tl, "__name__": __name__}
    exec(compile(text, name, "exec"), module)
    numbers = [f"{tensor}_{what}" for tensor in tensors for what in ("rows", "size")]
    # Else Triton compiles once more for numbers that are one, and for multiples of sixteen.
    return triton.jit(
        module["kernel"],
        do_not_specialize=["members", "steps", *numbers],
        do_not_specialize_on_alignment=tensors,
    )
