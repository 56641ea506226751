"""Ensemble 4DVAR: the mode of perturbed problems."""

from dataclasses import dataclass

import torch

from ..problems import Control, Ensemble, Posterior, Problem, Window, ensemble
from .minimize import check_options, minimize


@dataclass(frozen=True)
class EnsembleFourDVar(Posterior):
    r"""Ensemble of 4DVAR (randomised maximum likelihood): each member minimises a perturbed cost,

    .. math::
        J_s(u) = \tfrac12 \|u - u_s\|^2 + \tfrac12 \sum_t \|H(x_t(u)) - y_t - \varepsilon_{s,t}\|^2_{R_t^{-1}},
        \quad u_s \sim N(0, I),\ \varepsilon_{s,t} \sim N(0, R_t) .

    Exact if the problem is linear and Gaussian; otherwise an approximation of :math:`p(x_{0:T+F} | y, x_b)`.
    Members and cases are minimised as one batch. A member of which the minimisation diverged is replaced.

    Args:
        problem: The problem.
        iterations: The most Levenberg–Marquardt iterations on the full window.
        increment: The number of states by which the window grows in quasi-static minimisation.
        tolerance: The relative decrease of the cost below which a member has converged.
        restarts: The most prior draws from which a member starts again if its minimum is implausibly high.

    References:
        | Ensemble variational assimilation as a probabilistic estimator (Jardak & Talagrand, 2018),
          https://doi.org/10.5194/npg-25-565-2018
    """  # noqa: D415

    problem: Problem
    iterations: int = 30
    increment: int = 3
    tolerance: float = 1e-4
    restarts: int = 8

    def __post_init__(self) -> None:
        """Refuses options that go nowhere."""
        check_options(self.iterations, self.increment, self.tolerance, self.restarts)

    @torch.no_grad()
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Minimises one perturbed problem for each draw."""
        control = Control(self.problem, window)

        def members(field: torch.Tensor) -> torch.Tensor:
            """Repeats a field of the window for each member, then flattens members and cases."""
            return field.expand(samples, *field.shape).flatten(0, 1)

        repeated = Window(*(members(field) for field in window))
        perturbed = repeated._replace(
            y=repeated.y + repeated.std * torch.randn_like(repeated.y),
            background=repeated.background + repeated.background_std * torch.randn_like(repeated.background),
        )
        batch = Control(self.problem, perturbed)
        minimum = minimize(batch, self.iterations, self.increment, self.tolerance, self.restarts, perturbations=1)

        # A control of the perturbed problem starts from the perturbed background: back to the window's own.
        shift = (perturbed.background - repeated.background) / repeated.background_std
        u = torch.where(minimum.cost.isfinite().unsqueeze(-1), minimum.u, torch.nan) + shift.flatten(1)

        def cases(field: torch.Tensor) -> torch.Tensor:
            """Unfolds members and cases."""
            return field.unflatten(0, (samples, control.cases))

        control.model_steps += cases(batch.model_steps).sum(dim=0)
        control.gradients += cases(batch.gradients).sum(dim=0)

        def average(field: torch.Tensor) -> torch.Tensor:
            """Averages over the members that did not diverge."""
            members = cases(field).to(minimum.cost)
            return torch.where(members.isfinite(), members, torch.nan).nanmean(dim=0)

        info = {
            "cost": average(minimum.cost),
            "iterations": average(minimum.iterations),
            "converged": average(minimum.converged),
            "objective": average(minimum.trace),
        }
        return ensemble(control, cases(u), info)
