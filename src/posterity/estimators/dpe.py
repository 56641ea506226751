"""Direct posterior estimation: weighted draws of the prior."""

from dataclasses import dataclass

import torch

from ..problems import Control, Ensemble, Posterior, Problem, Window, chunks, ensemble
from ..problems.resampling import effective_size, normalise, systematic, take


@dataclass(frozen=True)
class DirectPosterior(Posterior):
    r"""Direct posterior estimation: prior draws resampled by their likelihood,

    .. math:: u_i \sim N(0, I), \qquad w_i \propto p(y | x(u_i)) = \exp(-J_o(u_i)) .

    Exact in the limit of many draws; the effective sample size :math:`1 / \sum_i w_i^2` of each case, in
    ``info["ess"]``, says how far from it the answer is: near 1, all samples are copies of one draw. Targets
    :math:`p(x_{0:T+F} | y, x_b)` with the Gaussian prior of the background.

    Args:
        problem: The problem.
        draws: The number of prior draws per case.
    """  # noqa: D415

    problem: Problem
    draws: int = 100_000

    def __post_init__(self) -> None:
        """Refuses to weigh nothing."""
        if self.draws < 1:
            raise ValueError(f"draws: at least one is needed, not {self.draws}")

    @torch.no_grad()
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Resamples the weighted prior draws of each case, systematically."""
        control = Control(self.problem, window)
        kept, ess = [], []
        for cases in chunks(control.cases, self.draws * control.size, window.y.device):
            part = control.select(cases)
            u = part.prior(self.draws)
            log_weights = -torch.cat([part.misfit(u[piece]) for piece in part.pieces(self.draws)]).double()
            control.absorb(part, cases)
            # A case whose every draw diverged keeps equal weights: its draws will be counted as failed.
            index = systematic(normalise(log_weights), samples)[torch.randperm(samples)]
            kept.append(take(u, index))
            ess.append(effective_size(log_weights).nan_to_num(self.draws))
        return ensemble(control, torch.cat(kept, dim=1), {"ess": torch.cat(ess)})
