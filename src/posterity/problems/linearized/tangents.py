"""Directional derivatives of functions, and the derivative of a trajectory as a chain of those of its steps."""

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ...systems import jacobian
from ...systems.system import WITHOUT_GRADIENTS
from ...tensors import identity

if TYPE_CHECKING:
    from ..control import Control


def tangent(f: Callable[[Tensor], Tensor], x: Tensor, dx: Tensor) -> Tensor:
    r"""The directional derivative :math:`\partial f / \partial x\; \delta x`, of all elements of a batch at once.

    By forward mode; if something in the function knows none, by the adjoint of its adjoint, which is linear.

    Args:
        f: The function.
        x: Where it is differentiated.
        dx: The direction, with the same shape.

    Returns:
        The derivative, with the shape of the value.

    Raises:
        ValueError: If the function passes no derivative on, or knows neither way.
    """
    try:
        with torch.no_grad(), forward_ad.dual_level():
            found = forward_ad.unpack_dual(f(forward_ad.make_dual(x.detach().contiguous(), dx.contiguous()))).tangent
    except NotImplementedError as error:
        return _adjoint_of_adjoint(f, x, dx, error)
    if found is None:
        raise ValueError(
            "tangent: the model or what is observed of it passes no derivative on, as functions outside torch do; "
            f"write it in torch, or choose a method that needs no gradients, {WITHOUT_GRADIENTS}"
        )
    return found


def _adjoint_of_adjoint(f: Callable[[Tensor], Tensor], x: Tensor, dx: Tensor, reason: Exception) -> Tensor:
    """The directional derivative by two adjoints."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        y = f(x)
        weight = torch.zeros_like(y, requires_grad=True)
        (gradient,) = torch.autograd.grad(y, x, weight, create_graph=True)
        try:
            return torch.autograd.grad(gradient, weight, dx)[0]
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(
                f"tangent: a function has no forward mode ({str(reason).splitlines()[0]}), and its adjoint cannot be "
                "differentiated; give its torch.autograd.Function a jvp"
            ) from error


def chain(control: "Control", u: Tensor, states: int) -> tuple[Tensor, Tensor]:
    r"""The residual and its derivative, from the tangents of all steps, taken in one batch, then chained.

    No loop over sites or members.

    Args:
        control: The control.
        u: Where it is linearised, with shape ``(*batch, case, size)``.
        states: The number of states of the window that count.

    Returns:
        The residual, with shape ``(*batch, case, rows)``, and its derivative, ``(*batch, case, rows, size)``.
    """
    problem, axis = control.problem, u.ndim - 1
    x = control.trajectory(u, states)
    h, slope = jacobian(problem.observation.operator, x, len(problem.shape), len(problem.observation.shape))
    precision = control.precision[:, :states].flatten(2)
    residual = (h.flatten(axis + 1) - control.y[:, :states].flatten(2)) * precision
    slope = slope * precision.unsqueeze(-1)

    # Columns: what each entry of the control does to the state, and to the whitened parameters.
    state = jacobian(lambda u: control.initial(u).flatten(axis), u, 1)[1]
    rows = [slope.select(axis, 0) @ state]
    if states > 1:
        # The tangents take every step a second time.
        control.model_steps += (states - 1) * prod(u.shape[:-2])
        steps = step_jacobian(control, u, x.narrow(axis, 0, states - 1))
        rest = jacobian(control.whitened_parameters, u, 1)[1] if problem.parameters else state[..., :0, :]
        errors = None
        if control.error_root is not None:
            errors = jacobian(lambda u: cast(Tensor, control.errors(u)).flatten(axis), u, 1)[1]
            errors = errors.unflatten(axis, (-1, control.states))
        for t in range(states - 1):
            state = steps.select(axis, t) @ torch.cat((state, rest), dim=-2)
            if errors is not None:
                state = state + errors.select(axis, t)
            rows.append(slope.select(axis, t + 1) @ state)
    control.gradients += control.size * prod(u.shape[:-2])
    return residual.flatten(-2), torch.cat(rows, dim=-2)


def basis(u: Tensor) -> Tensor:
    """A direction for each entry of a control, with shape ``(size, *batch, case, size)``."""
    size = u.shape[-1]
    return identity(u, size).reshape(size, *([1] * (u.ndim - 1)), size).expand(size, *u.shape)


def step_jacobian(control: "Control", u: Tensor, x: Tensor) -> Tensor:
    r"""The tangents :math:`\partial M(x_t; f(v)) / \partial (x_t, v)` of the steps from states of each control.

    Args:
        control: The control.
        u: The controls, with shape ``(*batch, case, size)``.
        x: The states, with shape ``(*batch, case, steps, *shape)``.

    Returns:
        The matrices, with shape ``(*batch, case, steps, entries, entries + parameters)``.
    """
    problem, entries = control.problem, control.states
    if not x.numel():
        return x.new_zeros(*x.shape[: u.ndim], entries, entries + len(problem.parameters))
    v = control.whitened_parameters(u).unsqueeze(-2).expand(*x.shape[: u.ndim], -1)
    times = control.times(x.shape[u.ndim - 1])

    def step(z: Tensor) -> Tensor:
        """One step of the state, with the whitened parameters beside it."""
        state = z[..., :entries].unflatten(-1, problem.shape)
        moved = problem.system_at(problem.decode_parameters(z[..., entries:]), times).advance(state, 1)
        return moved.flatten(-len(problem.shape))

    return jacobian(step, torch.cat((x.flatten(u.ndim), v), dim=-1), 1)[1]
