"""Tempered sequential Monte Carlo; see :mod:`posterity.mcmc`."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from ..algebra import Factor
from ..problems.resampling import effective_sample_size, normalise_weights, systematic_resampling
from ..tensors import own_random_numbers
from .hamiltonian import Kick, Particles, Potential, check_trajectories, evaluate, move
from .preconditioning import Metric, ParticleMetric

#: The leapfrog step that adaptation starts from, in standard deviations of the posterior.
FIRST_STEP = 0.25

#: The metric of the particles themselves.
PARTICLES = ParticleMetric()


class Tempered(NamedTuple):
    """Particles that have reached the posterior.

    Args:
        particles: The particles, of equal weight.
        scale: Factors of their covariances, about.
        step: The leapfrog steps adapted to them, with shape ``(case,)``.
        info: Diagnostics of each case.
    """

    particles: Particles
    scale: Factor
    step: Tensor
    info: dict[str, Tensor]

    def spread(self, samples: int) -> Tensor:
        """Draws from the particles, none a second time before all were drawn once; shape ``(samples, case, size)``."""
        u = self.particles.u
        chosen = torch.randperm(len(u), device=u.device)
        return u[chosen[torch.arange(samples, device=u.device) % len(u)]]


@dataclass(frozen=True)
class Tempering:
    r"""Tempered sequential Monte Carlo, from the standard normal to the posterior.

    Each case has temperatures, a preconditioner and leapfrog steps of its own; cases that have reached
    :math:`\beta = 1` wait for the others.

    Args:
        ess: The fraction of the particles to which the effective number falls between temperatures.
        moves: The number of transitions at each temperature.
        final: The number of further transitions at :math:`\beta = 1`.
        length: The length of a trajectory, in standard deviations of the posterior.
        leapfrog: The most leapfrog steps of a trajectory, each of which takes one gradient.
        acceptance: The mean probability of acceptance to which steps are adapted.
    """

    ess: float
    moves: int
    final: int
    length: float
    leapfrog: int
    acceptance: float

    def __post_init__(self) -> None:
        """Checks the options."""
        if not 0 < self.ess < 1:
            raise ValueError(f"ess: must be a fraction of the particles between 0 and 1, not {self.ess}")
        if self.moves < 1 or self.leapfrog < 1:
            raise ValueError(f"moves and leapfrog: at least one is needed, not {self.moves} and {self.leapfrog}")
        if self.final < 0:
            raise ValueError(f"final: must not be negative, not {self.final}")
        check_trajectories(self.length, self.leapfrog, self.acceptance)

    @torch.no_grad()
    def run(self, potential: Potential, u: Tensor, metric: Metric = PARTICLES) -> Tempered:
        r"""Carries the particles of each case from the standard normal to the posterior.

        Args:
            potential: The potential.
            u: Draws from the standard normal, with shape ``(particle, case, size)``.
            metric: The coordinates in which particles move.

        Returns:
            The particles at :math:`\beta = 1`. The product of the mean weights estimates their normaliser:
            ``info["log_evidence"]`` is :math:`\log E_{N(0, I)}[e^{-J_o(u)}]`.
        """
        number, cases = u.shape[:2]
        particles = evaluate(potential, u)
        beta = u.new_zeros(cases, dtype=torch.float64)
        step = u.new_full((cases,), FIRST_STEP)
        log_evidence, temperatures, accepted = (u.new_zeros(cases) for _ in range(3))
        lowest = u.new_full((cases,), float(number))
        # All draws are for all cases: those of a case do not depend on how many temperatures others need.
        with own_random_numbers():
            while len(warm := (beta < 1).nonzero().squeeze(-1)):
                part, some = potential.select(warm), particles.select(warm)
                misfit = some.misfit.double()
                colder = next_temperature(misfit, beta[warm], self.ess)
                log_weights = -(colder - beta[warm]) * misfit
                beta[warm] = colder
                temperatures[warm] += 1
                log_evidence[warm] += (torch.logsumexp(log_weights, dim=0) - log(number)).to(log_evidence)
                lowest[warm] = torch.minimum(lowest[warm], effective_sample_size(log_weights).to(lowest))

                weights = normalise_weights(log_weights)
                scale = metric.factor(some.u, weights, colder, warm)
                everywhere = weights.new_full((number, cases), 1 / number).index_copy(1, warm, weights)
                some = some.take(systematic_resampling(everywhere, number)[:, warm])
                kicks = (Kick.draw(particles).select(warm) for _ in range(self.moves))
                some, step[warm], rate = self._move(part, some, colder, scale, step[warm], kicks)
                accepted[warm] += rate
                particles = particles.insert(some, warm)
                potential.absorb(part, warm)

        evenly, every = torch.full_like(particles.misfit, 1 / number), torch.arange(cases, device=u.device)
        scale = metric.factor(particles.u, evenly, beta, every)
        kicks = (Kick.draw(particles) for _ in range(self.final))
        particles, step, rate = self._move(potential, particles, beta, scale, step, kicks)
        info = {
            "temperatures": temperatures,
            "acceptance": (accepted + rate) / (self.moves * temperatures + self.final),
            "ess": lowest,
            "log_evidence": log_evidence,
            "step": step,
        }
        return Tempered(particles, scale, step, info)

    def _move(
        self,
        potential: Potential,
        particles: Particles,
        beta: Tensor,
        scale: Factor,
        step: Tensor,
        kicks: Iterable[Kick],
    ) -> tuple[Particles, Tensor, Tensor]:
        """Moves particles and adapts the steps; returns both, and the sum of the probabilities of acceptance."""
        beta, total = beta.to(particles.u), torch.zeros_like(step)
        for kick in kicks:
            particles, rate = move(potential, particles, beta, scale, step, self.length, self.leapfrog, kick)
            step = step * (rate - self.acceptance).exp()
            total = total + rate
        return particles, step, total


def next_temperature(misfit: Tensor, beta: Tensor, fraction: float) -> Tensor:
    r"""The next inverse temperature of each case, by bisection on the effective number of particles.

    Particles from which the model diverged do not count. A case that has no others goes to 1 at once.

    Args:
        misfit: The observation cost :math:`J_o`, with shape ``(particle, case)``.
        beta: The current inverse temperatures, with shape ``(case,)``, below 1.
        fraction: The fraction of the particles to which their effective number falls.

    Returns:
        The next inverse temperatures, with shape ``(case,)``; 1 where weights allow it.
    """
    wanted = fraction * misfit.isfinite().sum(dim=0, dtype=misfit.dtype)

    def enough(colder: Tensor) -> Tensor:
        """Whether a temperature leaves enough particles."""
        return ~(effective_sample_size(-(colder - beta) * misfit) < wanted)

    low, high = beta, torch.ones_like(beta)
    done = enough(high)
    for _ in range(52):
        middle = (low + high) / 2
        good = enough(middle)
        low, high = torch.where(good, middle, low), torch.where(good, high, middle)
    return torch.where(done, 1.0, high)
