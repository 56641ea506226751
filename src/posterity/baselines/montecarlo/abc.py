"""Approximate Bayesian computation by rejection."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...problems import Control, Ensemble, Joint, Posterior, Problem, Window, decode_ensemble
from ...problems.resampling import take


@dataclass(frozen=True)
class RejectionABC(Posterior):
    r"""Rejection approximate Bayesian computation: prior draws whose observation cost :math:`J_o` is lowest.

    Draws ``trials`` controls from :math:`N(0, I)` and keeps the ``fraction`` of them that fits best, which
    targets :math:`p(u) \, \mathbb 1[J_o(u) \leq \epsilon]` with :math:`\epsilon` the kept quantile. The
    background counts once, as the prior that the draws come from. No noise is added to the simulated
    observations, so a small :math:`\epsilon` tends to :math:`p(u | H(x) = y)`, narrower than :math:`p(u | y)`: the
    threshold stands in for the noise.

    Args:
        problem: The problem.
        trials: The number of prior draws per case.
        fraction: The fraction of them that is kept.

    References:
        | Approximate Bayesian Computation in Population Genetics (Beaumont, Zhang & Balding, 2002),
          https://doi.org/10.1093/genetics/162.4.2025
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True

    problem: Problem
    trials: int = 100_000
    fraction: float = 0.001

    def __post_init__(self) -> None:
        """Checks that the fraction keeps at least one trial."""
        if not 0 < self.fraction <= 1 or round(self.trials * self.fraction) < 1:
            raise ValueError(f"fraction: {self.fraction} of {self.trials} trials keeps none; raise one of them")

    @property
    def distinct(self) -> int:
        """The number of trials that are kept."""
        return round(self.trials * self.fraction)

    def check_samples(self, samples: int) -> None:
        """Checks that as many trials are kept."""
        if samples > self.distinct:
            raise ValueError(
                f"samples: {samples} asked of the {self.distinct} that ABC keeps "
                f"({self.fraction:g} of {self.trials} trials); raise trials or fraction, or ask for fewer"
            )

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws without replacement from the kept trials of each case."""
        kept = self.distinct
        control = Control(self.problem, window)
        # The running best are merged with each new chunk, so memory does not grow with the number of trials.
        best_u, best_cost = control.prior(0), window.y.new_empty(0, control.cases)
        for chunk in control.chunks(self.trials):
            u = control.prior(chunk.stop - chunk.start)
            best_u, cost = torch.cat((best_u, u)), torch.cat((best_cost, control.misfit(u)))
            best_cost, index = cost.topk(min(kept, len(cost)), dim=0, largest=False)
            best_u = take(best_u, index)
        chosen = torch.randperm(kept, device=best_u.device)[:samples]
        return decode_ensemble(control, best_u[chosen], {"cost": best_cost.mean(dim=0), "threshold": best_cost[-1]})
