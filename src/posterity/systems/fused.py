"""A step of a flow with its tangent and its adjoint by hand: on a CPU by compiled loops, elsewhere by torch.

The tape of a rollout keeps its states only: the stages of a step are computed anew, for a few batch elements at once.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .lawson import Lawson

#: Points of the fine grid that torch works on at once, so that the fields stay in a CPU's cache; on other devices, to
#: bound the memory of the stages.
TILE = {"cpu": 2**16, "cuda": 2**22}
#: Why a gradient of a gradient is refused.
ONCE = "the fused step of a flow has first derivatives only; differentiate `step` where second ones are needed"


@cache
def compiled() -> ModuleType | None:
    """The module of compiled loops, if numba is there and has a folder to keep them in."""
    try:
        from .compiled import kernel
    except (ImportError, RuntimeError) as error:
        warnings.warn(f"flows run some times slower, without compiled loops: {error}", stacklevel=2)
        return None
    return kernel


def advanced(model: Lawson, w: Tensor, *fields: Tensor) -> Tensor:
    """As :meth:`Lawson.advance`, without derivatives."""
    kernel = compiled() if w.device.type == "cpu" else None
    return tiled(model, model.advance, w, *fields) if kernel is None else kernel.advance(model, w, *fields)


def tangent(model: Lawson, w: Tensor, *fields: Tensor) -> Tensor:
    """As :meth:`Lawson.tangent`."""
    kernel = compiled() if w.device.type == "cpu" else None
    return tiled(model, model.tangent, w, *fields) if kernel is None else kernel.tangent(model, w, *fields)


def adjoint(model: Lawson, parameters: bool, w: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
    """As :meth:`Lawson.adjoint`."""
    kernel = compiled() if w.device.type == "cpu" else None
    if kernel is None:
        return tiled(model, partial(model.adjoint, parameters=parameters), w, *fields)
    return kernel.adjoint(model, w, *fields, parameters=parameters)


def tiled(model: Lawson, step: Callable[..., Any], w: Tensor, *fields: Tensor) -> Any:
    """Does a few batch elements at once.

    Args:
        model: The integration.
        step: What to do, with batches of one dimension: a tensor, or a tuple of tensors.
        w: Coefficients, with shape ``(*batch, rows, columns)``.
        fields: What else may depend on the batch: two dimensions if it does not, its whole batch if so.

    Returns:
        What it gives for all of them, with the batch of ``w``.
    """
    batch = w.shape[:-2]
    size = max(1, TILE.get(w.device.type, TILE["cuda"]) // (model.fine.height * model.fine.width))
    if batch.numel() <= size:
        return step(w, *fields)
    count = -(-batch.numel() // size)
    parts = [(v,) * count if v.ndim == 2 else v.flatten(0, len(batch) - 1).split(size) for v in (w, *fields)]
    done = [step(*part) for part in zip(*parts, strict=True)]
    if isinstance(done[0], Tensor):
        return torch.cat(done).unflatten(0, batch)
    return tuple(torch.cat(values).unflatten(0, batch) for values in zip(*done, strict=True))


class Fused(torch.autograd.Function):
    """A step that keeps its arguments only: its derivatives compute the stages anew."""

    @staticmethod
    def forward(model: Lawson, x: Tensor, half: Tensor, source: Tensor) -> Tensor:
        """The step."""
        return model.finish(advanced(model, model.begin(x), half, source))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Lawson, Tensor, Tensor, Tensor], output: Tensor) -> None:
        """Keeps the arguments."""
        ctx.model, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor | None, Tensor | None]:
        """The adjoint, in a function of its own, which has no derivative and so refuses a second one."""
        x, half, source = ctx.saved_tensors
        parameters = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
        dx, *others = FusedAdjoint.apply(ctx.model, x, half, source, gradient, parameters)
        dhalf, dsource = (value.sum_to_size(half.shape) for value in others) if parameters else (None, None)
        return None, dx, dhalf, dsource

    @staticmethod
    def jvp(ctx: Any, _: None, dx: Tensor | None, dhalf: Tensor | None, dsource: Tensor | None) -> Tensor:
        """The tangent."""
        x, half, source = ctx.saved_tensors
        pairs = ((x, dx), (half, dhalf), (source, dsource))
        tangents = [torch.zeros_like(value) if tangent is None else tangent for value, tangent in pairs]
        return FusedTangent.apply(ctx.model, x, half, source, *tangents)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], model: Lawson, *tensors: Tensor) -> tuple[Tensor, int]:
        """Another batch dimension, in front."""
        return Fused.apply(model, *_in_front(info.batch_size, in_dims[1:], tensors)), 0


class Last(torch.autograd.Function):
    """A derivative that has none of its own, and says so."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps nothing."""

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        """Refuses."""
        raise NotImplementedError(ONCE)

    @staticmethod
    def jvp(ctx: Any, *_: Tensor) -> Any:
        """Refuses."""
        raise NotImplementedError(ONCE)


class FusedTangent(Last):
    """The tangent of a step."""

    @staticmethod
    def forward(
        model: Lawson, x: Tensor, half: Tensor, source: Tensor, dx: Tensor, dhalf: Tensor, dsource: Tensor
    ) -> Tensor:
        """The tangent, for states, factors and sources, and the tangents of the three."""
        return model.finish(tangent(model, model.begin(x), half, source, model.begin(dx), dhalf, dsource))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], model: Lawson, *tensors: Tensor) -> tuple[Tensor, int]:
        """Another batch dimension, in front."""
        return FusedTangent.apply(model, *_in_front(info.batch_size, in_dims[1:], tensors)), 0


class FusedAdjoint(Last):
    """The adjoint of a step."""

    @staticmethod
    def forward(
        model: Lawson, x: Tensor, half: Tensor, source: Tensor, gradient: Tensor, parameters: bool
    ) -> tuple[Tensor, ...]:
        """The gradient of states; with parameters also those of factors and sources, for each batch element."""
        g = model.refined(model.coarse.gathered(gradient))
        g, *others = adjoint(model, parameters, model.begin(x), half, source, g)
        # From means of products over the plane to sums over its points, and to the waves that are stored.
        weights = model.coarse.height * model.coarse.width * model.fine.weights.like(g)
        return model.coarse.scattered(model.coarsened(g)), *(weights * value for value in others)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], model: Lawson, *arguments: Any
    ) -> tuple[tuple[Tensor, ...], int]:
        """Another batch dimension, in front."""
        *tensors, parameters = arguments
        return FusedAdjoint.apply(model, *_in_front(info.batch_size, in_dims[1:-1], tensors), parameters), 0


def _in_front(size: int, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors with one more batch dimension in front; what does not depend on the batch at all stays as it is."""
    batch = tensors[0].ndim - 3 - (dims[0] is not None)
    front = []
    for dim, value in zip(dims, tensors, strict=True):
        if dim is not None:
            value = value.movedim(dim, 0)
            if value.ndim == 3:
                value = value.reshape(size, *([1] * batch), *value.shape[1:])
        elif value.ndim > 2:
            value = value.expand(size, *value.shape)
        front.append(value)
    whole = front[0].shape[:-3]
    return [v.expand(*whole, *v.shape[-2:]) if v.is_complex() and v.ndim > 2 else v for v in front]
