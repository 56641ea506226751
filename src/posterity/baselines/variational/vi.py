"""VI-4DVAR: variational inference over the 4DVAR control."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ...errors import check_part
from ...problems import Ensemble, Joint, Posterior, Problem, Window, decode_ensemble
from .families import Family, Full
from .optimizers import NaturalGradient, Optimizer, enough, moment_matched_noise, negative_elbo


@dataclass(frozen=True)
class VariationalInference(Posterior):
    r"""VI-4DVAR: the member of a family that is closest to the posterior,

    .. math::
        q^* = \arg\min_{q \in \mathcal Q} E_q[J(u)] - \mathbb H[q]
            = \arg\min_{q \in \mathcal Q} \mathrm{KL}(q \,\|\, p(u | y)) .

    The theory is that of :mod:`~posterity.baselines.variational`. With the full family it is exact if the problem is
    linear and Gaussian; a mean-field Gaussian then has the posterior's mean, and the variances
    :math:`1 / (\Sigma^{-1})_{ii}`. Targets :math:`p(x_{0:T+F} | y, x_b)` with the Gaussian prior of the background.

    Args:
        problem: The problem.
        family: The family :math:`\mathcal Q`.
        optimizer: How the bound is optimised.

    References:
        | VI-4DVAR: Data Assimilation as Variational Inference (Filoche & Béréziat, 2023),
          https://github.com/ArFiloche/VI-4DVAR
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True
    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    problem: Problem
    family: Family = field(default_factory=Full)
    optimizer: Optimizer = field(default_factory=NaturalGradient)

    def __post_init__(self) -> None:
        """Checks that family and optimiser are components."""
        check_part("family", self.family, Family, Full)
        check_part("optimizer", self.optimizer, Optimizer, NaturalGradient)

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the fitted Gaussian of each case."""
        control = self.family.control(self.problem, window)
        gaussian, trace = self.optimizer.fit(control, self.family)
        q, refinement = self.family.refine(control, gaussian)
        u = q.draw(control.noise(samples))[0].to(window.background)
        # Traces leave out the normaliser of the density; with it the objective is minus the bound itself.
        normalizer = control.log_normalizer()
        # The trace is of the densities on the way, from few draws: the one returned gets its own estimate.
        noise = moment_matched_noise(control, enough(control)).to(window.background)
        bound = -negative_elbo(control, q, noise) - normalizer
        objective = torch.cat((trace, refinement), dim=-1) + normalizer.unsqueeze(-1)
        return decode_ensemble(control, u, {"objective": objective, "elbo": bound})
