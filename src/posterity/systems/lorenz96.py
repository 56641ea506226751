"""The Lorenz-96 system."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..tensors import append_dims
from .equations.expressions import Neighbours
from .equations.ode import ODE
from .integrators import check_times


@dataclass(frozen=True, kw_only=True)
class Lorenz96(ODE):
    r"""Lorenz-96, a ring of sites that advect, damp and force a scalar:

    .. math:: \dot x_i = (x_{i+1} - x_{i-2})\, x_{i-1} - x_i + F .

    Integrated with the classical Runge–Kutta scheme. One time unit is about five days of the mid-latitude
    atmosphere. Draws start from :math:`N(0, I)` and run for ``spinup`` time units, after which they lie on the
    attractor; ``spinup=0`` starts from the noise itself.

    Args:
        size: The number of sites :math:`N \geq 4`.
        forcing: The forcing :math:`F`, a number or a tensor with one value per batch element.
        dt: Time between states.
        substeps: Integration steps per ``dt``; the scheme is stable up to some 0.1 per substep on the attractor.
        spinup: Time between the noise and the first state.

    References:
        | Predictability: a problem partly solved (Lorenz, 1996), https://doi.org/10.1017/CBO9780511617652.004
    """

    channels: ClassVar[tuple[str, ...]] = ("x",)
    axes: ClassVar[int | str] = 1

    size: int = 40
    forcing: float | Tensor = 8.0
    dt: float = 0.05
    substeps: int = 1
    spinup: float = 10.0

    def __post_init__(self) -> None:
        """Checks that there are enough sites and a positive time step."""
        if self.size < 4:
            raise ValueError(f"size: Lorenz-96 needs at least 4 sites, not {self.size}")
        check_times(self.dt, self.substeps, self.spinup)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(1, size)``."""
        return (1, self.size)

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws from :math:`N(0, I)`, advanced by the spin-up; shape ``(*batch, 1, size)``."""
        x = torch.randn(*batch, *self.shape)
        return self.advance(x, round(self.spinup / self.dt))

    @staticmethod
    def equations(state: Neighbours, parameters: Sequence[Any]) -> Sequence[Any]:
        """The tendency at a site."""
        (forcing,) = parameters
        return ((state[0, 1] - state[0, -2]) * state[0, -1] + (forcing - state[0, 0]),)

    def tendency(self, x: Tensor) -> Tensor:
        r"""The right-hand side :math:`\dot x`, with the shape of ``x``."""
        # One padded copy and four views cost half of three rolls.
        ring = torch.cat((x[..., -2:], x, x[..., :1]), dim=-1)
        ahead, behind, two_behind = ring[..., 3:], ring[..., 1:-2], ring[..., :-3]
        return torch.addcmul(append_dims(self.forcing, 2) - x, ahead - two_behind, behind)
