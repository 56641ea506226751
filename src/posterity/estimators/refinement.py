"""Refinement: from draws of a trained density to draws of the posterior itself."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..mcmc import FIRST_STEP, Chains, Particles, convergence, evaluate, preconditioner
from ..mcmc.weights import FEWEST, check_draws, resample
from ..problems import Control, Ensemble, Posterior, Window, decode_ensemble, refill
from ..problems.resampling import take
from .estimator import DensityEstimator
from .target import ControlTarget


class Refinement(abc.ABC):
    r"""A way from a density :math:`q(u | y)` near the posterior to :math:`p(u | y) \propto e^{-J(u)}` itself."""

    @abc.abstractmethod
    def refine(
        self, control: Control, estimator: DensityEstimator, samples: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draws from the posterior of each case.

        Args:
            control: The control, whose density is the posterior's.
            estimator: A trained density over it.
            samples: The number of draws per case.

        Returns:
            The draws, with shape ``(samples, case, size)``, and diagnostics of each case.
        """


class Refined(Posterior):
    r"""A trained estimator whose draws are refined.

    Training leaves an estimator somewhat off, and more so for windows that are unlike those it was trained on; but the
    posterior's density is known up to a constant, by one run of the model. Exact in the limit of many draws, or of
    long chains, whatever the estimator, though the further off it is the more they are: the diagnostics tell. Targets
    :math:`p(x_{0:T+F}, \theta | y, x_b)`.

    Args:
        estimator: The estimator, trained.
        refinement: How its draws are refined.
    """

    def __init__(self, estimator: DensityEstimator, refinement: Refinement) -> None:
        if not isinstance(estimator.target, ControlTarget) or estimator.problem.joint != "background":
            raise ValueError(
                "refinement: needs the posterior's density, known for the control under the background joint only"
            )
        self.estimator, self.refinement = estimator, refinement

    @torch.no_grad()
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case."""
        control = Control(self.estimator.problem, window)
        u, info = self.refinement.refine(control, self.estimator, samples)
        return decode_ensemble(control, u, info)


@dataclass(frozen=True)
class Importance(Refinement):
    r"""Draws of the estimator, resampled by their Pareto-smoothed importance weights

    .. math:: w_i \propto \frac{p(u_i, y)}{q(u_i | y)}, \qquad u_i \sim q(u | y) .

    ``info["k_hat"]`` tells whether the weights can be trusted: beyond 0.7, not with any number of draws that one would
    make. ``info["ess"]`` is how many draws they are worth; beyond it, samples are copies of each other. A mode that
    the estimator misses stays missing, and weights do not show it. ``info["log_evidence"]`` estimates
    :math:`\log p(y | x_b)`.

    Args:
        draws: The number of draws of the estimator per case; four for each sample if omitted.

    References:
        | Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao & Gabry, 2024),
          https://jmlr.org/papers/v25/19-556.html
        | Neural Importance Sampling for Rapid and Reliable Gravitational-Wave Inference (Dax et al., 2023),
          https://arxiv.org/abs/2210.05686
    """

    draws: int | None = None

    def __post_init__(self) -> None:
        """Refuses too few draws for a tail."""
        if self.draws is not None:
            check_draws(self.draws)

    def refine(
        self, control: Control, estimator: DensityEstimator, samples: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Resamples weighted draws of the estimator."""
        z, log_q = estimator.draw(control.window, self.draws or max(4 * samples, FEWEST))
        u = z.flatten(2)
        log_p = torch.cat([control.log_prob(u[chunk]) for chunk in control.chunks(len(u))])
        drawn = resample(log_p.double() - log_q, samples)
        info = {"k_hat": drawn.k_hat, "ess": drawn.ess, "log_evidence": drawn.log_mean}
        return take(u, drawn.chosen), {name: value.to(u) for name, value in info.items()}


@dataclass(frozen=True)
class Hamiltonian(Refinement):
    r"""Hamiltonian chains that start from draws of the estimator.

    They are preconditioned with the covariance of draws, and move as :class:`~posterity.mcmc.Chains` do. They need
    not find the posterior, but only forget in what the estimator is wrong: a short warm-up is enough. Chains seldom
    cross between modes that are far apart, which then keep the weights that the estimator gives them:
    ``info["rhat"]`` is then far from 1.

    Args:
        chains: The number of chains per case.
        warmup: The number of iterations that adapt the leapfrog step, and are not kept.
        iterations: The number of iterations behind them.
        length: The length of a trajectory, in standard deviations of the draws.
        leapfrog: The most leapfrog steps of a trajectory, each of which takes one gradient.
        acceptance: The mean probability of acceptance to which steps are adapted.
    """

    chains: int = 64
    warmup: int = 20
    iterations: int = 40
    length: float = 2.0
    leapfrog: int = 64
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        """Refuses options that go nowhere."""
        if self.chains < 2:
            raise ValueError(f"chains: at least 2 are needed to see whether they agree, not {self.chains}")
        self._chains()

    def refine(
        self, control: Control, estimator: DensityEstimator, samples: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draws evenly from chains that start from draws of the estimator."""
        kept = self.chains * self.iterations
        if samples > kept:
            raise ValueError(
                f"samples: {samples} asked of the {kept} that the chains keep; raise chains or iterations, "
                "or ask for fewer"
            )
        # The covariance takes more draws than there may be chains.
        proposals = max(samples, self.chains)
        particles = self._start(control, estimator.draw(control.window, proposals)[0].flatten(2))
        scale = preconditioner(particles.u, torch.full_like(particles.misfit, 1 / proposals))
        particles = Particles(*(field[: self.chains] for field in particles))
        draws = self._chains().run(control, particles, scale, torch.full((control.cases,), FIRST_STEP))
        info = {**convergence(draws.u)._asdict(), "acceptance": draws.acceptance, "step": draws.step}
        return draws.spread(samples), info

    def _start(self, control: Control, u: Tensor) -> Particles:
        """The particles of draws; those that failed give their place to others of their case."""
        # A draw that is no number starts from the prior, so that a case has somewhere to start from.
        particles = evaluate(control, torch.where(u.isfinite().all(dim=-1, keepdim=True), u, control.prior(len(u))))
        good = particles.misfit.isfinite()
        return Particles(*(refill(good, field) for field in particles))

    def _chains(self) -> Chains:
        """How the chains move."""
        return Chains(self.warmup, self.iterations, 1, self.length, self.leapfrog, self.acceptance)
