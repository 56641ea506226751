"""Currents that are injected into neurons, as functions of time."""

import abc
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...tensors import Constant


class Stimulus(abc.ABC):
    """Abstract current, known at all times."""

    @abc.abstractmethod
    def __call__(self, time: Tensor) -> Tensor:
        """The current.

        Args:
            time: Times since the start of the system's ensemble, in ms, with shape ``(*)``.

        Returns:
            The current at these times, in µA/cm², with the same shape; zero before the start.
        """


@dataclass(frozen=True)
class Step(Stimulus):
    r"""Step of the current: constant between two times, and zero else.

    Args:
        amplitude: The current, in µA/cm²; by default 0.5 nA into a sphere's area of :math:`\pi (70\,\mu m)^2`.
        begin: The time at which it starts, in ms.
        end: The time at which it ends, in ms.
    """

    amplitude: float = 3.2480601
    begin: float = 10.0
    end: float = 110.0

    def __post_init__(self) -> None:
        """Checks that it ends after it starts."""
        if not 0 <= self.begin < self.end:
            raise ValueError(f"begin, end: a step needs 0 <= begin < end, not {self.begin} and {self.end}")

    def __call__(self, time: Tensor) -> Tensor:
        """The amplitude from ``begin`` until before ``end``."""
        return torch.where((time >= self.begin) & (time < self.end), self.amplitude, torch.zeros_like(time))


@dataclass(frozen=True)
class Recorded(Stimulus):
    """Recorded current, from a file: linear between the times of its rows, zero before the first and behind the last.

    Args:
        file: A file of comma-separated rows, of which the first column is the time since the start of the ensemble and
            the second the current; a row of headings may lead. Relative paths count from the folder of the command.
        time_unit: The unit of the times, in ms: 1000 for seconds.
        scale: The unit of the currents, in µA/cm²: of pA into a membrane of A µm², 100 / A.
    """

    file: str
    time_unit: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Checks units and the file."""
        if self.time_unit <= 0:
            raise ValueError(f"time_unit: must be positive, not {self.time_unit}")
        if not Path(self.file).is_file():
            raise ValueError(f"file: there is no {self.file}; a relative path counts from {Path.cwd()}")
        rows = self.table.value
        if len(rows) < 2 or not rows.isfinite().all() or not (rows[1:, 0] > rows[:-1, 0]).all():
            raise ValueError(
                f"file: {self.file} needs two columns of numbers, times that increase and currents, without gaps: "
                "save it as comma-separated values, time first"
            )

    @cached_property
    def table(self) -> Constant:
        """Times, in ms, and currents, in µA/cm², with shape ``(rows, 2)``, in double precision."""
        rows = np.atleast_2d(np.genfromtxt(self.file, delimiter=",", dtype=np.float64, encoding="utf-8"))[:, :2]
        headed = len(rows) > 1 and np.isnan(rows[0]).all()
        scaled = rows[int(headed) :] * (self.time_unit, self.scale)
        return Constant(torch.tensor(scaled, dtype=torch.double, device="cpu"))

    def __call__(self, time: Tensor) -> Tensor:
        """The current, by linear interpolation."""
        at, current = self.table.like(time).unbind(dim=-1)
        index = torch.searchsorted(at.contiguous(), time.contiguous(), right=True).clamp(1, len(at) - 1)
        part = (time - at[index - 1]) / (at[index] - at[index - 1])
        there = (time >= at[0]) & (time <= at[-1])
        return torch.where(there, torch.lerp(current[index - 1], current[index], part), torch.zeros_like(time))


#: Steps of the table of a chaotic current, per unit of time of the Lorenz system.
RESOLUTION = 50


@dataclass(frozen=True)
class Chaotic(Stimulus):
    r"""Chaotic current, which shows a neuron at all voltages and at many rates: the first variable of a Lorenz system,

    .. math:: I(t) = \mu + s\, x(t / \tau), \qquad 0 \leq t < T ,

    and zero else, with the classical parameters of :class:`~posterity.systems.Lorenz63`, whose :math:`x` has mean zero
    and the standard deviation 7.9. Its start is drawn with a seed of its own, so that the current is the same in all
    cases, trainings and runs. It is a table of Runge–Kutta steps of :math:`\tau / 50`, between which cubic
    polynomials with the slopes of the system interpolate.

    Args:
        mean: The mean :math:`\mu`, in µA/cm².
        scale: The scale :math:`s`, in µA/cm².
        tempo: The time :math:`\tau` that a unit of the Lorenz system takes, in ms; it oscillates with some 0.75 units.
        duration: The time :math:`T` at which it ends, in ms.
        seed: The seed of its start.

    References:
        | Dynamical estimation of neuron and network properties II: path integral Monte Carlo methods
          (Kostuk et al., 2012), https://doi.org/10.1007/s00422-012-0487-5
    """

    mean: float = 10.0
    scale: float = 1.5
    tempo: float = 20.0
    duration: float = 1000.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks that tempo and duration are positive."""
        if self.tempo <= 0 or self.duration <= 0:
            raise ValueError(f"tempo, duration: must be positive, not {self.tempo} and {self.duration}")

    @cached_property
    def table(self) -> Constant:
        """The variable and its slope per step of the table, with shape ``(steps, 2)``, in double precision."""
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        x, y, z = torch.randn(3, generator=generator, dtype=torch.double, device="cpu").tolist()
        path = lorenz((x, y, z + 25.0), 20 * RESOLUTION + int(self.duration / self.tempo * RESOLUTION) + 2)
        rows = [(x, slope(x, y, z)[0] / RESOLUTION) for x, y, z in path[20 * RESOLUTION :]]
        return Constant(torch.tensor(rows, dtype=torch.double, device="cpu"))

    def __call__(self, time: Tensor) -> Tensor:
        """The current, by interpolation."""
        table, place = self.table.like(time), time * (RESOLUTION / self.tempo)
        index = place.floor().long().clamp(0, len(table) - 2)
        r = place - index
        (x, slope), (ahead, slope_ahead) = table[index].unbind(dim=-1), table[index + 1].unbind(dim=-1)
        rise = ahead - x
        bend = r * (1 - r) * ((1 - r) * (slope - rise) + r * (rise - slope_ahead))
        there = (time >= 0) & (time < self.duration)
        return torch.where(there, self.mean + self.scale * (x + r * rise + bend), torch.zeros_like(time))


def slope(x: float, y: float, z: float) -> tuple[float, float, float]:
    """The right-hand side of the Lorenz system."""
    return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z


def lorenz(start: tuple[float, float, float], steps: int) -> list[tuple[float, float, float]]:
    """States of the Lorenz system at points of the table: of one trajectory, for which tensors would be slow."""
    dt, path = 1 / RESOLUTION, [start]

    def moved(state: tuple[float, ...], k: tuple[float, ...], time: float) -> tuple[float, float, float]:
        """The state, moved along a slope."""
        x, y, z = (value + time * rate for value, rate in zip(state, k, strict=True))
        return x, y, z

    for _ in range(steps - 1):
        k1 = slope(*path[-1])
        k2 = slope(*moved(path[-1], k1, dt / 2))
        k3 = slope(*moved(path[-1], k2, dt / 2))
        k4 = slope(*moved(path[-1], k3, dt))
        mean = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
        path.append(moved(path[-1], mean, dt))
    return path
