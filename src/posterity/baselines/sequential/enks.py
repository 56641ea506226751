"""The ensemble Kalman smoother."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .kalman import check_inflation, inflate_and_rotate, square_root
from .record import Record, Sequential


@dataclass(frozen=True)
class EnKS(Sequential):
    r"""Ensemble Kalman smoother: the transform of each analysis is applied to past states too,

    .. math:: E_{t-l} \leftarrow \bar x_{t-l} + (w_t + T_t) A_{t-l}, \qquad l = 0, …, L ,

    with the weights :math:`w_t` and the symmetric square root :math:`T_t` of the ensemble transform Kalman filter.
    Tends to :math:`p(x_{t-L} | y_{0:t})` with the number of members if the problem is linear and Gaussian. Needs no
    model runs beyond the filter's.

    A single window is returned from the last state that all observations reach, ``lag`` states before its end: from its
    start if the lag is none. With several cycles, each state is given the observations up to ``lag`` states behind it.

    Args:
        problem: The problem.
        members: The number of members :math:`N`.
        inflation: The factor by which the anomalies of each analysis are multiplied, those of the present state alone.
        rotation: Whether they are rotated at random, past states and present alike; mean and covariance stay.
        lag: The number of past states :math:`L` that an analysis moves; None for all of them.

    References:
        | An ensemble Kalman smoother for nonlinear dynamics (Evensen & van Leeuwen, 2000),
          https://doi.org/10.1175/1520-0493(2000)128%3C1852:AEKSFN%3E2.0.CO;2
    """

    inflation: float = 1.0
    rotation: bool = False
    lag: int | None = None

    def __post_init__(self) -> None:
        """Checks that the inflation is positive and the lag not negative."""
        super().__post_init__()
        check_inflation(self.inflation)
        if self.lag is not None and self.lag < 0:
            raise ValueError(f"lag: must not be negative, not {self.lag}")

    @property
    def reach(self) -> int:
        """The number of past states that an analysis moves."""
        return self.problem.length if self.lag is None else self.lag

    def run(self, record: Record) -> Iterator[Tensor]:
        """Filters, and updates the past states within the lag with each analysis."""
        z = record.prior(self.members)
        past = z.unsqueeze(2)[:, :, :0]
        for t in range(self.problem.length):
            if t > 0:
                z = record.forecast(z, t - 1)
            if record.has_observations(t):
                z, innovation, past = record.compare(z, t, past)
                z, past = self.analyse(z, past, innovation, record.seen[:, t])
            else:
                z, past = record.replace_failed(z, past)
            past = torch.cat((past, z.unsqueeze(2)), dim=2)
            if t >= self.reach:
                if t - self.reach in self.steps:
                    yield past[:, :, 0]
                past = past[:, :, 1:]
        yield from past.unbind(dim=2)
        for t in range(self.problem.length, self.problem.steps):
            (z,) = record.replace_failed(record.forecast(z, t - 1))
            yield z

    def analyse(self, z: Tensor, past: Tensor, innovation: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Moves the present state and the past ones by the same transform.

        Args:
            z: The forecast ensemble, with shape ``(members, case, size)``.
            past: The ensembles of past times, with shape ``(members, case, times, size)``.
            innovation: The whitened innovations of each member, with shape ``(members, case, observations)``.
            seen: Whether a case has any observation, with shape ``(case,)``; others stay as they are.

        Returns:
            The analysis ensemble, and the past ones.
        """
        together = torch.cat((past, z.unsqueeze(2)), dim=2)
        moved = self.transform(together, innovation)
        moved = inflate_and_rotate(moved, rotate=self.rotation)
        moved = torch.where(seen.reshape(-1, 1, 1), moved, together)
        analysis = torch.where(seen.unsqueeze(-1), inflate_and_rotate(moved[:, :, -1], self.inflation), z)
        return analysis, moved[:, :, :-1]

    def transform(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Transforms ensembles of several times, with shape ``(members, case, times, size)``."""
        return square_root(innovation)(z.flatten(2)).unflatten(2, z.shape[2:])
