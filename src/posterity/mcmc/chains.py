"""Long Hamiltonian chains; see :mod:`posterity.mcmc`."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..algebra import Factor
from .hamiltonian import Kick, Particles, Potential, check_trajectories, move


class Draws(NamedTuple):
    """The draws of chains, with their acceptance and steps.

    Args:
        u: The draws that were kept, with shape ``(kept, chain, case, size)``.
        acceptance: The mean probability of acceptance, with shape ``(case,)``.
        step: The leapfrog steps, with shape ``(case,)``.
    """

    u: Tensor
    acceptance: Tensor
    step: Tensor

    def spread(self, samples: int) -> Tensor:
        """Draws evenly from the iterations of all chains, as many from each, with shape ``(samples, case, size)``."""
        kept, chains = self.u.shape[:2]
        # In the order of chains, without a copy of all of them.
        chosen = torch.arange(samples, device=self.u.device) * (kept * chains) // samples
        return self.u[chosen % kept, chosen // kept]


@dataclass(frozen=True)
class Chains:
    """Hamiltonian chains, whose transitions are those of :func:`move`, all chains of all cases in one batch.

    Warm-up iterations adapt the leapfrog step of each case, which then is fixed.

    Args:
        warmup: The number of iterations that adapt the step, and are not kept.
        iterations: The number of iterations behind them.
        thinning: Every how many iterations a draw is kept.
        length: The length of a trajectory, in standard deviations of the posterior.
        leapfrog: The most leapfrog steps of a trajectory, each of which takes one gradient.
        acceptance: The mean probability of acceptance to which steps are adapted.
    """

    warmup: int
    iterations: int
    thinning: int
    length: float
    leapfrog: int
    acceptance: float

    def __post_init__(self) -> None:
        """Checks the options."""
        if self.warmup < 0:
            raise ValueError(f"warmup: must not be negative, not {self.warmup}")
        if self.thinning < 1:
            raise ValueError(f"thinning: must be at least 1, not {self.thinning}")
        if self.iterations < 4 * self.thinning:
            raise ValueError(
                f"iterations: at least 4 draws of each chain must be kept, so {4 * self.thinning} are needed"
            )
        check_trajectories(self.length, self.leapfrog, self.acceptance)

    @torch.no_grad()
    def run(self, potential: Potential, particles: Particles, scale: Factor, step: Tensor) -> Draws:
        """Runs the chains.

        Args:
            potential: The potential.
            particles: The starts of the chains, one particle each.
            scale: Factors of the covariance of the posterior.
            step: The leapfrog steps to start from, with shape ``(case,)``.

        Returns:
            The draws.
        """
        particles, step = self._warm_up(potential, particles, scale, step)
        beta, total = torch.ones_like(step), torch.zeros_like(step)
        draws = particles.u.new_empty(self.iterations // self.thinning, *particles.u.shape)
        for k in range(1, self.iterations + 1):
            kick = Kick.draw(particles)
            particles, rate = move(potential, particles, beta, scale, step, self.length, self.leapfrog, kick)
            total = total + rate
            if k % self.thinning == 0:
                draws[k // self.thinning - 1] = particles.u
        return Draws(draws, total / self.iterations, step)

    def _warm_up(
        self, potential: Potential, particles: Particles, scale: Factor, step: Tensor
    ) -> tuple[Particles, Tensor]:
        """Runs the warm-up, which adapts the steps, and averages them over its second half."""
        beta, half = torch.ones_like(step), self.warmup // 2
        log_step = step.log()
        average = torch.zeros_like(step) if self.warmup else log_step
        for k in range(self.warmup):
            step, kick = log_step.exp(), Kick.draw(particles)
            particles, rate = move(potential, particles, beta, scale, step, self.length, self.leapfrog, kick)
            log_step = log_step + (rate - self.acceptance) / (1 + k) ** 0.6
            if k >= half:
                average = average + log_step / (self.warmup - half)
        return particles, average.exp()
