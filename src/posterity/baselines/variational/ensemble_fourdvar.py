"""Ensemble 4DVAR: the minima of perturbed problems."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ...problems import Control, Ensemble, Joint, Posterior, Problem, Window, decode_ensemble
from ...problems.linearized.solvers import Solver, solver_of
from ...problems.minimize import check_options, minimize


class PerturbedControl(Control):
    r"""Control of a perturbed problem, :math:`u = z + u_s`, with the cost of :math:`z`:

    .. math:: J_s(z) = \tfrac12 \|z\|^2 + J_o(z + u_s) .

    Args:
        problem: The problem.
        window: The windows, with one batch dimension ``case``.
        perturbation: The perturbations :math:`u_s`, with shape ``(case, size)``.
    """

    def __init__(self, problem: Problem, window: Window, perturbation: Tensor) -> None:
        super().__init__(problem, window)
        self.perturbation = perturbation

    def select(self, index: Tensor | slice) -> Self:
        """The control of some of the cases, with its own count of work."""
        return type(self)(self.problem, self.window.select(index), self.perturbation[index])

    def initial(self, u: Tensor) -> Tensor:
        """The initial states, from controls without their perturbations."""
        return super().initial(u + self.perturbation)

    def whitened_parameters(self, u: Tensor) -> Tensor:
        """The whitened unknown parameters, from controls without their perturbations."""
        return super().whitened_parameters(u + self.perturbation)

    def errors(self, u: Tensor) -> Tensor | None:
        """The model errors, from controls without their perturbations."""
        return super().errors(u + self.perturbation)


@dataclass(frozen=True)
class EnsembleFourDVar(Posterior):
    r"""Ensemble of 4DVAR (randomised maximum likelihood): each member minimises a perturbed cost,

    .. math::
        J_s(u) = \tfrac12 \|u - u_s\|^2 + \tfrac12 \sum_t \|H(x_t(u)) - y_t - \varepsilon_{s,t}\|^2_{R_t^{-1}},
        \quad u_s \sim N(0, I),\ \varepsilon_{s,t} \sim N(0, R_t) .

    Exact if the problem is linear and Gaussian (see :mod:`~posterity.baselines.variational`); otherwise an
    approximation of :math:`p(x_{0:T+F} | y, x_b)`. Members and cases are minimised as one batch. A member of which the
    minimisation diverged is replaced.

    Args:
        problem: The problem.
        iterations: The most Levenberg–Marquardt iterations on the full window.
        increment: The number of states by which the window grows in quasi-static minimisation.
        tolerance: The relative decrease of the cost below which a member has converged.
        restarts: The most prior draws from which a member starts again if its minimum is implausibly high.
        solver: How steps are solved for; by matrices for few members of small controls and products else if omitted.

    References:
        | Ensemble variational assimilation as a probabilistic estimator (Jardak & Talagrand, 2018),
          https://doi.org/10.5194/npg-25-565-2018
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True
    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    problem: Problem
    iterations: int = 30
    increment: int = 3
    tolerance: float = 1e-4
    restarts: int = 8
    solver: Solver | None = None

    def __post_init__(self) -> None:
        """Checks the options of the minimisation."""
        check_options(self.iterations, self.increment, self.tolerance, self.restarts, self.solver)

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Minimises one perturbed problem for each draw."""
        control = Control(self.problem, window)
        # Members and cases are one batch of windows, each with its own perturbations.
        repeated = Window(*(field.expand(samples, *field.shape).flatten(0, 1) for field in window))
        noisy = repeated._replace(y=repeated.y + repeated.std * torch.randn_like(repeated.y))
        batch = PerturbedControl(self.problem, noisy, control.prior(samples).flatten(0, 1))
        solver = self.solver or solver_of(control, samples)
        minimum = minimize(
            batch, self.iterations, self.increment, self.tolerance, self.restarts, perturbations=1, solver=solver
        )
        u = torch.where(minimum.cost.isfinite().unsqueeze(-1), minimum.u, torch.nan) + batch.perturbation

        def cases(field: Tensor) -> Tensor:
            """Unfolds members and cases."""
            return field.unflatten(0, (samples, control.cases))

        control.model_steps += cases(batch.model_steps).sum(dim=0)
        control.gradients += cases(batch.gradients).sum(dim=0)

        def average(field: Tensor) -> Tensor:
            """Averages over the members that did not diverge."""
            members = cases(field).to(minimum.cost)
            return torch.where(members.isfinite(), members, torch.nan).nanmean(dim=0)

        return decode_ensemble(control, cases(u), {name: average(value) for name, value in minimum.info.items()})
