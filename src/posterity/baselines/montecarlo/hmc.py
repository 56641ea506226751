"""Hamiltonian Monte Carlo: long chains from particles that have reached the posterior."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...mcmc import Chains, Particles, convergence
from ...problems import Ensemble, Joint, Posterior, Problem, Window, decode_ensemble
from .proposals import Proposal
from .smc import SequentialMonteCarlo


@dataclass(frozen=True)
class HamiltonianMonteCarlo(Posterior):
    r"""Hamiltonian Monte Carlo over the control, with chains that start from sequential Monte Carlo.

    The chains of a case start from different particles of :class:`SequentialMonteCarlo`, are preconditioned as these
    are in the end, and move as :class:`~posterity.mcmc.Chains` do. Exact for any posterior as the
    number of iterations grows: the target is :math:`p(x_{0:T+F}, \theta | y, x_b)` itself. Chains seldom cross
    between modes that are far apart. Where there are any, ``info["rhat"]`` tells, and their weights are those of the
    particles that the chains started from.

    Args:
        problem: The problem.
        chains: The number of chains per case.
        warmup: The number of iterations that adapt the step, and are not kept.
        iterations: The number of iterations behind them.
        thinning: Every how many iterations a draw is kept.
        length: The length of a trajectory, in standard deviations of the posterior.
        leapfrog: The most leapfrog steps of a trajectory, each of which takes one gradient.
        acceptance: The mean probability of acceptance to which steps are adapted.
        particles: As for :class:`SequentialMonteCarlo`, as are ``ess``, ``moves``, ``eigenpairs`` and ``proposal``.
        ess: See there.
        moves: See there.
        eigenpairs: See there.
        proposal: See there.

    References:
        | MCMC using Hamiltonian dynamics (Neal, 2011), https://arxiv.org/abs/1206.1901
        | A tutorial on adaptive MCMC (Andrieu & Thoms, 2008), https://doi.org/10.1007/s11222-008-9110-y
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True
    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

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
    eigenpairs: int = 128
    proposal: Proposal | None = None

    def __post_init__(self) -> None:
        """Checks the number of chains, and the options of chains and particles."""
        if not 2 <= self.chains <= self.particles:
            raise ValueError(f"chains: must be from 2 to the number of particles, not {self.chains}")
        self._start()
        self._chains()

    @property
    def distinct(self) -> int:
        """The number of iterations of all chains that are kept."""
        return self.iterations // self.thinning * self.chains

    def check_samples(self, samples: int) -> None:
        """Checks that the chains keep as many."""
        if samples > self.distinct:
            raise ValueError(
                f"samples: {samples} asked of the {self.distinct} that the chains keep; raise chains or iterations, "
                "lower thinning, or ask for fewer"
            )

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws evenly from the iterations of all chains."""
        found = self._start().carry(window)
        start = found.tempered
        chosen = torch.randperm(self.particles, device=window.y.device)[: self.chains]
        particles = Particles(*(field[chosen] for field in start.particles))
        draws = self._chains().run(found.potential, particles, start.scale, start.step)
        info = {
            **convergence(draws.u)._asdict(),
            "acceptance": draws.acceptance,
            "step": draws.step,
            "temperatures": start.info["temperatures"],
            "log_evidence": start.info["log_evidence"],
        }
        return decode_ensemble(found.control, found.controls(draws.spread(samples)), info)

    def _chains(self) -> Chains:
        """The kernel of the chains."""
        return Chains(self.warmup, self.iterations, self.thinning, self.length, self.leapfrog, self.acceptance)

    def _start(self) -> SequentialMonteCarlo:
        """The particles that chains start from."""
        return SequentialMonteCarlo(
            self.problem,
            self.particles,
            self.ess,
            self.moves,
            length=self.length,
            leapfrog=self.leapfrog,
            acceptance=self.acceptance,
            eigenpairs=self.eigenpairs,
            proposal=self.proposal,
        )
