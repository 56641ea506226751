"""Sequential Monte Carlo: particles carried from the prior to the posterior through a sequence of temperatures."""

from dataclasses import dataclass
from math import log, pi
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ...algebra import Gaussian
from ...errors import check_part
from ...mcmc import LaplaceMetric, Metric, ParticleMetric, Pullback, Tempered, Tempering, WhiteMetric
from ...problems import Control, Ensemble, Joint, Posterior, Problem, Window, decode_ensemble, eigenpairs
from ...problems.minimize import check_eigenpairs, minimize
from .proposals import Laplace, Proposal


class Carried(NamedTuple):
    """Particles that were carried to the posterior, and the coordinates in which they were.

    Args:
        control: The control, which counts the work.
        potential: The potential in the coordinates of the particles: the control, or what a Gaussian makes of it.
        tempered: The particles.
    """

    control: Control
    potential: Control | Pullback
    tempered: Tempered

    def controls(self, z: Tensor) -> Tensor:
        """The controls of points in the coordinates of the particles, with the same shape."""
        return self.potential.place(z) if isinstance(self.potential, Pullback) else z


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

    The number of temperatures grows with the number of directions that the data inform. With a Gaussian proposal
    :math:`q` near the posterior particles start from draws of that, and go through :math:`q^{1 - \beta} p^\beta`: a few
    temperatures, where thousands of directions would need hundreds. As exact, but modes that the proposal does not
    reach are not found.

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
        eigenpairs: The directions in which the metric differs from the prior's, where entries are more than particles
            and there is no proposal.
        proposal: The Gaussian that particles start from; the prior if omitted.

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
    proposal: Proposal | None = None

    def __post_init__(self) -> None:
        """Checks the number of particles and the options of the tempering."""
        if self.particles < 4:
            raise ValueError(f"particles: at least 4 are needed for a covariance, not {self.particles}")
        if not 2 <= self.ess * self.particles < self.particles:
            raise ValueError(
                f"ess: must be a fraction that leaves at least 2 of the particles, and not all: {self.ess}"
            )
        check_eigenpairs(self.eigenpairs)
        if self.proposal is not None:
            check_part("proposal", self.proposal, Proposal, Laplace)
        self._tempering()

    @property
    def distinct(self) -> int:
        """The number of particles."""
        return self.particles

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the particles of each case, none a second time before all were drawn once."""
        found = self.carry(window)
        return decode_ensemble(found.control, found.controls(found.tempered.spread(samples)), found.tempered.info)

    def carry(self, window: Window) -> Carried:
        """Carries particles of each case from the prior, or the proposal, to the posterior."""
        if self.proposal is None:
            control = Control(self.problem, window)
            potential: Control | Pullback = control
            log_det = torch.zeros_like(control.gradients)
        else:
            control = self.proposal.control(self.problem, window)
            q = self.proposal.fit(control)
            if not isinstance(q, Gaussian):
                raise ValueError("proposal: particles start from a Gaussian, and a flow is none; use another family")
            potential, log_det = Pullback(control, q), q.factor.log_det()
        tempered = self._tempering().run(potential, control.noise(self.particles), self._metric(control))
        evidence = tempered.info["log_evidence"] + log_det - control.log_normalizer() + 0.5 * control.size * log(2 * pi)
        info = {**tempered.info, "log_evidence": evidence.to(window.y)}
        return Carried(control, potential, tempered._replace(info=info))

    def _metric(self, control: Control) -> Metric:
        """The metric of the particles: their own, or where they are fewer than entries, that of an approximation."""
        if control.size <= self.particles:
            return ParticleMetric()
        if self.proposal is not None:
            return WhiteMetric()
        return LaplaceMetric(eigenpairs(minimize(control).model, self.eigenpairs))

    def _tempering(self) -> Tempering:
        """The tempering of particles."""
        return Tempering(self.ess, self.moves, self.final, self.length, self.leapfrog, self.acceptance)
