"""Importance sampling with the prior as proposal."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...problems import Control, Ensemble, Posterior, Problem, Window, chunks, decode_ensemble, replace_failed
from ...problems.linearized.model import selected
from ...problems.resampling import effective_sample_size, normalise_weights, systematic_resampling, take
from ...tensors import append_dims, own_random_numbers, white_noise


@dataclass(frozen=True)
class PriorImportanceSampling(Posterior):
    r"""Importance sampling with the prior as proposal (direct posterior estimation):

    .. math:: x_i \sim p(x | x_b), \qquad w_i \propto p(y | x_i) .

    Exact in the limit of many draws; the effective sample size :math:`1 / \sum_i w_i^2` of each case, in
    ``info["ess"]``, says how far from it the answer is: near 1, all samples are copies of one draw. Targets
    :math:`p(x_{0:T+F} | y, x_b)`, under the background joint with the Gaussian prior of the background. Under the
    climatology joint, or without a background, the prior draws are of the system's ensemble at the time at which the
    window starts, and a background is one more observation. All such cases share one ensemble.

    Args:
        problem: The problem.
        draws: The number of prior draws per case.
    """

    problem: Problem
    draws: int = 100_000

    def __post_init__(self) -> None:
        """Checks that there is a draw."""
        if self.draws < 1:
            raise ValueError(f"draws: at least one is needed, not {self.draws}")

    @property
    def distinct(self) -> int:
        """The number of draws from the prior."""
        return self.draws

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Resamples the weighted prior draws of each case, systematically."""
        free = window.free
        if self.problem.joint == "climatology" or free.all():
            return self._from_climatology(window, samples)
        around = append_dims(free, window.background.ndim - 1)
        known = window._replace(
            background=torch.where(around, 0, window.background),
            background_std=torch.where(around, 1, window.background_std),
        )
        found = self._from_background(known, samples)
        with own_random_numbers():
            if not free.any():
                return found
            other = self._from_climatology(window.select(free), samples)
        which = free.nonzero().squeeze(-1)
        return Ensemble(
            found.x.index_copy(1, which, other.x),
            found.theta.index_copy(1, which, other.theta),
            found.steps,
            {name: value.index_copy(0, which, other.info[name].to(value)) for name, value in found.info.items()},
        )

    def _from_background(self, window: Window, samples: int) -> Ensemble:
        """Weights draws around the background of each case."""
        control = Control(self.problem, window)
        kept, ess = [], []
        for cases in chunks(control.cases, self.draws * control.size, window.y.device):
            with selected(control, cases) as part:
                u = part.prior(self.draws)
                log_weights = -torch.cat([part.misfit(u[chunk]) for chunk in part.chunks(self.draws)])
            index, size = self._resampled(log_weights, samples)
            kept.append(take(u, index))
            ess.append(size)
        return decode_ensemble(control, torch.cat(kept, dim=1), {"ess": torch.cat(ess)})

    def _from_climatology(self, window: Window, samples: int) -> Ensemble:
        """Weights one ensemble, which is advanced once from the start of the first window to that of the last."""
        problem = self.problem
        v = white_noise(window.start, self.draws, len(problem.parameters))
        theta = problem.decode_parameters(v)
        system = problem.system_at(theta)
        state = problem.initial(system, (self.draws,), window.start)
        x = state.new_empty(samples, len(window.y), problem.steps, *problem.shape)
        drawn = theta.new_empty(samples, len(window.y), theta.shape[-1])
        ess = state.new_empty(len(window.y), dtype=torch.double)
        now = 0
        for start in window.start.unique().tolist():
            state, now = system.at(now).advance(state, int(start) - now), int(start)
            here = (window.start == start).nonzero().flatten()
            errors = problem.draw_errors(state, self.draws, problem.steps - 1)
            ensemble = system.at(start).rollout(state, problem.steps - 1, errors)
            index, ess[here] = self._resampled(self._log_likelihood(window, ensemble, here), samples)
            x[:, here], drawn[:, here] = ensemble[index], theta[index]
        x, drawn, _, failed = replace_failed(x, drawn, None)
        steps = ess.new_full(ess.shape, self.draws * (problem.steps - 1)) + self.draws * window.start
        info = {"ess": ess, "failed": failed, "model_steps": steps, "gradients": torch.zeros_like(ess)}
        return Ensemble(x, drawn, range(problem.steps), info)

    def _log_likelihood(self, window: Window, x: Tensor, cases: Tensor) -> Tensor:
        """The log-likelihood of trajectories in some of the cases, with shape ``(draws, case)``."""
        seen = x[:, : self.problem.window].unsqueeze(1)
        y, std = window.y[cases], window.std[cases]
        values = [
            self.problem.observation.log_prob(y[chunk], seen, std[chunk])
            for chunk in chunks(len(cases), seen.numel(), x.device)
        ]
        log_likelihood = torch.cat(values, dim=1)
        if self.problem.joint == "background":
            return log_likelihood
        given = window.select(cases)
        off = self.problem.background_root(given).inverse(seen[:, :, 0] - given.background)
        misfit = torch.where(append_dims(given.free, off.ndim - 2), 0, off)
        return log_likelihood - 0.5 * misfit.flatten(2).square().sum(dim=-1)

    def _resampled(self, log_weights: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Which draws each case keeps, with shape ``(samples, case)``, and its effective sample size."""
        log_weights = log_weights.double().nan_to_num(nan=-torch.inf)
        # A case whose every draw diverged keeps equal weights: its draws will be counted as failed.
        index = systematic_resampling(normalise_weights(log_weights), samples)[
            torch.randperm(samples, device=log_weights.device)
        ]
        return index, effective_sample_size(log_weights).nan_to_num(self.draws)
