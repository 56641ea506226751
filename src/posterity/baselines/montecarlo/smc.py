"""Sequential Monte Carlo: particles carried from the prior to the posterior through a sequence of temperatures."""

from dataclasses import dataclass
from math import log, pi
from typing import ClassVar

from ...mcmc import LaplaceMetric, Metric, ParticleMetric, Tempered, Tempering
from ...problems import Control, Ensemble, Joint, Posterior, Problem, Window, decode_ensemble, eigenpairs
from ...problems.minimize import check_eigenpairs, minimize


@dataclass(frozen=True)
class SequentialMonteCarlo(Posterior):
    r"""Sequential Monte Carlo from the prior to the posterior of the control, by way of

    .. math::
        p_\beta(u) \propto \exp\big({-\tfrac12} \|u\|^2 - \beta J_o(u)\big), \qquad 0 = \beta_0 < … < \beta_K = 1 .

    See :class:`~posterity.mcmc.Tempering`. Modes keep their weights, since particles are weighted before they are
    too cold to cross between them; many temperatures with few moves serve that better than the reverse. Exact for any
    posterior as the number of particles grows: the target is :math:`p(x_{0:T+F}, \theta | y, x_b)` itself. Particles
    are preconditioned by their covariance if they are more than the control has entries, and by the Laplace
    approximation at the 4DVAR mode if they are fewer.

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
        eigenpairs: The directions in which the metric differs from the prior's, where entries are more than particles.

    References:
        | Sequential Monte Carlo samplers (Del Moral, Doucet & Jasra, 2006),
          https://doi.org/10.1111/j.1467-9868.2006.00553.x
        | Adaptive tuning of Hamiltonian Monte Carlo within sequential Monte Carlo (Buchholz, Chopin & Jacob, 2021),
          https://arxiv.org/abs/1808.07730
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True
    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    problem: Problem
    particles: int = 512
    ess: float = 0.8
    moves: int = 3
    final: int = 16
    length: float = 2.0
    leapfrog: int = 64
    acceptance: float = 0.8
    eigenpairs: int = 128

    def __post_init__(self) -> None:
        """Checks the number of particles and the options of the tempering."""
        if self.particles < 4:
            raise ValueError(f"particles: at least 4 are needed for a covariance, not {self.particles}")
        if not 2 <= self.ess * self.particles < self.particles:
            raise ValueError(
                f"ess: must be a fraction that leaves at least 2 of the particles, and not all: {self.ess}"
            )
        check_eigenpairs(self.eigenpairs)
        self._tempering()

    @property
    def distinct(self) -> int:
        """The number of particles."""
        return self.particles

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the particles of each case, none a second time before all were drawn once."""
        control = Control(self.problem, window)
        tempered = self.temper(control)
        return decode_ensemble(control, tempered.spread(samples), tempered.info)

    def temper(self, control: Control) -> Tempered:
        """Carries particles of each case from the prior to the posterior."""
        tempered = self._tempering().run(control, control.prior(self.particles), self._metric(control))
        log_evidence = tempered.info["log_evidence"] - control.log_normalizer() + 0.5 * control.size * log(2 * pi)
        return tempered._replace(info={**tempered.info, "log_evidence": log_evidence})

    def _metric(self, control: Control) -> Metric:
        """The metric of the particles; that of the Laplace approximation if they are fewer than entries."""
        if control.size <= self.particles:
            return ParticleMetric()
        return LaplaceMetric(eigenpairs(minimize(control).model, self.eigenpairs))

    def _tempering(self) -> Tempering:
        """The tempering of particles."""
        return Tempering(self.ess, self.moves, self.final, self.length, self.leapfrog, self.acceptance)
