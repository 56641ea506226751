"""The two-scale Lorenz-96 system."""

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
class TwoScaleLorenz96(ODE):
    r"""Two-scale Lorenz-96: a ring of slow sites :math:`X_k`, each coupled to :math:`J` fast ones :math:`Y_{j,k}`,

    .. math::
        \dot X_k &= (X_{k+1} - X_{k-2})\, X_{k-1} - X_k + F - \frac{hc}{b} \sum_{j=1}^{J} Y_{j,k} , \\
        \dot Y_{j,k} &= c b\, (Y_{j-1,k} - Y_{j+2,k})\, Y_{j+1,k} - c\, Y_{j,k} + \frac{hc}{b} X_k ,

    where the fast sites form one ring through all slow ones, :math:`Y_{J+1,k} = Y_{1,k+1}`. States hold the slow
    sites in their first channel and the fast ones in the others, so a model of the slow sites alone sees the first
    channel. Integrated with the classical Runge–Kutta scheme. Draws start from :math:`X \sim N(0, I)`,
    :math:`Y \sim N(0, 10^{-2} I)`, and run for ``spinup`` time units.

    Args:
        size: The number of slow sites :math:`N \geq 4`.
        fast: The number of fast sites :math:`J` of each slow one.
        forcing: The forcing :math:`F`, a number or one value per batch element, as all parameters.
        coupling: The coupling :math:`h`.
        rate: How much faster the fast sites are, :math:`c`.
        ratio: How much smaller they are, :math:`b`.
        dt: Time between states.
        substeps: Integration steps per ``dt``; the scheme is stable up to some 0.1 / rate per substep.
        spinup: Time between the noise and the first state.

    References:
        | Predictability: a problem partly solved (Lorenz, 1996), https://doi.org/10.1017/CBO9780511617652.004
        | Effects of stochastic parametrizations in the Lorenz '96 system (Wilks, 2005),
          https://doi.org/10.1256/qj.04.03
    """

    axes: ClassVar[int | str] = 1

    size: int = 16
    fast: int = 10
    forcing: float | Tensor = 10.0
    coupling: float | Tensor = 1.0
    rate: float | Tensor = 10.0
    ratio: float | Tensor = 10.0
    dt: float = 0.05
    substeps: int = 10
    spinup: float = 10.0

    def __post_init__(self) -> None:
        """Checks that there are enough sites of both scales and a positive time step."""
        if self.size < 4:
            raise ValueError(f"size: Lorenz-96 needs at least 4 sites, not {self.size}")
        if self.fast < 1:
            raise ValueError(f"fast: each slow site needs a fast one, not {self.fast}")
        check_times(self.dt, self.substeps, self.spinup)

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """``x``, then the fast channels."""
        return ("x", *(f"y{j + 1}" for j in range(self.fast)))

    @property
    def shape(self) -> tuple[int, ...]:
        """``(1 + fast, size)``."""
        return (1 + self.fast, self.size)

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws noise, advanced by the spin-up; shape ``(*batch, 1 + fast, size)``."""
        slow, fast = torch.randn(*batch, *self.shape).split((1, self.fast), dim=-2)
        x = torch.cat((slow, 0.1 * fast), dim=-2)
        return self.advance(x, round(self.spinup / self.dt))

    @staticmethod
    def equations(state: Neighbours, parameters: Sequence[Any]) -> Sequence[Any]:
        """The tendencies of a slow site and of its fast ones."""
        forcing, coupling, rate, ratio = parameters
        exchange, x, count = coupling * rate / ratio, state[0, 0], state.channels - 1

        def y(j: int) -> Any:
            """The fast sites, those of the neighbours too."""
            return state[1 + j % count, j // count]

        slow = (state[0, 1] - state[0, -2]) * state[0, -1] - x + forcing - exchange * sum(map(y, range(count)))
        fast = (rate * ratio * ((y(j - 1) - y(j + 2)) * y(j + 1)) - rate * y(j) + exchange * x for j in range(count))
        return slow, *fast

    def tendency(self, state: Tensor) -> Tensor:
        """The right-hand sides, with the shape of ``state``."""
        forcing, coupling, rate, ratio = (
            append_dims(p, 2) for p in (self.forcing, self.coupling, self.rate, self.ratio)
        )
        slow, fast = state[..., :1, :], state[..., 1:, :]
        exchange = coupling * rate / ratio
        ring = torch.cat((slow[..., -2:], slow, slow[..., :1]), dim=-1)
        advection = (ring[..., 3:] - ring[..., :-3]) * ring[..., 1:-2]
        d_slow = advection - slow + forcing - exchange * fast.sum(dim=-2, keepdim=True)

        # The ring of fast sites runs through the sites of one slow site, then through those of the next.
        y = fast.mT.flatten(-2)
        y = torch.cat((y[..., -1:], y, y[..., :2]), dim=-1)
        turning = ((y[..., :-3] - y[..., 3:]) * y[..., 2:-1]).unflatten(-1, (self.size, self.fast)).mT
        d_fast = rate * ratio * turning - rate * fast + exchange * slow
        return torch.cat((d_slow, d_fast), dim=-2)
