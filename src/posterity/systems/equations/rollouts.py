"""Rollouts by loops or kernels, as functions of torch with derivatives: states are kept, and stages computed anew.

There are four of them: the rollout; its tangent; its adjoint; and the curvature of steps, by which tangent and adjoint
change with the trajectory that they are taken at. The derivatives of each are made of the others, so that there are
second ones too; third ones are refused.

Batches may lack dimensions on the left, of what is the same for all of them; states are flat.
"""

import warnings
from collections.abc import Sequence
from functools import cache
from subprocess import SubprocessError
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import forward_ad

from .expressions import Integration

#: Why derivatives are refused.
TWICE = (
    "compiled rollouts have first and second derivatives, and no others; differentiate `step` where these are needed"
)


@cache
def compiled(kind: str) -> ModuleType | None:
    """The module of compiled loops or kernels for a kind of device, if numba or Triton can be had."""
    try:
        if kind == "cpu":
            from ..compiled import rollouts

            return rollouts
        if kind == "cuda":
            from ..kernels import rollouts as kernels

            kernels.check()
            return kernels
    except (ImportError, RuntimeError, OSError, SubprocessError) as error:
        warnings.warn(f"rollouts are many times slower, without compiled loops: {error}", stacklevel=2)
    return None


def loops(like: Tensor) -> Any:
    """The module for the device of a tensor, which is there."""
    return compiled(like.device.type)


class Loops(torch.autograd.Function):
    """A function whose values are computed by compiled loops or kernels."""

    @classmethod
    def apply(cls, *arguments: Any) -> Any:
        """As torch's, without its look at the signature at each call, which takes as long as a short rollout."""
        if torch._C._are_functorch_transforms_active():
            return super().apply(*arguments)
        # Nobody asks for derivatives, in reverse or forwards.
        if not torch.is_grad_enabled() and forward_ad._current_level < 0:
            return cls.forward(*arguments)
        return super(torch.autograd.Function, cls).apply(*unwrap_dead_wrappers(arguments))  # type: ignore[misc]


class Rollout(Loops):
    r"""The trajectory :math:`x_{t+1} = M(x_t; \theta) + \eta_t`."""

    @staticmethod
    def forward(
        integration: Integration, steps: int, x0: Tensor, theta: Tensor, error: Tensor | None, known: Tensor | None
    ) -> Tensor:
        """The states, with shape ``(*batch, steps + 1, n)``; if they are known, this is for their derivatives."""
        if known is None:
            return loops(x0).rollout(integration, steps, x0, theta, error)
        given = ((x0, 1), (theta, 1), (known, 2), *(() if error is None else ((error, 2),)))
        return known.expand(*whole_batch(*given), *known.shape[-2:]).clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keeps states and parameters."""
        ctx.integration, _, x0, theta, error, _ = inputs
        ctx.shapes = [None if value is None else value.shape for value in (x0, theta, error)]
        ctx.save_for_backward(output, theta)
        ctx.save_for_forward(output, theta)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The adjoint."""
        path, theta = ctx.saved_tensors
        with_error = ctx.shapes[2] is not None and ctx.needs_input_grad[4]
        states, parameters = Adjoint.apply(ctx.integration, path, theta, gradient, with_error, ctx.needs_input_grad[3])
        found = states[..., 0, :], parameters, states[..., 1:, :] if with_error else None
        return None, None, *_like(ctx.shapes, found, ctx.needs_input_grad[2:5]), None

    @staticmethod
    def jvp(ctx: Any, *changes: Tensor | None) -> Tensor:
        """The tangent."""
        path, theta = ctx.saved_tensors
        dx0, dtheta, derror = changes[2:5]
        dx0 = torch.zeros_like(path[..., 0, :]) if dx0 is None else dx0
        return Tangent.apply(
            ctx.integration, path, theta, dx0, torch.zeros_like(theta) if dtheta is None else dtheta, derror
        )

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], integration: Integration, steps: int, *tensors: Any) -> Any:
        """Another batch dimension, in front."""
        return Rollout.apply(integration, steps, *_in_front(info.batch_size, in_dims[2:], tensors, (1, 1, 2, 2))), 0


class Tangent(Loops):
    r"""The tangent :math:`\mu_{t+1} = \partial_x M(x_t) \mu_t + \partial_\theta M(x_t) \delta\theta + \delta\eta_t`."""

    @staticmethod
    def forward(
        integration: Integration, path: Tensor, theta: Tensor, dx0: Tensor, dtheta: Tensor, derror: Tensor | None
    ) -> Tensor:
        """The changes of states, with shape ``(*batch, steps + 1, n)``."""
        return loops(path).tangent(integration, path, theta, dx0, dtheta, derror)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keeps where and in which direction."""
        ctx.integration, path, theta, dx0, dtheta, derror = inputs
        ctx.shapes = [None if value is None else value.shape for value in (path, theta, dx0, dtheta, derror)]
        ctx.save_for_backward(path, theta, dtheta, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """By the adjoint, and where the tangent was taken by the curvature."""
        path, theta, dtheta, change = ctx.saved_tensors
        states, parameters = Adjoint.apply(ctx.integration, path, theta, gradient, True, True)
        found: tuple[Tensor | None, ...] = (None, None)
        if any(ctx.needs_input_grad[1:3]):
            found = Curvature.apply(ctx.integration, path, theta, states, change, dtheta)
        found = (*found, states[..., 0, :], parameters, None if ctx.shapes[4] is None else states[..., 1:, :])
        return None, *_like(ctx.shapes, found, ctx.needs_input_grad[1:])

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        """Refuses: a tangent of a tangent is no product that anybody needs."""
        raise NotImplementedError(TWICE)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], integration: Integration, *tensors: Any) -> Any:
        """Another batch dimension, in front."""
        return Tangent.apply(integration, *_in_front(info.batch_size, in_dims[1:], tensors, (2, 1, 1, 1, 2))), 0


class Adjoint(Loops):
    r"""The adjoint :math:`\lambda_t = g_t + \partial_x M(x_t)^T \lambda_{t+1}`.

    The gradient of parameters is :math:`\sum_t \partial_\theta M(x_t)^T \lambda_{t+1}`.
    """

    @staticmethod
    def forward(
        integration: Integration, path: Tensor, theta: Tensor, gradient: Tensor, everywhere: bool, parameters: bool
    ) -> tuple[Tensor, Tensor]:
        """The gradients of the first states or all, ``(*batch, states, n)``, and of parameters, if asked for."""
        kept = path.shape[-2] if everywhere else 1
        return loops(path).adjoint(integration, path, theta, gradient, kept, parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keeps where, and of what."""
        ctx.integration, path, theta, gradient, ctx.everywhere, ctx.parameters = inputs
        ctx.shapes = [value.shape for value in (path, theta, gradient)]
        ctx.save_for_backward(path, theta, gradient)
        ctx.save_for_forward(path, theta, gradient)

    @staticmethod
    def backward(ctx: Any, states: Tensor, parameters: Tensor) -> tuple[Tensor | None, ...]:
        """By the tangent, and where the adjoint was taken by the curvature."""
        path, theta, gradient = ctx.saved_tensors
        error = states[..., 1:, :] if ctx.everywhere else None
        parameters = parameters if ctx.parameters else torch.zeros_like(parameters)
        change = Tangent.apply(ctx.integration, path, theta, states[..., 0, :], parameters, error)
        found: tuple[Tensor | None, ...] = (None, None)
        if any(ctx.needs_input_grad[1:3]):
            cotangents, _ = Adjoint.apply(ctx.integration, path, theta, gradient, True, False)
            found = Curvature.apply(ctx.integration, path, theta, cotangents, change, parameters)
        return None, *_like(ctx.shapes, (*found, change), ctx.needs_input_grad[1:4]), None, None

    @staticmethod
    def jvp(ctx: Any, _: None, dpath: Tensor | None, dtheta: Tensor | None, dgradient: Tensor | None, *__: None) -> Any:
        """The adjoint of what changes, the curvature among it."""
        path, theta, gradient = ctx.saved_tensors
        dgradient = torch.zeros_like(gradient) if dgradient is None else dgradient
        if dpath is None and dtheta is None:
            return Adjoint.apply(ctx.integration, path, theta, dgradient, ctx.everywhere, ctx.parameters)
        dpath = torch.zeros_like(path) if dpath is None else dpath
        dtheta = torch.zeros_like(theta) if dtheta is None else dtheta
        cotangents, _ = Adjoint.apply(ctx.integration, path, theta, gradient, True, False)
        more, by_parameters = Curvature.apply(ctx.integration, path, theta, cotangents, dpath, dtheta)
        states, parameters = Adjoint.apply(
            ctx.integration, path, theta, dgradient + more, ctx.everywhere, ctx.parameters
        )
        return states, parameters + by_parameters if ctx.parameters else parameters

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], integration: Integration, path: Tensor, theta: Tensor,
        gradient: Tensor, everywhere: bool, parameters: bool,
    ) -> Any:  # fmt: skip
        """Another batch dimension, in front."""
        tensors = _in_front(info.batch_size, in_dims[1:4], (path, theta, gradient), (2, 1, 2))
        return Adjoint.apply(integration, *tensors, everywhere, parameters), (0, 0)


class Curvature(Loops):
    r"""The second derivatives of steps, :math:`\nabla^2 (\lambda_{t+1}^T M)(x_t, \theta)\, (\mu_t, \delta\theta)`."""

    @staticmethod
    def forward(
        integration: Integration, path: Tensor, theta: Tensor, cotangent: Tensor, change: Tensor, dtheta: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Those with states, ``(*batch, steps + 1, n)``, zero for the last, and the sum of those with parameters."""
        return loops(path).curvature(integration, path, theta, cotangent, change, dtheta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps nothing."""

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        """Refuses."""
        raise NotImplementedError(TWICE)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        """Refuses."""
        raise NotImplementedError(TWICE)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], integration: Integration, *tensors: Any) -> Any:
        """Another batch dimension, in front."""
        return Curvature.apply(integration, *_in_front(info.batch_size, in_dims[1:], tensors, (2, 1, 2, 2, 1))), (0, 0)


def whole_batch(*arguments: tuple[Tensor, int]) -> torch.Size:
    """The whole batch of tensors, of which each has so many dimensions behind it."""
    return max((value.shape[: value.ndim - event] for value, event in arguments), key=len)


def _like(
    shapes: Sequence[torch.Size | None], found: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of arguments whose batch lacks dimensions are summed over these."""
    gradients: list[Tensor | None] = []
    for shape, value, need in zip(shapes, found, needed, strict=True):
        if not need or value is None or shape is None:
            gradients.append(None)
        else:
            gradients.append(value if value.shape == shape else value.sum_to_size(shape))
    return gradients


def _in_front(
    size: int, dims: Sequence[int | None], tensors: Sequence[Tensor | None], events: Sequence[int]
) -> list[Tensor | None]:
    """Tensors with one more batch dimension in front; what does not depend on it stays as it is.

    Args:
        size: The size of the dimension.
        dims: Where each tensor has it; None where it has none.
        tensors: The tensors.
        events: The number of dimensions behind the batch of each.
    """
    batches = [
        value.shape[: value.ndim - event] if dim is None else value.movedim(dim, 0).shape[1 : value.ndim - event]
        for value, dim, event in zip(tensors, dims, events, strict=True)
        if value is not None
    ]
    whole = max(batches, key=len)
    front: list[Tensor | None] = []
    for value, dim, event in zip(tensors, dims, events, strict=True):
        if value is not None and dim is not None:
            value = value.movedim(dim, 0)
            batch, behind = value.shape[1 : value.ndim - event], value.shape[value.ndim - event :]
            value = value.reshape(size, *[1] * (len(whole) - len(batch)), *batch, *behind)
            value = value.expand(size, *whole, *behind)
        front.append(value)
    return front
