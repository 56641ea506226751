"""Sequential methods: one time of the record after another, all cases and members as one batch."""

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ...problems import Ensemble, Joint, Posterior, Problem, Window, chunks, refill
from ...problems.climatology import StartingMoments
from ...problems.observing.noise import check_gaussian_noise
from ...tensors import own_random_numbers, white_noise

#: Copies of the ensembles that a method holds at once: the ensembles, joined with the past, and an update of them in
#: double precision, with its anomalies and its result.
COPIES = 8


def is_valid(*ensembles: Tensor) -> Tensor:
    """Finds the members that have not failed: all entries are finite, and below the fourth root of the largest number.

    Args:
        ensembles: What belongs to the members, each with shape ``(members, case, …)``.

    Returns:
        Booleans, with shape ``(members, case)``.
    """
    sound = [(e.flatten(2).abs() < torch.finfo(e.dtype).max ** 0.25).all(dim=-1) for e in ensembles]
    return torch.stack(sound).all(dim=0)


class Record:
    r"""Observation record of a batch of cases, with the operations of sequential methods and a count of their work.

    Ensembles are tensors ``z`` of shape ``(members, case, size)``: the entries of the state, then the whitened unknown
    parameters :math:`v` with :math:`\theta = f(v)`, which do not move. A member that becomes too large for its
    products to be finite has failed, and gives its place to a good one of its case. A case all of whose members failed
    is dead: it assimilates nothing further, and is returned as NaN.

    Args:
        problem: The problem.
        window: The records, with one batch dimension ``case``.
        climatology: The moments that they share with other cases; their own if omitted.

    Attributes:
        precision: Reciprocal standard deviations :math:`R^{-1/2}`, with shape ``(case, length, *obs_shape)``, zero
            where nothing is observed.
        seen: Whether a case has any observation at a time, with shape ``(case, length)``.
        free: Whether a case has no background, so that its prior is the climatology, with shape ``(case,)``.
        alive: Whether a case has a member that has not failed, with shape ``(case,)``.
        info: Diagnostics of each case, with shape ``(case,)``: a method may add its own.
    """

    def __init__(self, problem: Problem, window: Window, climatology: StartingMoments | None = None) -> None:
        check_gaussian_noise(problem.observation.noise, "a sequential method")
        self.problem = problem
        self.window = window
        self.climatology = StartingMoments(problem, window.start) if climatology is None else climatology
        self.cases = window.y.shape[0]
        self.states = prod(problem.shape)
        observed = ~window.y.isnan()
        self.y = torch.where(observed, window.y, 0)
        self.precision = torch.where(observed, window.std, torch.inf).reciprocal()
        self.seen = observed.flatten(2).any(dim=-1)
        self.free = window.free
        self.background_root = problem.background_root(window)
        self.error_root = problem.error_root(self.y)
        #: The event shape of what an error is, in or behind a step.
        self.error_shape = problem.system.noise_shape if problem.system.stochastic else problem.shape
        self.info = {name: self.y.new_zeros(self.cases) for name in ("model_steps", "gradients", "failed")}
        self.alive = self.y.new_ones(self.cases, dtype=torch.bool)
        self._observed = self.seen.any(dim=0).tolist()

    def has_observations(self, t: int) -> bool:
        """Whether any case has an observation at time ``t``; there are none behind the record."""
        return t < len(self._observed) and self._observed[t]

    def prior(self, members: int) -> Tensor:
        """Draws from the prior of each case: around its background if it has one, else from the system's own ensemble.

        Args:
            members: The number of members of each case.

        Returns:
            The ensemble at time 0, with shape ``(members, case, size)``.
        """
        batch = (members, self.cases)
        v = white_noise(self.y, *batch, len(self.problem.parameters))
        noise = white_noise(self.y, *batch, *self.background_root.shape)
        x = self.background_root.move(self.window.background, noise)
        with own_random_numbers():
            if len(free := self.free.nonzero().squeeze(-1)):
                system = self.problem.system_at(self.problem.decode_parameters(v[:, free]))
                start = self.window.start[free].expand(members, -1)
                x = x.index_copy(1, free, self.problem.climatology(system, start))
        return torch.cat((x.flatten(2), v), dim=-1)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The states, with shape ``(members, case, *shape)``, and the parameters, ``(members, case, parameters)``."""
        return z[..., : self.states].unflatten(-1, self.problem.shape), self.parameters(z)

    def parameters(self, z: Tensor) -> Tensor:
        """The unknown parameters of an ensemble, with shape ``(members, case, parameters)``."""
        return self.problem.decode_parameters(z[..., self.states :])

    def error(self, members: int, steps: int) -> Tensor:
        r"""Draws model errors :math:`\eta \sim N(0, Q)`, with shape ``(members, case, steps, entries)``.

        Of a stochastic system they are the noise of its steps. Under the strong constraint there are none, and the last
        dimension is empty.
        """
        if self.error_root is None:
            return self.y.new_empty(members, self.cases, steps, 0)
        noise = white_noise(self.y, members, self.cases, steps, *self.error_root.shape)
        return self.error_root.forward(noise).flatten(3)

    def forecast(self, z: Tensor, t: int, error: Tensor | None = None) -> Tensor:
        r"""Advances an ensemble by one step, :math:`x' = M(x; \theta) + \eta`.

        Args:
            z: The ensemble, with shape ``(members, case, size)``.
            t: Its time, in steps since the start of the record.
            error: The model errors, as :meth:`error` draws them, with shape ``(members, case, entries)``; drawn if
                omitted.

        Returns:
            The ensemble one step later; members that diverged are not yet replaced.
        """
        given = None if error is None else error.unsqueeze(2)
        return self.rollout(z, t, 1, given)[:, :, 1]

    def rollout(self, z: Tensor, t: int, steps: int, error: Tensor | None = None) -> Tensor:
        r"""The trajectories of an ensemble, as several calls of :meth:`forecast` would give them.

        Args:
            z: The ensemble, with shape ``(members, case, size)``.
            t: Its time, in steps since the start of the record.
            steps: The number of steps.
            error: The model errors of the first steps, as :meth:`error` draws them, with shape
                ``(members, case, times, entries)``; others are drawn.

        Returns:
            The ensembles at all times, with shape ``(members, case, steps + 1, size)``; members that diverged are not
            yet replaced.
        """
        x, theta = self.split(z)
        errors = None
        if self.problem.weak:
            # One draw for each step, so that random numbers do not depend on how many steps are taken together.
            given = self.error(len(z), 0) if error is None else error
            later = [self.error(len(z), 1) for _ in range(steps - given.shape[2])]
            errors = torch.cat((given, *later), dim=2)[:, :, :steps].unflatten(-1, self.error_shape)
        path = self.problem.system_at(theta, self.window.start + t).rollout(x, steps, errors).flatten(3)
        self.info["model_steps"] += steps * len(z)
        return torch.cat((path, z[:, :, None, self.states :].expand(-1, -1, steps + 1, -1)), dim=-1)

    def innovation(self, z: Tensor, t: int) -> Tensor:
        r"""The whitened innovations :math:`d = R_t^{-1/2} (y_t - H(x))` of each member.

        Args:
            z: The ensemble at time ``t``.
            t: The time, within the record.

        Returns:
            The innovations, with shape ``(members, case, observations)``; zero where nothing is observed.
        """
        hx = self.problem.observation.operator(self.split(z)[0])
        # A product with a zero precision would keep the NaN of a member that diverged.
        return torch.where(self.precision[:, t] > 0, (self.y[:, t] - hx) * self.precision[:, t], 0).flatten(2)

    def replace_failed(self, *ensembles: Tensor) -> tuple[Tensor, ...]:
        """Replaces each failed member by a good one of its case, and counts it.

        Args:
            ensembles: What belongs to the members, each with shape ``(members, case, …)``.

        Returns:
            The same with the failed members replaced; of dead cases, all is as it was.
        """
        good = is_valid(*ensembles) & self.alive
        if good.all():
            return ensembles
        self.info["failed"] += torch.where(self.alive, (~good).sum(dim=0), 0)
        self.alive = self.alive & good.any(dim=0)
        return tuple(refill(good, values) for values in ensembles)

    def zero_dead(self, innovation: Tensor) -> Tensor:
        """Sets the innovations of dead cases to zero, so that they cannot spoil the batch."""
        return torch.where(self.alive.unsqueeze(-1), innovation, 0)

    def compare(self, z: Tensor, t: int, *past: Tensor) -> tuple[Tensor, ...]:
        """Replaces failed members, and compares the ensemble with the observations of time ``t``.

        Args:
            z: The ensemble at time ``t``.
            t: The time, within the record.
            past: Other values of the members, each with shape ``(members, case, …)``.

        Returns:
            The ensemble; its innovations, those of dead cases zero; and the past.
        """
        z, innovation, *past_replaced = self.replace_failed(z, self.innovation(z, t), *past)
        return z, self.zero_dead(innovation), *past_replaced


@dataclass(frozen=True)
class Sequential(Posterior):
    r"""Abstract sequential method, which runs once through the record with an ensemble of each case.

    Subclasses say what they do with it in :meth:`run`, and how far behind they look in :attr:`reach`. A method with a
    single window (``cycles=1``) returns only the times at which its draws target the posterior of the problem,
    :math:`p(x_t | y_{0:T}, x_b)`: for a filter the last assimilated state and the forecast. With several cycles, all
    times of the record are returned, each with the draws given the observations up to then (or as far behind as a
    smoother looks), and the parameters are those of the last time.

    Args:
        problem: The problem.
        members: The number of members of each case's ensemble; at least as many as draws that are asked for.
    """

    takes_records: ClassVar[bool] = True
    joints: ClassVar[tuple[Joint, ...]] = ("background",)

    problem: Problem
    members: int = 100

    def __post_init__(self) -> None:
        """Checks that the ensemble has at least two members."""
        if self.members < 2:
            raise ValueError(f"members: an ensemble needs at least 2, not {self.members}")

    @property
    def distinct(self) -> int:
        """The number of members."""
        return self.members

    def check_samples(self, samples: int) -> None:
        """Checks that the ensemble has as many members."""
        if samples > self.members:
            raise ValueError(
                f"samples: {samples} asked of an ensemble of {self.members} members; raise members, or ask for fewer"
            )

    @property
    def reach(self) -> int:
        """The number of past states that an observation moves; none, of a filter."""
        return 0

    @property
    def steps(self) -> range:
        """The times that are returned: with several cycles all, else those that all observations reach."""
        problem = self.problem
        return range(0 if problem.cycles > 1 else max(0, problem.length - 1 - self.reach), problem.steps)

    @abc.abstractmethod
    def run(self, record: Record) -> Iterator[Tensor]:
        """Runs through the record.

        Args:
            record: The record of a batch of cases.

        Yields:
            The ensembles at each of the times ``steps``, in order, with shape ``(members, case, size)``; their members
            weigh the same, and failed ones have been replaced.
        """

    @property
    def stored(self) -> int:
        """The number of times whose ensembles are in memory at once."""
        return 1 + self.reach

    def pick(self, record: Record, samples: int) -> Iterator[Tensor]:
        """Runs through the record as :meth:`run` does, for members without replacement, the same ones at all times."""
        chosen = torch.randperm(self.members, device=record.y.device)[:samples]
        for z in self.run(record):
            yield z[chosen]

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the ensembles, with as many cases at a time as fit the memory."""
        cases, parameters = window.y.shape[0], len(self.problem.parameters)
        # Of all the members of all times, only the draws are kept.
        x = window.y.new_empty(samples, cases, len(self.steps), *self.problem.shape)
        theta = window.y.new_empty(samples, cases, parameters)
        parts = []
        # Of the problem, not of the cases: made once, however these are cut.
        climatology = StartingMoments(self.problem, window.start)
        size = self.members * (prod(self.problem.shape) + parameters)
        for chunk in chunks(cases, size, window.y.device, COPIES * size * self.stored):
            record = Record(self.problem, window.select(chunk), climatology)
            for i, z in enumerate(self.pick(record, samples)):
                x[:, chunk, i], theta[:, chunk] = record.split(z)
            dead = torch.arange(cases, device=x.device)[chunk][~record.alive]
            x[:, dead], theta[:, dead] = torch.nan, torch.nan
            parts.append(record.info)
        return Ensemble(x, theta, self.steps, {name: torch.cat([part[name] for part in parts]) for name in parts[0]})


@dataclass(frozen=True)
class Filter(Sequential):
    r"""Abstract filter: forecast and analysis in turn, :math:`p(x_t | y_{0:t-1}) \to p(x_t | y_{0:t})`.

    Subclasses are one method, :meth:`analyse`.

    Args:
        problem: The problem.
        members: The number of members of each case's ensemble.
    """

    @abc.abstractmethod
    def analyse(self, z: Tensor, innovation: Tensor, record: Record, t: int) -> Tensor:
        """Assimilates the observations of one time.

        Args:
            z: The forecast ensemble, with shape ``(members, case, size)``, states then whitened parameters.
            innovation: The whitened innovations of each member, with shape ``(members, case, observations)``, zero
                where nothing is observed.
            record: The record, which knows precisions and what each case has seen.
            t: The time.

        Returns:
            The analysis ensemble. Cases without any observation at this time keep their ensemble, whatever is
            returned for them.
        """

    def run(self, record: Record) -> Iterator[Tensor]:
        """Alternates between forecast and analysis; behind the record there is the forecast alone."""
        z = record.prior(self.members)
        for t in range(self.problem.steps):
            if t > 0:
                z = record.forecast(z, t - 1)
            if record.has_observations(t):
                z, innovation = record.compare(z, t)
                analysis = self.analyse(z, innovation, record, t)
                z = torch.where(record.seen[:, t].unsqueeze(-1), analysis, z)
            else:
                (z,) = record.replace_failed(z)
            if t in self.steps:
                yield z
