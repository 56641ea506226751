"""Costs, gradients and Gauss–Newton matrices: by one sweep where the system has it, and else by torch's graph."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...systems import System
from ..observing.operators import Operator
from .tangents import basis, tangent

if TYPE_CHECKING:
    from ..control import Control


def descent(control: "Control", u: Tensor, states: int) -> tuple[Tensor, Tensor]:
    """The cost and its gradient, by a sweep back from the residual: what a sum of squares adds needs no graph.

    Args:
        control: The control.
        u: Where, with shape ``(*batch, case, size)``.
        states: The number of states of the window that count.

    Returns:
        The cost, with shape ``(*batch, case)``, infinite where the model diverged, and the gradient, NaN there.
    """
    control.gradients += control.members(u)
    u = u.detach()
    found = control.swept(u, states, gradient=True)
    if found is None:
        leaf, residual = residual_graph(control, u, states)
        (gradient,) = torch.autograd.grad(residual, leaf, residual.detach())
        cost = 0.5 * residual.detach().square().sum(dim=-1)
    else:
        cost, gradient = found
    with torch.no_grad():
        if control.white:
            cost, gradient = 0.5 * u.square().sum(dim=-1) + cost, gradient + u
        cost = cost.nan_to_num(nan=torch.inf, posinf=torch.inf)
        return cost, torch.where(cost.isfinite().unsqueeze(-1), gradient, torch.nan)


def residual_graph(control: "Control", u: Tensor, states: int) -> tuple[Tensor, Tensor]:
    """A copy of a control that asks for gradients, and its residual."""
    with torch.enable_grad():
        leaf = u.detach().clone().requires_grad_()
        return leaf, control.residual(leaf, states)


@torch.no_grad()
def misfit(control: "Control", u: Tensor, states: int, gradient: bool) -> tuple[Tensor, Tensor] | None:
    """The observation cost and its gradient by the sweep of a system that has one; see :meth:`.Control.swept`."""
    problem, seen = control.problem, _seen(control, states)
    found = control.system(u).misfit(control.initial(u), *seen, control.errors(u), gradient)
    if found is None:
        return None
    control.model_steps += (states - 1) * control.members(u)
    if not gradient:
        return found.cost, u.new_empty(0)
    # The state is affine in the control, but for the parameters.
    back = [control.background_root.transpose(found.x0).flatten(u.ndim - 1)]
    if problem.parameters:
        with torch.enable_grad():
            v = control.whitened_parameters(u).requires_grad_()
            theta = problem.decode_parameters(v)
        back += torch.autograd.grad(theta, v, torch.stack([found.theta[name] for name in problem.parameters], dim=-1))
    if control.error_root is not None and found.error is not None:
        errors = control.error_root.transpose(found.error).flatten(u.ndim - 1)
        # Errors behind the last of the states do nothing.
        back += [errors, u.new_zeros(*u.shape[:-1], u.shape[-1] - control.known - errors.shape[-1])]
    return found.cost, torch.cat(back, dim=-1)


def gauss_newton(control: "Control", u: Tensor, states: int) -> Tensor | None:
    """The products of residual and changes, by the sweep of a system without errors that has one; None elsewhere.

    Args:
        control: The control, whose prior is white.
        u: Where it is linearised, with shape ``(*batch, case, size)``.
        states: The number of states of the window that count.

    Returns:
        The products of each change, and behind them the residual, with each; ``(*batch, case, size + 1, size + 1)``.
    """
    # Before directions are made of all entries, which may take as long as a step.
    if control.error_root is not None or type(control.problem.system).gauss_newton is System.gauss_newton:
        return None
    dx, dv, _ = control.directions(basis(u))
    problem, v, dtheta = control.problem, control.whitened_parameters(u), dict[str, Tensor]()
    if problem.parameters:
        changes = tangent(problem.decode_parameters, v.expand_as(dv), dv)
        dtheta = dict(zip(problem.parameters, changes.unbind(dim=-1), strict=True))
    found = control.system(u).gauss_newton(control.initial(u), dx, dtheta, *_seen(control, states))
    if found is not None:
        control.gradients += control.size * control.members(u)
        control.model_steps += (states - 1) * control.members(u)
    return found


def _seen(control: "Control", states: int) -> tuple[Tensor, Tensor, Operator]:
    """What is seen of the first states, the factors of misfits, and what sees them."""
    return control.y[:, :states], control.precision[:, :states], control.problem.observation.operator
