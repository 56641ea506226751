"""Hamiltonian transitions of tempered posteriors, for all cases and particles at once; see :mod:`posterity.mcmc`."""

from math import log2
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from ..algebra import Factor
from ..problems.resampling import take


class Potential(Protocol):
    r"""The negative log-density of each case, :math:`J(u) = \frac12 \|u\|^2 + J_o(u)` up to a constant.

    :class:`~posterity.problems.Control` is one, and so is a learned ratio.
    """

    def cost_and_gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        r"""The cost :math:`J(u)` and its gradient, as many points at a time as fit the memory.

        Args:
            u: The points, with shape ``(particle, case, size)``.

        Returns:
            The cost, with shape ``(particle, case)``, infinite where there is no density; and the gradient, with shape
            ``(particle, case, size)``, NaN there.
        """

    def select(self, index: Tensor) -> Self:
        """The potential of some of the cases, with its own count of work."""

    def absorb(self, part: Self, index: Tensor) -> None:
        """Adds the work that a selection has done to the count of the cases that it was selected from."""


class Particles(NamedTuple):
    r"""Particles: points with the misfit and its gradient.

    Args:
        u: The points, with shape ``(particle, case, size)``.
        misfit: The misfit :math:`J_o(u)`, with shape ``(particle, case)``; infinite where the model diverged.
        gradient: Its gradient, with shape ``(particle, case, size)``; NaN where the model diverged.
    """

    u: Tensor
    misfit: Tensor
    gradient: Tensor

    def select(self, cases: Tensor) -> "Particles":
        """Selects the particles of some of the cases."""
        return Particles(*(field[:, cases] for field in self))

    def insert(self, part: "Particles", cases: Tensor) -> "Particles":
        """Replaces the particles of some of the cases."""
        return Particles(*(whole.index_copy(1, cases, new) for whole, new in zip(self, part, strict=True)))

    def take(self, index: Tensor) -> "Particles":
        """Takes the particles of the given numbers, with shape ``(draws, case)``."""
        return Particles(*(take(field, index) for field in self))

    def where(self, accept: Tensor, other: "Particles") -> "Particles":
        """These particles where accepted, with shape ``(particle, case)``, the others elsewhere."""
        return Particles(
            torch.where(accept.unsqueeze(-1), self.u, other.u),
            torch.where(accept, self.misfit, other.misfit),
            torch.where(accept.unsqueeze(-1), self.gradient, other.gradient),
        )


class Kick(NamedTuple):
    """Random numbers of one transition of each particle, which do not depend on what becomes of other cases.

    Args:
        momentum: Momenta, with shape ``(particle, case, size)``.
        stretch: Factors of the steps, with shape ``(particle, case)``.
        threshold: Numbers between 0 and 1 that the probability of acceptance must exceed, with the same shape.
    """

    momentum: Tensor
    stretch: Tensor
    threshold: Tensor

    @classmethod
    def draw(cls, particles: Particles) -> "Kick":
        """Draws the numbers of one transition of all particles."""
        like = particles.misfit
        return cls(torch.randn_like(particles.u), 0.5 + torch.rand_like(like), torch.rand_like(like))

    def select(self, cases: Tensor) -> "Kick":
        """Selects the numbers of some of the cases."""
        return Kick(*(field[:, cases] for field in self))


def evaluate(potential: Potential, u: Tensor) -> Particles:
    """Evaluates the misfit and its gradient at points, with shape ``(particle, case, size)``."""
    return _particles(u, *potential.cost_and_gradient(u))


def _particles(u: Tensor, cost: Tensor, gradient: Tensor) -> Particles:
    """Points with their misfits, from costs and their gradients."""
    misfit = cost - 0.5 * u.square().sum(dim=-1)
    return Particles(u, misfit.nan_to_num(nan=torch.inf, posinf=torch.inf), gradient - u)


def transition(
    potential: Potential, particles: Particles, beta: Tensor, scale: Factor, step: Tensor, leapfrog: Tensor, kick: Kick
) -> tuple[Particles, Tensor]:
    r"""One Hamiltonian transition of each particle, which leaves the tempered posterior of its case invariant.

    Each particle's step is that of its case times a draw from the uniform distribution on :math:`(\frac12, \frac32)`,
    because trajectories of one length may come back to where they started. A trajectory that diverges is rejected.
    Cases whose trajectories have fewer steps drop out of the batch, which goes on without them.

    Args:
        potential: The potential.
        particles: The particles.
        beta: The inverse temperatures :math:`\beta`, with shape ``(case,)``.
        scale: The factors :math:`L`.
        step: The mean steps :math:`h`, with shape ``(case,)``.
        leapfrog: The numbers of steps of trajectories, with shape ``(case,)``.
        kick: Random numbers.

    Returns:
        The particles after the transition, and the mean probability of acceptance, with shape ``(case,)``.
    """

    def energy(at: Particles, momentum: Tensor) -> Tensor:
        """The Hamiltonian."""
        return 0.5 * (at.u.square() + momentum.square()).sum(dim=-1) + beta * at.misfit

    trial, momentum, h = particles, kick.momentum, (step * kick.stretch).unsqueeze(-1)
    done = 0
    for count in leapfrog.unique().tolist():
        going, steps, done = (leapfrog >= count).nonzero().squeeze(-1), count - done, count
        if len(going) == len(leapfrog):
            trial, momentum = _trajectory(potential, trial, momentum, beta, scale, h, steps)
            continue
        part = potential.select(going)
        moved, pushed = _trajectory(
            part, trial.select(going), momentum[:, going], beta[going], scale.select(going), h[:, going], steps
        )
        potential.absorb(part, going)
        trial, momentum = trial.insert(moved, going), momentum.index_copy(1, going, pushed)
    # A difference of infinities is that of a trajectory that diverged.
    change = energy(particles, kick.momentum) - energy(trial, momentum)
    probability = change.nan_to_num(nan=-torch.inf).clamp(max=0).exp()
    accept = kick.threshold < probability
    return trial.where(accept, particles), probability.mean(dim=0)


def _trajectory(
    potential: Potential, start: Particles, momentum: Tensor, beta: Tensor, scale: Factor, h: Tensor, steps: int
) -> tuple[Particles, Tensor]:
    """Leapfrog steps of all particles, and their momenta; halves of kicks that follow each other are one."""

    def force(u: Tensor, gradient: Tensor) -> Tensor:
        """The whitened force."""
        return -scale.transpose(torch.addcmul(u, beta.unsqueeze(-1), gradient))

    u, cost, gradient = start.u, torch.zeros_like(start.misfit), start.u + start.gradient
    momentum = torch.addcmul(momentum, h, force(u, start.gradient), value=0.5)
    for k in range(1, steps + 1):
        u = torch.addcmul(u, h, scale.forward(momentum))
        cost, gradient = potential.cost_and_gradient(u)
        momentum = torch.addcmul(momentum, h, force(u, gradient - u), value=1.0 if k < steps else 0.5)
    return _particles(u, cost, gradient), momentum


def move(
    potential: Potential,
    particles: Particles,
    beta: Tensor,
    scale: Factor,
    step: Tensor,
    length: float,
    leapfrog: int,
    kick: Kick,
) -> tuple[Particles, Tensor]:
    r"""One transition of each particle, by trajectories of a given length, :math:`2^k \geq l / h` leapfrog steps.

    So a case whose posterior is so curved that it needs small steps forgets where it started as soon as the others, at
    its own expense alone.

    Args:
        potential: The potential.
        particles: The particles.
        beta: The inverse temperatures, with shape ``(case,)``.
        scale: The factors :math:`L`.
        step: The mean steps :math:`h`, with shape ``(case,)``.
        length: The length :math:`l`, in standard deviations of the posterior.
        leapfrog: The most leapfrog steps of a trajectory.
        kick: Random numbers.

    Returns:
        The particles after the transition, and the mean probability of acceptance, with shape ``(case,)``.
    """
    counts = torch.exp2((length / step).log2().ceil().clamp(0, log2(leapfrog)))
    # A case of which every particle diverged stays where it is.
    counts = torch.where(particles.misfit.isfinite().any(dim=0), counts, 1).round().int()
    return transition(potential, particles, beta, scale, step, counts, kick)


def check_trajectories(length: float, leapfrog: int, acceptance: float) -> None:
    """Raises if the options of trajectories are out of range."""
    if leapfrog < 1:
        raise ValueError(f"leapfrog: at least one is needed, not {leapfrog}")
    if length <= 0:
        raise ValueError(f"length: must be positive, not {length}")
    if not 0 < acceptance < 1:
        raise ValueError(f"acceptance: must be between 0 and 1, not {acceptance}")
