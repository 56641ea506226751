"""The iterative ensemble Kalman smoother."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ...problems import refill
from .kalman import Spectrum, check_inflation, inflate_and_rotate, solve_gain, whitened_anomalies
from .record import Record, Sequential, is_valid


@dataclass(frozen=True)
class IEnKS(Sequential):
    r"""Iterative ensemble Kalman smoother: 4DVAR in the space of the members, without an adjoint.

    The state at the start of a window, :math:`x_{t-L} = \bar x + w A`, minimises

    .. math:: J(w) = \tfrac{N - 1}{2} \|w\|^2 + \tfrac12 \sum_{s = t-S+1}^{t} \|y_s - H(x_s(w))\|^2_{R_s^{-1}}

    by Gauss–Newton, with sensitivities from the ensemble itself, which is transformed by the symmetric square root of
    the inverse Hessian at each iteration. Then the window moves on by ``shift`` states; each observation is assimilated
    once. Exact in the limit of many members if the problem is linear and Gaussian. Model errors under the weak
    constraint are members' own, and part of what is estimated.

    With the default lag and shift, a window is estimated as a whole, from all its observations at once, and all its
    times target the smoothing posterior :math:`p(x_{0:T} | y_{0:T})`. Otherwise a single window (``cycles=1``) is
    returned from ``lag`` states before its end; a smaller shift is then a quasi-static assimilation, one observation
    after another, which follows the mode of longer windows. With several cycles, each state is given the observations
    up to the end of the shift that it belongs to: with ``shift=1``, up to its own.

    Args:
        problem: The problem.
        members: The number of members :math:`N`.
        inflation: The factor by which the anomalies of each analysis, at the start of the window, are multiplied.
        rotation: Whether they are rotated at random; mean and covariance stay.
        lag: The number of states :math:`L` from the one that is estimated to the last one observed; None for one less
            than the window's.
        shift: The number of states :math:`S` whose observations are assimilated together; None for all from the
            estimated one on, ``lag + 1``.
        iterations: The most Gauss–Newton iterations.
        tolerance: The length of a step, in standard deviations of the prior, below which a case has converged.

    References:
        | An iterative ensemble Kalman smoother (Bocquet & Sakov, 2014), https://doi.org/10.1002/qj.2236
        | An iterative EnKF for strongly nonlinear systems (Sakov, Oliver & Bertino, 2012),
          https://doi.org/10.1175/MWR-D-11-00176.1
    """

    inflation: float = 1.0
    rotation: bool = False
    lag: int | None = None
    shift: int | None = None
    iterations: int = 20
    tolerance: float = 1e-2

    def __post_init__(self) -> None:
        """Checks that windows have no gaps between them, and the options of the iteration."""
        super().__post_init__()
        check_inflation(self.inflation)
        if self.reach < 0:
            raise ValueError(f"lag: must not be negative, not {self.lag}")
        if not 1 <= self.stride <= self.reach + 1:
            raise ValueError(f"shift: must be between 1 and lag + 1 = {self.reach + 1}, not {self.shift}")
        if self.iterations < 1:
            raise ValueError(f"iterations: at least one is needed, not {self.iterations}")
        if self.tolerance < 0:
            raise ValueError(f"tolerance: must not be negative, not {self.tolerance}")

    @property
    def reach(self) -> int:
        """The number of states from the estimated one to the last one observed."""
        return self.problem.window - 1 if self.lag is None else self.lag

    @property
    def stride(self) -> int:
        """The number of states whose observations are assimilated together."""
        return self.reach + 1 if self.shift is None else self.shift

    def run(self, record: Record) -> Iterator[Tensor]:
        """Estimates the state at the start of each window, runs it to the end, and moves on."""
        end = self.problem.length - 1
        record.info |= {name: record.y.new_zeros(record.cases) for name in ("iterations", "converged")}
        z = record.prior(self.members)
        first, error = 0, record.error(self.members, 0)
        starts = range(0, self.problem.length, self.stride)
        for start in starts:
            last = min(start + self.stride - 1, end)
            missing = last - first - error.shape[2]
            error = torch.cat((error, record.error(self.members, missing)), dim=2)
            z, error = self.analyse(record, z, error, first, range(start, last + 1))

            # The next window may start one state behind this one.
            following = max(0, min(last + self.stride, end) - self.reach)
            until = self.problem.steps - 1 if last == end else max(last, following)
            path, error = record.replace_failed(record.rollout(z, first, until - first, error), error)
            if self.problem.cycles > 1:
                yield from path[:, :, start - first : last + 1 - first].unbind(dim=2)
            elif last == end:
                yield from path.unbind(dim=2)
            if last < end:
                z, error, first = path[:, :, following - first], error[:, :, following - first :], following
        for name in ("iterations", "converged"):
            record.info[name] /= len(starts)

    def analyse(self, record: Record, z: Tensor, error: Tensor, first: int, times: range) -> tuple[Tensor, Tensor]:
        """Estimates the state at the start of a window, and the model errors in it.

        Args:
            record: The record.
            z: The ensemble at the start, with shape ``(members, case, size)``.
            error: The model errors up to the last time, with shape ``(members, case, steps, states)``.
            first: The time of the start.
            times: The times whose observations are assimilated.

        Returns:
            The ensemble at the start and the model errors, given these observations.
        """
        if not any(record.has_observations(t) for t in times):
            record.info["converged"] += 1
            return z, error
        control = torch.cat((z, error.flatten(2)), dim=-1)
        moved = inflate_and_rotate(self.minimise(record, control, z.shape[-1], first, times), rotate=self.rotation)
        seen = record.seen[:, times.start : times.stop].any(dim=1).unsqueeze(-1)
        moved = torch.where(seen, moved, control)
        state = torch.where(seen, inflate_and_rotate(moved[..., : z.shape[-1]], self.inflation), z)
        return state, moved[..., z.shape[-1] :].unflatten(-1, error.shape[2:])

    def minimise(self, record: Record, control: Tensor, size: int, first: int, times: range) -> Tensor:
        """Takes Gauss–Newton steps in the space of the members.

        A step is halved, until it is taken, if fewer than half as many members survive it as survive without.

        Args:
            record: The record.
            control: States and model errors together, with shape ``(members, case, size + errors)``.
            size: The number of entries of ``z`` in it.
            first: The time of the start of the window.
            times: The times whose observations are assimilated.

        Returns:
            The control, transformed.
        """
        scale = (self.members - 1) ** 0.5
        # The weights are those of the equation times this scale: a priori they are standard normal.
        weight = control.new_zeros(record.cases, self.members, 1, dtype=torch.double)
        step = torch.zeros_like(weight)
        spectrum = Spectrum.of(weight.expand(-1, -1, len(times) * prod(self.problem.observation.shape)))
        active = control.new_ones(record.cases, dtype=torch.bool)
        safe, least = control, control.new_ones(record.cases)
        for iteration in range(self.iterations):
            trial = weight + step
            current = spectrum.update(trial / scale)(control)
            innovation, survivors = self.innovations(record, current, size, first, times)
            if iteration == 0:
                least = (survivors.to(least) / 2).clamp(min=1)
            s, mean = whitened_anomalies(innovation)
            s = spectrum.power(0.5, s)  # what the ensemble would show had it not been transformed
            fresh = Spectrum.of(s)
            # A case that has converged stays, whatever others in the batch still need; one that diverged steps back.
            moves = active & (survivors >= least)
            column = moves.reshape(-1, 1, 1)
            safe = torch.where(moves.unsqueeze(-1), current, safe)
            spectrum = fresh.where(moves, spectrum)
            weight = torch.where(column, trial, weight)
            retreat = torch.where(active.reshape(-1, 1, 1), step / 2, step)
            step = torch.where(column, solve_gain(s, mean) - fresh.power(-1, trial), retreat)
            record.info["iterations"] += active
            active = active & (step.flatten(1).square().sum(dim=1) > self.tolerance**2)
            if not active.any():
                break
        record.info["converged"] += ~active
        final = spectrum.update((weight + step) / scale)(control)
        if active.any():
            # Steps that are not small have to be tried before they are taken.
            _, survivors = self.innovations(record, final, size, first, times)
            final = torch.where((~active | (survivors >= least)).unsqueeze(-1), final, safe)
        return final

    def innovations(
        self, record: Record, control: Tensor, size: int, first: int, times: range
    ) -> tuple[Tensor, Tensor]:
        """The innovations of some times side by side, and the number of members that reach them.

        Args:
            record: The record.
            control: States and model errors together, with shape ``(members, case, size + errors)``.
            size: The number of entries of ``z`` in it.
            first: The time of the start of the window.
            times: The times whose observations are compared.

        Returns:
            The innovations, with shape ``(members, case, times * observations)``, and the numbers, with shape
            ``(case,)``. Members that diverge show what others of their case do; where all do, the innovations are zero.
        """
        entries = prod(record.error_shape) if self.problem.weak else 0
        error = control[..., size:].unflatten(-1, (times[-1] - first, entries))
        start = control[..., :size]
        # Time first and contiguous: operators that are matrix products then need no copy.
        later = record.rollout(start, first, times[-1] - first, error)[:, :, 1:].movedim(2, 0).contiguous()
        states = (start, *later)
        innovation = torch.cat([record.innovation(states[t - first], t) for t in times], dim=-1)
        good = is_valid(innovation)
        survivors = good.sum(dim=0)
        return torch.where((survivors > 0).unsqueeze(-1), refill(good, innovation), 0), survivors
