"""Hamiltonian Monte Carlo: long chains from particles that have reached the posterior."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..problems import Control, Ensemble, Posterior, Problem, Window, ensemble
from .diagnostics import convergence
from .hamiltonian import Particles, move
from .smc import SequentialMonteCarlo


@dataclass(frozen=True)
class HamiltonianMonteCarlo(Posterior):
    r"""Hamiltonian Monte Carlo over the control, with chains that start from sequential Monte Carlo.

    The chains of a case start from different particles of :class:`SequentialMonteCarlo`, are preconditioned with the
    covariance of all of them, and move as :func:`move` says, all chains of all cases in one batch. Warm-up
    iterations adapt the leapfrog step of each case to the acceptance, by stochastic approximation; then it is fixed
    to the average of the second half of them. Exact for any posterior as the number of iterations grows: the target is
    :math:`p(x_{0:T+F}, \theta | y, x_b)` itself. Chains seldom cross between modes that are far apart. Where there are
    any, ``info["rhat"]`` tells, and their weights are those of the particles that the chains started from.

    Args:
        problem: The problem.
        chains: The number of chains per case.
        warmup: The number of iterations that adapt the step, and are not kept.
        iterations: The number of iterations behind them.
        thinning: Every how many iterations a draw is kept.
        length: The length of a trajectory, in standard deviations of the posterior.
        leapfrog: The most leapfrog steps of a trajectory, each of which takes one gradient.
        acceptance: The mean probability of acceptance to which steps are adapted.
        particles: As for :class:`SequentialMonteCarlo`, as are ``ess`` and ``moves``.
        ess: See there.
        moves: See there.

    References:
        | MCMC using Hamiltonian dynamics (Neal, 2011), https://arxiv.org/abs/1206.1901
        | A tutorial on adaptive MCMC (Andrieu & Thoms, 2008), https://doi.org/10.1007/s11222-008-9110-y
    """

    problem: Problem
    chains: int = 16
    warmup: int = 100
    iterations: int = 500
    thinning: int = 2
    length: float = 2.0
    leapfrog: int = 64
    acceptance: float = 0.8
    particles: int = 512
    ess: float = 0.8
    moves: int = 3

    def __post_init__(self) -> None:
        """Refuses options that go nowhere, here and in the particles that chains start from."""
        if not 2 <= self.chains <= self.particles:
            raise ValueError(f"chains: must be from 2 to the number of particles, not {self.chains}")
        if self.warmup < 0:
            raise ValueError(f"warmup: must not be negative, not {self.warmup}")
        if self.thinning < 1:
            raise ValueError(f"thinning: must be at least 1, not {self.thinning}")
        if self.iterations < 4 * self.thinning:
            raise ValueError(
                f"iterations: at least 4 draws of each chain must be kept, so {4 * self.thinning} are needed"
            )
        self._start()

    @torch.no_grad()
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws evenly from the iterations of all chains."""
        kept = self.iterations // self.thinning * self.chains
        if samples > kept:
            raise ValueError(
                f"samples: {samples} asked of the {kept} that the chains keep; raise chains or iterations, "
                "lower thinning, or ask for fewer"
            )
        control = Control(self.problem, window)
        start = self._start().temper(control)
        chosen = torch.randperm(self.particles)[: self.chains]
        particles = Particles(*(field[chosen] for field in start.particles))
        particles, step = self._warm_up(control, particles, start.scale, start.step)
        draws, rate = self._run(control, particles, start.scale, step)
        # Chain by chain, so that each gives as many draws, spread over its iterations.
        chosen = torch.arange(samples) * kept // samples
        u = draws.transpose(0, 1).flatten(0, 1)[chosen]
        info = {
            **convergence(draws)._asdict(),
            "acceptance": rate,
            "step": step,
            "temperatures": start.info["temperatures"],
            "log_evidence": start.info["log_evidence"],
        }
        return ensemble(control, u, info)

    def _start(self) -> SequentialMonteCarlo:
        """What the chains start from."""
        return SequentialMonteCarlo(
            self.problem,
            self.particles,
            self.ess,
            self.moves,
            length=self.length,
            leapfrog=self.leapfrog,
            acceptance=self.acceptance,
        )

    def _warm_up(self, control: Control, particles: Particles, scale: Tensor, step: Tensor) -> tuple[Particles, Tensor]:
        """Moves the chains while adapting the steps, and averages those of the second half."""
        beta, half = torch.ones_like(step), self.warmup // 2
        log_step = step.log()
        average = torch.zeros_like(step) if self.warmup else log_step
        for k in range(self.warmup):
            particles, rate = move(control, particles, beta, scale, log_step.exp(), self.length, self.leapfrog)
            log_step = log_step + (rate - self.acceptance) / (1 + k) ** 0.6
            if k >= half:
                average = average + log_step / (self.warmup - half)
        return particles, average.exp()

    def _run(self, control: Control, particles: Particles, scale: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Draws with shape ``(kept, chain, case, size)``, and the mean probability of acceptance of each case."""
        beta, total, draws = torch.ones_like(step), torch.zeros_like(step), []
        for k in range(1, self.iterations + 1):
            particles, rate = move(control, particles, beta, scale, step, self.length, self.leapfrog)
            total = total + rate
            if k % self.thinning == 0:
                draws.append(particles.u)
        return torch.stack(draws), total / self.iterations
