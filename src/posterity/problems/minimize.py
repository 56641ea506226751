"""Batched minimisation of the 4DVAR cost."""

from itertools import repeat

import torch
from torch import Tensor

from ..errors import check_part
from .control import Control
from .linearized.minimum import Minimum
from .linearized.model import LinearModel, selected
from .linearized.solvers import Cholesky, Solver, solver_of


def minimize(
    control: Control,
    iterations: int = 50,
    increment: int = 3,
    tolerance: float = 1e-5,
    restarts: int = 8,
    perturbations: int = 0,
    solver: Solver | None = None,
) -> Minimum:
    r"""Minimises the 4DVAR cost of every case from the background, with restarts where the minimum is implausibly high.

    With :math:`m` observations, twice the cost at the minimum is :math:`\chi^2_m` distributed over draws of the joint,
    if the problem is linear and Gaussian. A minimum above the mean of that by five standard deviations,
    :math:`m / 2 + 5 \sqrt{m / 2}`, is a local one of negligible posterior mass (or the data come from another problem):
    such a case starts again from a draw of the prior, keeps the lower minimum, and does so until it is plausible, or
    until another start has reproduced its minimum: then it is the data that are implausible. A case that diverged from
    the background already is left alone.

    Args:
        control: The control.
        iterations: As for :func:`levenberg_marquardt`, as are ``increment`` and ``tolerance``.
        increment: See there.
        tolerance: See there.
        restarts: The most prior draws from which an implausible case starts again.
        perturbations: How often noise was added to backgrounds and observations on top of their own; each time adds
            as much again to the cost of the minimum.
        solver: As for :func:`levenberg_marquardt`.

    Returns:
        The minima.
    """
    minimum = levenberg_marquardt(control, control.zero(), iterations, increment, tolerance, solver)
    plausible = (1 + perturbations) * highest_plausible(control)
    # Draws of a generator of their own: a case that starts again changes no other's random numbers.
    generator = torch.Generator(plausible.device).manual_seed(0)

    def restart(part: Control, cases: Tensor) -> Minimum:
        shape, like = (control.cases, control.size), minimum.u
        draw = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)[cases]
        return levenberg_marquardt(part, draw, iterations, increment, tolerance, solver)

    return minimum.retried(control, plausible, repeat(restart, restarts), tolerance)


def highest_plausible(control: Control) -> Tensor:
    r"""The cost :math:`m / 2 + 5 \sqrt{m / 2}` of each case's :math:`m` observations, with shape ``(case,)``.

    A minimum above it is implausible, see :func:`minimize`.
    """
    half = 0.5 * control.observed.flatten(1).sum(dim=-1, dtype=control.y.dtype)
    return half + 5 * half.sqrt()


def levenberg_marquardt(
    control: Control,
    u: Tensor,
    iterations: int = 50,
    increment: int = 3,
    tolerance: float = 1e-5,
    solver: Solver | None = None,
) -> Minimum:
    r"""Minimises the 4DVAR cost of every case by quasi-static Levenberg–Marquardt.

    Each iteration solves :math:`(\nabla^2_{GN} J + \lambda I)\, \delta u = -\nabla J` and accepts the step if the
    cost falls; the damping follows the gain ratio. The window grows by ``increment`` states at a time, each
    minimum being the next start, so that long windows of chaotic systems do not trap the minimisation in a far
    local minimum. Cases move on their own, and a case that diverges keeps its last finite control.

    A solver that iterates stops where what is left of the gradient is a fraction of it that falls as fast as gradients
    do from step to step (Eisenstat & Walker), or too small to matter for the tolerance.

    Args:
        control: The control.
        u: Where to start, with shape ``(case, size)``.
        iterations: The most iterations on the full window; each shorter one gets no more, and at most three.
        increment: The number of states by which the window grows.
        tolerance: A case has converged when its predicted decrease is below ``tolerance * (1 + cost)``.
        solver: How steps are solved for; as suits the size of the control if omitted.

    Returns:
        The minima.

    References:
        | Advancing the quasi-static variational assimilation (Pires, Vautard & Talagrand, 1996),
          https://doi.org/10.1034/j.1600-0870.1996.00006.x
        | Damping parameter in Marquardt's method (Nielsen, 1999), IMM-REP-1999-05
        | Choosing the forcing terms in an inexact Newton method (Eisenstat & Walker, 1996),
          https://doi.org/10.1137/0917003
    """
    solver = solver_of(control) if solver is None else solver
    window = control.problem.window
    counts = u.new_zeros(control.cases)
    trace = []
    converged = u.new_zeros(control.cases, dtype=torch.bool)

    for states in [*range(increment, window, increment), window]:
        final = states == window
        model, reached = solver.evaluate(control, u, states), torch.zeros_like(converged)
        lost = torch.isinf(model.cost).nonzero().squeeze(-1)
        if final and len(lost):
            # A start that diverges over the full window falls back to the background.
            u = u.index_fill(0, lost, 0)
            with selected(control, lost) as part:
                model = model.put(lost, solver.evaluate(part, u[lost], states))
        trace.append(model.cost)
        damping, growth = torch.full_like(model.cost, 1e-3), torch.full_like(model.cost, 2.0)
        forcing = torch.full_like(model.cost, 0.5)
        for _ in range(iterations if final else min(3, iterations)):
            active = (~reached & model.cost.isfinite()).nonzero().squeeze(-1)
            if not len(active):
                break
            here = model.take(active)
            decrease = tolerance * (1 + here.cost)
            slope = torch.linalg.vector_norm(here.gradient, dim=-1)
            # A tenth of the square root: a hundredth of the decrease that counts as none.
            accuracy = torch.maximum(forcing[active] * slope, 0.1 * (2 * decrease).sqrt())
            with selected(control, active) as part:
                step = solver.solve(part, u[active], states, here, damping[active], accuracy)
                trial = u[active] + step.du
                there = solver.evaluate(part, trial, states)

            better = there.cost < here.cost
            ratio = ((here.cost - there.cost) / step.predicted).nan_to_num(nan=-1.0)
            softer = damping[active] * (1 - (2 * ratio - 1) ** 3).clamp(1 / 3, 2)
            damping[active] = torch.where(better, softer, damping[active] * growth[active])
            growth[active] = torch.where(better, 2.0, 2 * growth[active])
            fall = (torch.linalg.vector_norm(there.gradient, dim=-1) / slope).nan_to_num(nan=1.0)
            forcing[active] = torch.where(better, (0.9 * fall.square()).clamp(max=0.5), forcing[active])
            # What was found is small, and what may have been missed is not: the next solve is to tell.
            unsure = (step.predicted <= decrease) & (step.predicted + step.missed > decrease)
            forcing[active] = torch.where(unsure, 0.1 * forcing[active], forcing[active])
            moved = active[better]
            u = u.index_copy(0, moved, trial[better])
            model = model.put(moved, there.take(better))
            reached[active] = step.predicted + step.missed <= decrease
            counts[active] += 1
            trace.append(model.cost)
        converged = reached
    return Minimum(u, model.cost, LinearModel(control, u, window, model), counts, converged, torch.stack(trace, dim=-1))


def check_options(
    iterations: int, increment: int, tolerance: float, restarts: int, solver: Solver | None = None
) -> None:
    """Checks the options of :func:`minimize`: positive lengths and tolerance, restarts of zero or more, a solver."""
    if iterations < 1:
        raise ValueError(f"iterations: at least one is needed, not {iterations}")
    if increment < 1:
        raise ValueError(f"increment: the window grows by at least one state, not {increment}")
    if tolerance <= 0:
        raise ValueError(f"tolerance: must be positive, not {tolerance}")
    if restarts < 0:
        raise ValueError(f"restarts: must not be negative, not {restarts}")
    if solver is not None:
        check_part("solver", solver, Solver, Cholesky)


def check_eigenpairs(eigenpairs: int) -> None:
    """Checks a number of eigenpairs, of which there must be some."""
    if eigenpairs < 1:
        raise ValueError(f"eigenpairs: at least one is needed, not {eigenpairs}")
