"""Sequential Monte Carlo: particles carried from the prior to the posterior through a sequence of temperatures."""

from dataclasses import dataclass
from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor

from ..problems import Control, Ensemble, Posterior, Problem, Window, ensemble
from ..problems.resampling import effective_size, normalise, systematic
from .hamiltonian import Particles, evaluate, move
from .preconditioning import preconditioner

#: The leapfrog step that adaptation starts from, in standard deviations of the posterior.
FIRST_STEP = 0.25


class Tempered(NamedTuple):
    """Particles that have reached the posterior.

    Args:
        particles: The particles, of equal weight.
        scale: Factors of their covariances, with shape ``(case, size, size)``.
        step: The leapfrog steps adapted to them, with shape ``(case,)``.
        info: What each case went through.
    """

    particles: Particles
    scale: Tensor
    step: Tensor
    info: dict[str, Tensor]


@dataclass(frozen=True)
class SequentialMonteCarlo(Posterior):
    r"""Sequential Monte Carlo from the prior to the posterior of the control, by way of

    .. math::
        p_\beta(u) \propto \exp\big({-\tfrac12} \|u\|^2 - \beta J_o(u)\big), \qquad 0 = \beta_0 < … < \beta_K = 1 .

    At each temperature, particles are weighted by :math:`\exp(-(\beta_k - \beta_{k-1}) J_o(u))`, resampled, and moved
    by Hamiltonian transitions that leave :math:`p_{\beta_k}` invariant, preconditioned with the covariance of the
    case's own particles. Each case has temperatures of its own, chosen so that the effective number of particles falls
    to a fraction of them, and leapfrog steps of its own, adapted to the acceptance, as many as make trajectories long;
    cases that have reached :math:`\beta = 1` wait for the others. Modes keep their weights, since particles are
    weighted before they are too cold to cross between them; many temperatures with few moves serve that better than the
    reverse. Exact for any posterior as the number of particles grows: the target is :math:`p(x_{0:T+F}, \theta | y,
    x_b)` itself. More particles than the control has entries are needed to precondition well.

    The product of the mean weights estimates the evidence: ``info["log_evidence"]`` is that of
    :math:`\log p(y | x_b)`.

    Args:
        problem: The problem.
        particles: The number of particles per case.
        ess: The fraction of the particles to which the effective number falls between temperatures.
        moves: The number of transitions at each temperature.
        final: The number of further transitions at :math:`\beta = 1`.
        length: The length of a trajectory, in standard deviations of the posterior.
        leapfrog: The most leapfrog steps of a trajectory, each of which takes one gradient.
        acceptance: The mean probability of acceptance to which steps are adapted.

    References:
        | Sequential Monte Carlo samplers (Del Moral, Doucet & Jasra, 2006),
          https://doi.org/10.1111/j.1467-9868.2006.00553.x
        | Adaptive tuning of Hamiltonian Monte Carlo within sequential Monte Carlo (Buchholz, Chopin & Jacob, 2021),
          https://arxiv.org/abs/1808.07730
    """  # noqa: D415

    problem: Problem
    particles: int = 512
    ess: float = 0.8
    moves: int = 3
    final: int = 16
    length: float = 2.0
    leapfrog: int = 64
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        """Refuses options that go nowhere."""
        if self.particles < 4:
            raise ValueError(f"particles: at least 4 are needed for a covariance, not {self.particles}")
        if not 2 <= self.ess * self.particles < self.particles:
            raise ValueError(
                f"ess: must be a fraction that leaves at least 2 of the particles, and not all: {self.ess}"
            )
        if self.moves < 1 or self.leapfrog < 1:
            raise ValueError(f"moves and leapfrog: at least one is needed, not {self.moves} and {self.leapfrog}")
        if self.length <= 0:
            raise ValueError(f"length: must be positive, not {self.length}")
        if self.final < 0:
            raise ValueError(f"final: must not be negative, not {self.final}")
        if not 0 < self.acceptance < 1:
            raise ValueError(f"acceptance: must be between 0 and 1, not {self.acceptance}")

    @torch.no_grad()
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws from the particles of each case, none a second time before all were drawn once."""
        control = Control(self.problem, window)
        tempered = self.temper(control)
        chosen = torch.randperm(self.particles)[torch.arange(samples) % self.particles]
        return ensemble(control, tempered.particles.u[chosen], tempered.info)

    def temper(self, control: Control) -> Tempered:
        """Carries particles of each case from the prior to the posterior."""
        particles = evaluate(control, control.prior(self.particles))
        beta = torch.zeros(control.cases, dtype=torch.float64)
        step = torch.full((control.cases,), FIRST_STEP)
        log_evidence, temperatures, accepted = (torch.zeros(control.cases) for _ in range(3))
        lowest = torch.full((control.cases,), float(self.particles))
        while len(cases := (beta < 1).nonzero().squeeze(-1)):
            part, some = control.select(cases), particles.select(cases)
            misfit = some.misfit.double()
            colder = next_temperature(misfit, beta[cases], self.ess)
            log_weights = -(colder - beta[cases]) * misfit
            beta[cases] = colder
            temperatures[cases] += 1
            log_evidence[cases] += (torch.logsumexp(log_weights, dim=0) - log(self.particles)).to(log_evidence)
            lowest[cases] = torch.minimum(lowest[cases], effective_size(log_weights).to(lowest))

            weights = normalise(log_weights)
            scale = preconditioner(some.u, weights)
            some = some.take(systematic(weights, self.particles))
            some, step[cases], rate = self._move(part, some, colder, scale, step[cases], self.moves)
            accepted[cases] += rate
            particles = particles.insert(some, cases)
            control.absorb(part, cases)

        scale = preconditioner(particles.u, torch.full_like(particles.misfit, 1 / self.particles))
        particles, step, rate = self._move(control, particles, beta, scale, step, self.final)
        info = {
            "temperatures": temperatures,
            "acceptance": (accepted + rate) / (self.moves * temperatures + self.final),
            "ess": lowest,
            "log_evidence": log_evidence - control.log_normalizer() + 0.5 * control.size * log(2 * pi),
            "step": step,
        }
        return Tempered(particles, scale, step, info)

    def _move(
        self, control: Control, particles: Particles, beta: Tensor, scale: Tensor, step: Tensor, moves: int
    ) -> tuple[Particles, Tensor, Tensor]:
        """Moves particles, adapting the steps on the way; returns the sum of the probabilities of acceptance too."""
        beta, total = beta.to(particles.u), torch.zeros_like(step)
        for _ in range(moves):
            particles, rate = move(control, particles, beta, scale, step, self.length, self.leapfrog)
            step = step * (rate - self.acceptance).exp()
            total = total + rate
        return particles, step, total


def next_temperature(misfit: Tensor, beta: Tensor, fraction: float) -> Tensor:
    r"""The next inverse temperature of each case: the one at which the effective number of particles has fallen.

    Particles from which the model diverged do not count. A case that has no others goes to 1 at once.

    Args:
        misfit: The observation cost :math:`J_o`, with shape ``(particle, case)``.
        beta: The inverse temperatures of now, with shape ``(case,)``, below 1.
        fraction: The fraction of the particles to which their effective number falls, by bisection.

    Returns:
        The next inverse temperatures, with shape ``(case,)``; 1 where weights allow it.
    """
    wanted = fraction * misfit.isfinite().sum(dim=0)

    def enough(colder: Tensor) -> Tensor:
        """Whether a temperature leaves enough particles."""
        return ~(effective_size(-(colder - beta) * misfit) < wanted)

    low, high = beta, torch.ones_like(beta)
    done = enough(high)
    for _ in range(52):
        middle = (low + high) / 2
        good = enough(middle)
        low, high = torch.where(good, middle, low), torch.where(good, high, middle)
    return torch.where(done, 1.0, high)
