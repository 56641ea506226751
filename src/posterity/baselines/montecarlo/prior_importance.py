"""Importance sampling with the prior as proposal."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...problems import Control, Ensemble, Posterior, Problem, Window, chunks, decode_ensemble
from ...problems.resampling import effective_sample_size, normalise_weights, systematic_resampling, take


@dataclass(frozen=True)
class PriorImportanceSampling(Posterior):
    r"""Importance sampling with the prior as proposal (direct posterior estimation):

    .. math:: x_i \sim p(x | x_b), \qquad w_i \propto p(y | x_i) .

    Exact in the limit of many draws; the effective sample size :math:`1 / \sum_i w_i^2` of each case, in
    ``info["ess"]``, says how far from it the answer is: near 1, all samples are copies of one draw. Targets
    :math:`p(x_{0:T+F} | y, x_b)` with the Gaussian prior of the background; without one :math:`p(x_{0:T+F} | y)`, with
    draws of the system's ensemble at the time at which the window starts. All cases then share one ensemble.

    Args:
        problem: The problem.
        draws: The number of prior draws per case.
    """

    problem: Problem
    draws: int = 100_000

    def __post_init__(self) -> None:
        """Checks that there is a draw."""
        super().__post_init__()
        if self.draws < 1:
            raise ValueError(f"draws: at least one is needed, not {self.draws}")

    @property
    def distinct(self) -> int:
        """The number of draws from the prior."""
        return self.draws

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Resamples the weighted prior draws of each case, systematically."""
        if window.background.isnan().any():
            return self._from_climatology(window, samples)
        control = Control(self.problem, window)
        kept, ess = [], []
        for cases in chunks(control.cases, self.draws * control.size, window.y.device):
            part = control.select(cases)
            u = part.prior(self.draws)
            log_weights = -torch.cat([part.misfit(u[chunk]) for chunk in part.chunks(self.draws)])
            control.absorb(part, cases)
            index, size = self._resampled(log_weights, samples)
            kept.append(take(u, index))
            ess.append(size)
        return decode_ensemble(control, torch.cat(kept, dim=1), {"ess": torch.cat(ess)})

    def _from_climatology(self, window: Window, samples: int) -> Ensemble:
        """Weights one ensemble, which is advanced once from the start of the first window to that of the last."""
        problem = self.problem
        v = torch.randn(self.draws, len(problem.parameters))
        theta = problem.decode_parameters(v)
        system = problem.system_at(theta)
        state = system.initial((self.draws,))
        x = state.new_empty(samples, len(window.y), problem.steps, *problem.shape)
        drawn = theta.new_empty(samples, len(window.y), theta.shape[-1])
        ess = state.new_empty(len(window.y), dtype=torch.double)
        now = 0
        for start in window.start.unique().tolist():
            state, now = system.advance(state, int(start) - now), int(start)
            here = (window.start == start).nonzero().flatten()
            ensemble = system.rollout(state, problem.steps - 1, self._errors())
            index, ess[here] = self._resampled(self._log_likelihood(window, ensemble, here), samples)
            x[:, here], drawn[:, here] = ensemble[index], theta[index]
        return Ensemble(x, drawn, range(problem.steps), {"ess": ess})

    def _errors(self) -> Tensor | None:
        """Draws the model errors of the ensemble's trajectories; None under the strong constraint."""
        problem = self.problem
        if not problem.weak:
            return None
        return problem.error_std() * torch.randn(self.draws, problem.steps - 1, *problem.shape)

    def _log_likelihood(self, window: Window, x: Tensor, cases: Tensor) -> Tensor:
        """The log-likelihood of trajectories in some of the cases, with shape ``(draws, case)``."""
        seen = x[:, : self.problem.window].unsqueeze(1)
        y, std = window.y[cases], window.std[cases]
        values = [
            self.problem.observation.log_prob(y[chunk], seen, std[chunk])
            for chunk in chunks(len(cases), seen.numel(), x.device)
        ]
        return torch.cat(values, dim=1)

    def _resampled(self, log_weights: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Which draws each case keeps, with shape ``(samples, case)``, and its effective sample size."""
        log_weights = log_weights.double()
        # A case whose every draw diverged keeps equal weights: its draws will be counted as failed.
        index = systematic_resampling(normalise_weights(log_weights), samples)[torch.randperm(samples)]
        return index, effective_sample_size(log_weights).nan_to_num(self.draws)
