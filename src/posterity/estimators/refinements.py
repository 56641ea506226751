"""Refinements of trained densities: importance weights, and Hamiltonian chains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..mcmc import FIRST_STEP, Chains, Particles, convergence, evaluate, preconditioner
from ..mcmc.weights import check_draws, resample
from ..problems import Control, refill
from ..problems.resampling import take
from .estimator import DensityEstimator
from .refinement import Refinement


@dataclass(frozen=True)
class Importance(Refinement):
    r"""Importance resampling of draws of the estimator, with Pareto-smoothed weights

    .. math:: w_i \propto \frac{p(u_i, y)}{q(u_i | y)}, \qquad u_i \sim q(u | y) .

    ``info["k_hat"]`` tells whether the weights can be trusted: not beyond 0.7, with any practical number of draws.
    ``info["ess"]`` is the effective number of draws; more samples are copies of each other. A mode that
    the estimator misses stays missing, and weights do not show it. ``info["log_evidence"]`` estimates
    :math:`\log p(y | x_b)`.

    Densities of continuous flows (``nse``, ``fmpe``) are taken with exact traces, whatever their ``probes``: noise in
    :math:`\log q` would bias weights and evidence.

    Args:
        draws: The number of draws of the estimator per case, however many samples are asked for.

    References:
        | Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao & Gabry, 2024),
          https://jmlr.org/papers/v25/19-556.html
        | Neural Importance Sampling for Rapid and Reliable Gravitational-Wave Inference (Dax et al., 2023),
          https://arxiv.org/abs/2210.05686
    """

    draws: int = 4096

    def __post_init__(self) -> None:
        """Checks the number of draws."""
        check_draws(self.draws)

    def refine(
        self, control: Control, estimator: DensityEstimator, samples: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Resamples weighted draws of the estimator."""
        # Weights are not linear in log q: noise in it would not average out.
        z, log_q = estimator.exact().proposals(control, self.draws)
        u = z.flatten(2)
        log_p = torch.cat([control.log_prob(u[chunk]) for chunk in control.chunks(len(u))])
        drawn = resample(log_p.double() - log_q, samples)
        info = {"k_hat": drawn.k_hat, "ess": drawn.ess, "log_evidence": drawn.log_mean}
        return take(u, drawn.chosen), {name: value.to(u) for name, value in info.items()}


@dataclass(frozen=True)
class Hamiltonian(Refinement):
    r"""Hamiltonian chains that start from draws of the estimator.

    They are :class:`~posterity.mcmc.Chains`, preconditioned with the covariance of draws. They start near the
    posterior, so that a short warm-up is enough. Chains seldom cross between distant modes, which then keep the weights
    that the estimator gives them, and ``info["rhat"]`` is far from 1.

    Args:
        draws: The number of draws of the estimator per case from which the covariance is estimated.
        chains: The number of chains per case, each of which starts from one of the draws.
        warmup: The number of iterations that adapt the leapfrog step, and are not kept.
        iterations: The number of iterations that are kept.
        length: The length of a trajectory, in standard deviations of the draws.
        leapfrog: The most leapfrog steps of a trajectory, each of which takes one gradient.
        acceptance: The mean probability of acceptance to which steps are adapted.
    """

    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    draws: int = 512
    chains: int = 64
    warmup: int = 20
    iterations: int = 40
    length: float = 2.0
    leapfrog: int = 64
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        """Checks the options."""
        if self.chains < 2:
            raise ValueError(f"chains: at least 2 are needed to see whether they agree, not {self.chains}")
        if self.draws < self.chains:
            raise ValueError(f"draws: each of the {self.chains} chains starts from another, so {self.draws} do not do")
        self._chains()

    def check_samples(self, samples: int) -> None:
        """Checks that the chains keep as many."""
        if samples > (kept := self.chains * self.iterations):
            raise ValueError(
                f"samples: {samples} asked of the {kept} that the chains keep; raise chains or iterations, "
                "or ask for fewer"
            )

    def refine(
        self, control: Control, estimator: DensityEstimator, samples: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draws evenly from chains that start from draws of the estimator."""
        particles = self._start(control, estimator.proposals(control, self.draws)[0].flatten(2))
        scale = preconditioner(particles.u, torch.full_like(particles.misfit, 1 / self.draws))
        particles = Particles(*(field[: self.chains] for field in particles))
        draws = self._chains().run(control, particles, scale, particles.u.new_full((control.cases,), FIRST_STEP))
        info = {**convergence(draws.u)._asdict(), "acceptance": draws.acceptance, "step": draws.step}
        return draws.spread(samples), info

    def _start(self, control: Control, u: Tensor) -> Particles:
        """Evaluates draws; those from which the model diverged are replaced by others of their case."""
        # A draw that is not finite is replaced by one of the prior, so that a case has somewhere to start from.
        particles = evaluate(control, torch.where(u.isfinite().all(dim=-1, keepdim=True), u, control.prior(len(u))))
        good = particles.misfit.isfinite()
        return Particles(*(refill(good, field) for field in particles))

    def _chains(self) -> Chains:
        """The chains of these options."""
        return Chains(self.warmup, self.iterations, 1, self.length, self.leapfrog, self.acceptance)
