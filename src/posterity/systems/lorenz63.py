"""The Lorenz-63 system."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .equations.expressions import Neighbours
from .equations.ode import ODE
from .integrators import check_times


@dataclass(frozen=True, kw_only=True)
class Lorenz63(ODE):
    r"""Lorenz-63 system of three convection modes:

    .. math::
        \dot x = \sigma (y - x), \quad \dot y = x (\rho - z) - y, \quad \dot z = x y - \beta z .

    Integrated with the classical Runge–Kutta scheme. Draws start from :math:`N((0, 0, 25), I)` and run for
    ``spinup`` time units.

    Args:
        sigma: The Prandtl number :math:`\sigma`, a number or one value per batch element, as all parameters.
        rho: The reduced Rayleigh number :math:`\rho`.
        beta: The aspect ratio :math:`\beta`.
        dt: Time between states.
        substeps: Integration steps per ``dt``.
        spinup: Time between the noise and the first state.

    References:
        | Deterministic Nonperiodic Flow (Lorenz, 1963),
          https://doi.org/10.1175/1520-0469(1963)020%3C0130:DNF%3E2.0.CO;2
    """

    channels: ClassVar[tuple[str, ...]] = ("x", "y", "z")
    axes: ClassVar[int | str] = 0

    sigma: float | Tensor = 10.0
    rho: float | Tensor = 28.0
    beta: float | Tensor = 8.0 / 3.0
    dt: float = 0.025
    substeps: int = 1
    spinup: float = 20.0

    def __post_init__(self) -> None:
        """Checks time step, substeps and spin-up."""
        check_times(self.dt, self.substeps, self.spinup)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(3,)``."""
        return (3,)

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws around the middle of the attractor, advanced by the spin-up; shape ``(*batch, 3)``."""
        x = torch.randn(*batch, 3) + torch.tensor([0.0, 0.0, 25.0])
        return self.advance(x, round(self.spinup / self.dt))

    @staticmethod
    def equations(state: Neighbours, parameters: Sequence[Any]) -> Sequence[Any]:
        """The tendencies of the three modes."""
        sigma, rho, beta = parameters
        x, y, z = (state[mode, 0] for mode in range(3))
        return sigma * (y - x), x * (rho - z) - y, x * y - beta * z
