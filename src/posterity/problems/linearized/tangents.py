"""Directional derivatives of functions, and those of trajectories: at once, or as a chain of those of their steps."""

from collections.abc import Callable
from typing import TYPE_CHECKING

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


def sensitivities(control: "Control", u: Tensor, states: int) -> tuple[Tensor, Tensor]:
    r"""The residual, and what each entry of the control does to it.

    Where the system has derivatives that need its states alone, one tangent carries all entries; else the tangents of
    all steps are taken in one batch, and then chained.

    Args:
        control: The control.
        u: Where it is linearised, with shape ``(*batch, case, size)``.
        states: The number of states of the window that count.

    Returns:
        The residual, with shape ``(*batch, case, rows)``, and its changes, ``(size, *batch, case, rows)``.
    """
    control.gradients += control.size * control.members(u)
    x = control.trajectory(u, states)
    # A chain knows that errors do nothing to earlier states; tangents of all entries do not.
    retraced = control.error_root is None and control.problem.system.retracer(u.device) is not None
    return (at_once if retraced else chain)(control, u, x)


def at_once(control: "Control", u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Residual and changes by one tangent of all entries, along the trajectory; see :func:`sensitivities`."""
    operator, axis = control.problem.observation.operator, u.ndim - 1
    precision = control.precision[:, : x.shape[axis]]
    residual = (operator(x) - control.y[:, : x.shape[axis]]) * precision
    dx = states_tangent(control, u, basis(u), x)
    changes = tangent(operator, x.expand_as(dx), dx) * precision
    return residual.flatten(axis), changes.flatten(axis + 1)


def states_tangent(control: "Control", u: Tensor, du: Tensor, path: Tensor) -> Tensor:
    """What directions do to a trajectory that is known, of a system without errors that can retrace it.

    Args:
        control: The control, whose states are a run of the model.
        u: Where it is linearised, with shape ``(*batch, case, size)``.
        du: The directions, with shape ``(directions, *batch, case, size)``.
        path: The trajectory, with shape ``(*batch, case, states, *shape)``.

    Returns:
        The changes, with shape ``(directions, *batch, case, states, *shape)``.
    """
    dx, dv, _ = control.directions(du)
    path = path.expand(len(du), *path.shape)

    def dual(x: Tensor, dx: Tensor) -> Tensor:
        return forward_ad.make_dual(x.expand_as(dx).contiguous(), dx.contiguous())

    # What is linear is not left to numbers that carry their derivative: theirs cost more than the model.
    with torch.no_grad(), forward_ad.dual_level():
        v = control.whitened_parameters(u)
        theta = control.problem.decode_parameters(dual(v, dv) if v.shape[-1] else v)
        system = control.problem.system_at(theta, control.window.start)
        moved = system.retrace(dual(path.select(u.ndim, 0), dx), path)
        return forward_ad.unpack_dual(moved).tangent


def chain(control: "Control", u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Residual and changes by the chain of the tangents of all steps; see :func:`sensitivities`."""
    problem, axis, states = control.problem, u.ndim - 1, x.shape[u.ndim - 1]
    h, slope = jacobian(problem.observation.operator, x, len(problem.shape), len(problem.observation.shape))
    precision = control.precision[:, :states].flatten(2)
    residual = (h.flatten(axis + 1) - control.y[:, :states].flatten(2)) * precision
    slope = slope * precision.unsqueeze(-1)

    # Columns: what each entry of the control does to the state, to the whitened parameters, and to the errors.
    first, rest, errors = control.directions(basis(u))
    state, rest = (value.flatten(axis + 1).movedim(0, -1) for value in (first, rest))
    rows = [slope.select(axis, 0) @ state]
    if states > 1:
        # The tangents take every step a second time.
        control.model_steps += (states - 1) * control.members(u)
        steps = step_jacobian(control, u, x.narrow(axis, 0, states - 1))
        for t in range(states - 1):
            state = steps.select(axis, t) @ torch.cat((state, rest), dim=-2)
            if errors is not None:
                state = state + errors.select(axis + 1, t).flatten(axis + 1).movedim(0, -1)
            rows.append(slope.select(axis, t + 1) @ state)
    return residual.flatten(-2), torch.cat(rows, dim=-2).movedim(-1, 0)


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
