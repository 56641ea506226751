"""Particle filter and smoother: weighted draws of the model, resampled."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor

from ...problems import chunks
from ...problems.covariances.scaling import error_root
from ...problems.resampling import effective_sample_size, normalise_weights, systematic_resampling, take
from ...tensors import white_noise
from .record import Record, Sequential, is_valid


class Generation(NamedTuple):
    """Weighted particles of one time, after resampling, and their ancestry.

    Args:
        z: The particles, with shape ``(members, case, size)``.
        weight: Their weights, with shape ``(members, case)``.
        parent: The particles of the time before that they come from, with the same shape.
    """

    z: Tensor
    weight: Tensor
    parent: Tensor


@dataclass(frozen=True)
class Bootstrap(Sequential):
    """Abstract bootstrap method: the forward pass that filter and smoother share, and draws of equal weight.

    Args:
        problem: The problem.
        members: The number of particles of each case.
        ess: The fraction of the particles; if their effective number is not above it, they are resampled.
        jitter: The factor of the bandwidth of the kernel by which particles are moved; see the subclasses.
    """

    members: int = 1000
    ess: float = 0.5
    jitter: float | None = None

    def __post_init__(self) -> None:
        """Checks the resampling threshold and the jitter."""
        super().__post_init__()
        if not 0 < self.ess <= 1:
            raise ValueError(f"ess: must be a fraction of the particles above 0 and up to 1, not {self.ess}")
        if self.jitter is not None and self.jitter < 0:
            raise ValueError(f"jitter: must not be negative, not {self.jitter}")

    @property
    def moves_states(self) -> bool:
        """Whether copies of a state are moved apart: by errors in every entry, or by the noise of a stochastic step."""
        root = self.problem.error_root(torch.empty(0))
        return self.problem.system.stochastic or (root is not None and root.full)

    @property
    def has_transition_density(self) -> bool:
        """Whether the model has a transition density: errors in every entry, and no unknown parameters."""
        return self.moves_states and not self.problem.system.stochastic and not self.problem.parameters

    @abc.abstractmethod
    def pick(self, record: Record, samples: int) -> Iterator[Tensor]:
        """Runs through the record, as :meth:`run` does, for a number of draws of equal weight."""

    def run(self, record: Record) -> Iterator[Tensor]:
        """Draws as many as there are particles."""
        return self.pick(record, self.members)

    def generations(self, record: Record) -> Iterator[Generation]:
        """Forecasts, weights and resamples, from the start of the record to the end of the forecast."""
        observed_times = record.seen.sum(dim=1).clamp(min=1)
        record.info |= {name: record.y.new_zeros(record.cases) for name in ("ess", "log_evidence")}
        z = record.prior(self.members)
        weight = z.new_full((self.members, record.cases, 1), 1 / self.members)
        # Values of members must be floating-point numbers; these are exact up to 2^24 particles.
        own = torch.arange(self.members, dtype=z.dtype, device=z.device).reshape(-1, 1, 1).expand_as(weight)
        for t in range(self.problem.steps):
            if t > 0:
                z = record.forecast(z, t - 1)
            if record.has_observations(t):
                z, innovation, weight, parent = record.compare(z, t, weight, own)
                z, weight, index = self.analyse(record, t, z, weight.squeeze(-1), innovation, observed_times)
                parent, weight = parent.gather(0, index.unsqueeze(-1)), weight.unsqueeze(-1)
            else:
                z, weight, parent = record.replace_failed(z, weight, own)
            yield Generation(z, weight.squeeze(-1), parent.squeeze(-1).long())

    def analyse(
        self, record: Record, t: int, z: Tensor, weight: Tensor, innovation: Tensor, observed_times: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weights the particles by the likelihood, and resamples those of the cases that need it.

        Args:
            record: The record.
            t: The time.
            z: The particles, with shape ``(members, case, size)``.
            weight: Their weights, with shape ``(members, case)``.
            innovation: Their whitened innovations, with shape ``(members, case, observations)``.
            observed_times: How often a case is observed, with shape ``(case,)``.

        Returns:
            The particles, their weights, and the numbers that they had.
        """
        before = weight.log()
        log_weight = before - 0.5 * innovation.square().sum(dim=-1)
        precision = record.precision[:, t].flatten(1)
        constant = torch.where(precision > 0, precision.log() - 0.5 * log(2 * pi), 0).sum(dim=-1)
        evidence = torch.logsumexp(log_weight, dim=0) - torch.logsumexp(before, dim=0) + constant
        effective = effective_sample_size(log_weight)
        record.info["log_evidence"] += torch.where(record.seen[:, t], evidence, 0)
        record.info["ess"] += torch.where(record.seen[:, t], effective / observed_times, 0)

        weight = normalise_weights(log_weight)
        own = torch.arange(self.members, device=z.device).unsqueeze(-1).expand_as(weight)
        # Drawn for all cases, so that random numbers do not depend on which of them are due.
        due = effective <= self.ess * self.members
        index = torch.where(due, systematic_resampling(weight, self.members), own)
        z = torch.where(due.unsqueeze(-1), self.regularise(take(z, index), z, weight), z)
        return z, torch.where(due, 1 / self.members, weight), index

    def regularise(self, drawn: Tensor, z: Tensor, weight: Tensor) -> Tensor:
        r"""Regularises the particles: draws from a kernel around each, shrunk towards the mean of all,

        .. math:: x \leftarrow \sqrt{1 - h^2}\, x + \big(1 - \sqrt{1 - h^2}\big)\, \bar x + h\, \xi, \qquad
            \xi \sim N(0, P) ,

        with mean :math:`\bar x` and covariance :math:`P` of the weighted particles, which both stay. Of unknown
        parameters alone where the model itself moves states apart.

        Args:
            drawn: The particles drawn, with shape ``(members, case, size)``.
            z: The particles that they were drawn from, with the same shape.
            weight: The weights of these, with shape ``(members, case)``.

        Returns:
            The particles moved.
        """
        states = z.shape[-1] - len(self.problem.parameters)
        if self.moves_states and self.problem.parameters:
            kept, moved = drawn[..., :states], self.smooth(drawn[..., states:], z[..., states:], weight)
            return torch.cat((kept, moved), dim=-1)
        return self.smooth(drawn, z, weight)

    def smooth(self, drawn: Tensor, z: Tensor, weight: Tensor) -> Tensor:
        """Draws from the kernel; see :meth:`regularise`, of all entries or of some."""
        factor = self.jitter if self.jitter is not None else float(not self.has_transition_density)
        if factor == 0:
            return drawn
        bandwidth = min(1.0, factor * self.members ** (-1 / (z.shape[-1] + 4)))
        # One particle with all of the weight has no covariance: that of all particles takes its place.
        degenerate = weight.square().sum(dim=0) > 0.999
        weight = torch.where(degenerate, 1 / self.members, weight).unsqueeze(-1)
        mean = (weight * z).sum(dim=0)
        anomalies = weight.sqrt() * (z - mean) / (1 - weight.square().sum(dim=0)).sqrt()
        # A triangular root, which exists whatever the rank.
        root = torch.linalg.qr(anomalies.movedim(0, 1), mode="r").R
        noise = torch.einsum("mck,ckn->mcn", white_noise(z, *z.shape[:2], root.shape[1]), bandwidth * root)
        mean = torch.where(degenerate.unsqueeze(-1), drawn, mean)
        return mean + (1 - bandwidth**2) ** 0.5 * (drawn - mean) + noise


@dataclass(frozen=True)
class ParticleFilter(Bootstrap):
    r"""Bootstrap particle filter: draws of the model, weighted by the likelihood,

    .. math:: w_t^i \propto w_{t-1}^i\, p(y_t | x_t^i), \qquad x_t^i \sim p(x_t | x_{t-1}^i, \theta^i) ,

    and resampled systematically when their effective number :math:`1 / \sum_i (w_t^i)^2` is low. Without jitter,
    exact for any problem as the number of particles grows, which it must exponentially with the number of
    observations at a time. Targets :math:`p(x_t, \theta | y_{0:t}, x_b)`.

    Copies that no model error moves apart stay copies for ever. So under the strong constraint each particle is
    moved, when they are resampled, by a draw of the Gaussian kernel with the covariance of all particles and the
    bandwidth :math:`h = c\, N^{-1/(n + 4)}` of their :math:`n` entries (Scott's rule, at most 1), and shrunk towards
    their mean by :math:`\sqrt{1 - h^2}` (Liu and West): mean and covariance stay, and what is not Gaussian is
    smoothed, less the more particles there are. Where the model moves all states apart, by its errors or by noise of
    its own, the kernel is that of the unknown parameters alone.

    Draws of one time are one resampling of the particles: in several cycles they do not continue those of the time
    before. ``info["ess"]`` is the mean effective number, ``info["log_evidence"]`` estimates :math:`\log p(y | x_b)`.

    Args:
        problem: The problem.
        members: The number of particles :math:`N` of each case.
        ess: The fraction of the particles; if their effective number is not above it, they are resampled.
        jitter: The factor :math:`c`; 0 for no jitter; None for 1 where the model does not move all that is unknown,
            else 0.

    References:
        | Novel approach to nonlinear/non-Gaussian Bayesian state estimation (Gordon, Salmond & Smith, 1993),
          https://doi.org/10.1049/ip-f-2.1993.0015
        | Combined Parameter and State Estimation in Simulation-Based Filtering (Liu & West, 2001),
          https://doi.org/10.1007/978-1-4757-3437-9_10
        | Improving regularised particle filters (Musso, Oudjane & Le Gland, 2001),
          https://doi.org/10.1007/978-1-4757-3437-9_12
    """

    def pick(self, record: Record, samples: int) -> Iterator[Tensor]:
        """Draws from the particles at each time; until the next observations of a case, the same ones."""
        index = torch.zeros(samples, record.cases, dtype=torch.long, device=record.y.device)
        for t, (z, weight, _) in enumerate(self.generations(record)):
            if t == 0 or record.has_observations(t):
                fresh = systematic_resampling(weight, samples)
                index = torch.where(record.seen[:, t], fresh, index) if t > 0 else fresh
            if t in self.steps:
                yield take(z, index)


@dataclass(frozen=True)
class ParticleSmoother(Bootstrap):
    r"""Bootstrap particle smoother: the filter forward, then trajectories drawn backward.

    Where model errors move all that is unknown, backward simulation draws from the filter's particles

    .. math:: \tilde x_t \sim \sum_i w_t^i\, N(\tilde x_{t+1}; M(x_t^i), Q)\, \delta_{x_t^i} ,

    at a cost of draws times particles. Exact for any problem as the number of particles grows. Targets
    :math:`p(x_{0:T+F} | y_{0:T}, x_b)`, of all observations of the record.

    Else (strong constraint, errors of some entries alone, stochastic systems, unknown parameters) trajectories are
    traced back through their ancestors. That has the same target, but early states are those few particles of which
    all others descend, so that their spread is far too small: ``info["distinct"]`` counts the different initial
    states among the draws. With jitter, trajectories jump where particles were moved, and no state is given the
    observations behind the jump as the strong constraint has it. Trust the end of the window, and look at the count
    before trusting its start.

    Args:
        problem: The problem.
        members: The number of particles :math:`N` of each case.
        ess: The fraction of the particles; if their effective number is not above it, they are resampled.
        jitter: The factor of the bandwidth of the kernel that moves particles, as for the filter.

    References:
        | Monte Carlo smoothing for nonlinear time series (Godsill, Doucet & West, 2004),
          https://doi.org/10.1198/016214504000000151
    """

    @property
    def steps(self) -> range:
        """All times."""
        return range(self.problem.steps)

    @property
    def stored(self) -> int:
        """All times."""
        return self.problem.steps

    def pick(self, record: Record, samples: int) -> Iterator[Tensor]:
        """Draws trajectories from the filter's history, and gives them in order of time."""
        history = list(self.generations(record))
        index = systematic_resampling(history[-1].weight, samples)
        simulated = self.has_transition_density
        path = list(self.simulate(record, history, index) if simulated else trace_ancestry(history, index))
        first = path[-1].sort(dim=0).values
        record.info["distinct"] = 1 + (first[1:] != first[:-1]).any(dim=-1).sum(dim=0).to(first)
        return reversed(path)

    def simulate(self, record: Record, history: Sequence[Generation], index: Tensor) -> Iterator[Tensor]:
        """Draws trajectories by backward simulation.

        Args:
            record: The record.
            history: The particles of all times.
            index: The numbers of the particles of the last time to start from, with shape ``(samples, case)``.

        Yields:
            The states of each time, the last one first, with shape ``(samples, case, size)``.
        """
        root = error_root(self.problem, record.y)

        def whitened(states: Tensor) -> Tensor:
            """States in standard deviations of the model's error."""
            return root.inverse(states.unflatten(-1, self.problem.shape)).flatten(2)

        here = take(history[-1].z, index)
        yield here
        for t, (z, weight, _) in reversed(list(enumerate(history[:-1]))):
            ahead = record.forecast(z, t, z.new_zeros(*z.shape[:2], record.states))
            index = draw_ancestors(whitened(here), whitened(ahead), weight)
            here = take(z, index)
            yield here


def draw_ancestors(here: Tensor, ahead: Tensor, weight: Tensor) -> Tensor:
    r"""Draws ancestors :math:`i` with probability :math:`\propto w^i \exp(-\frac12 \|\tilde x - m^i\|^2)`.

    Args:
        here: The whitened states :math:`\tilde x`, with shape ``(samples, case, n)``.
        ahead: The whitened forecasts :math:`m^i` of the particles, with shape ``(members, case, n)``.
        weight: Their weights, with shape ``(members, case)``.

    Returns:
        The numbers drawn, with shape ``(samples, case)``.
    """
    # A product of matrices in place of all differences; its cancellation needs what is centred, and double precision.
    valid = is_valid(ahead)
    there = torch.where(valid.unsqueeze(-1), ahead, 0).double()
    centre = there.sum(dim=0) / valid.sum(dim=0).clamp(min=1).unsqueeze(-1)
    b = (there - centre).movedim(0, 1)
    # A particle without a next state is nobody's ancestor.
    bias = torch.where(valid, weight.double().log(), -torch.inf).mT - 0.5 * b.square().sum(dim=-1)
    parts = []
    for chunk in chunks(len(here), bias.numel(), here.device):
        a = (here[chunk].double() - centre).movedim(0, 1)
        logits = a @ b.mT + bias.unsqueeze(1)
        cumulative = torch.softmax(logits, dim=-1).nan_to_num().cumsum(dim=-1)
        position = torch.rand_like(logits[..., :1]) * cumulative[..., -1:]
        index = torch.searchsorted(cumulative, position, right=True).clamp(max=logits.shape[-1] - 1)
        parts.append(index.squeeze(-1).mT)
    return torch.cat(parts)


def trace_ancestry(history: Sequence[Generation], index: Tensor) -> Iterator[Tensor]:
    """Traces particles back through their ancestors; see :meth:`ParticleSmoother.simulate` for shapes."""
    for z, _, parent in reversed(history):
        yield take(z, index)
        index = parent.gather(0, index)
