"""Rotating shallow water on a doubly periodic domain."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from ..tensors import append_dims
from .integrators import check_times, rk4
from .system import System


@dataclass(frozen=True, kw_only=True)
class ShallowWater(System):
    r"""Rotating shallow water on :math:`[0, 2\pi)^2`, driven by a sinusoidal force,

    .. math::
        \dot{\mathbf u} = -q\, \hat z \times h \mathbf u - \nabla\big(c^2 \eta + \tfrac12 |\mathbf u|^2\big)
            + \nu \nabla^2 \mathbf u - \mu \mathbf u + F \sin(k y)\, \hat x, \qquad
        \dot \eta = -\nabla \cdot (h \mathbf u), \qquad h = 1 + \eta, \quad q = \frac{f + \zeta}{h} ,

    with velocity :math:`\mathbf u = (u, v)`, elevation :math:`\eta` of the surface in units of the mean depth, speed
    :math:`c` of gravity waves, Coriolis parameter :math:`f`, and vorticity :math:`\zeta`. The jets that are driven are
    unstable, and shed eddies and gravity waves. With these parameters a small error grows tenfold in some seven time
    units.

    Discretised on the staggered C grid (:math:`u` half a cell east, :math:`v` half a cell north of :math:`\eta`) by the
    scheme that conserves mass and potential enstrophy, and integrated with the classical Runge–Kutta scheme, whose
    substeps must resolve gravity waves: some :math:`0.7\, \Delta x / (c + |\mathbf u|)`.

    Args:
        size: The number of cells along each axis, or those along :math:`y` and :math:`x`.
        wave_speed: The speed :math:`c`; as all parameters, a number or one per batch element.
        coriolis: The Coriolis parameter :math:`f`.
        viscosity: The viscosity :math:`\nu`.
        drag: The rate :math:`\mu` of linear drag.
        forcing: The amplitude :math:`F` of the force.
        wavenumber: The wave number :math:`k` of the force.
        dt: Time between states.
        substeps: Integration steps per ``dt``.
        spinup: Time between a random field of eddies and the first state.

    References:
        | The dynamics of finite-difference models of the shallow-water equations (Sadourny, 1975),
          https://doi.org/10.1175/1520-0469(1975)032<0680:TDOFDM>2.0.CO;2
    """

    channels: ClassVar[tuple[str, ...]] = ("u", "v", "eta")
    axes: ClassVar[int | str] = 2

    size: int | Sequence[int] = 32
    wave_speed: float | Tensor = 5.0
    coriolis: float | Tensor = 5.0
    viscosity: float | Tensor = 5e-3
    drag: float | Tensor = 0.1
    forcing: float | Tensor = 1.0
    wavenumber: int = 4
    dt: float = 0.1
    substeps: int = 10
    spinup: float = 50.0

    def __post_init__(self) -> None:
        """Checks that the grid resolves the force, and that times are positive."""
        grid = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        if len(grid) != 2 or min(grid) < 4:
            raise ValueError(f"size: needs one number or two, each at least 4, not {self.size}")
        object.__setattr__(self, "size", grid)
        if not 0 < 4 * self.wavenumber <= grid[0]:
            # With fewer the jets do not break up, and grow until the ground falls dry.
            raise ValueError(
                f"wavenumber: a wave of the force takes 4 rows, so that {grid[0]} of them hold wave numbers from 1 to "
                f"{grid[0] // 4}, not {self.wavenumber}; choose a smaller one, or a finer grid"
            )
        check_times(self.dt, self.substeps, self.spinup)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(3, rows, columns)``."""
        return (3, *self.size)  # type: ignore[misc]

    @property
    def lengths(self) -> tuple[float, ...]:
        r"""The plane is :math:`[0, 2\pi)^2`."""
        return (2 * pi, 2 * pi)

    @property
    def spacing(self) -> tuple[float, float]:
        r"""The sizes :math:`\Delta y, \Delta x` of a cell."""
        rows, columns = self.shape[1:]
        return 2 * pi / rows, 2 * pi / columns

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws eddies of unit speed over a flat surface, advanced by the spin-up; ``(*batch, 3, rows, columns)``."""
        rows, columns = self.shape[1:]
        square = (
            torch.fft.fftfreq(rows, 1 / rows).square().unsqueeze(-1) + torch.fft.rfftfreq(columns, 1 / columns).square()
        )
        noise = torch.fft.rfft2(torch.randn(*batch, rows, columns))
        stream = torch.fft.irfft2(noise * torch.exp(-square / 2 / self.wavenumber**2), s=(rows, columns))
        dy, dx = self.spacing
        # A stream function on the corners of cells gives a velocity on their faces that has no divergence at all.
        u, v = (stream.roll(1, -2) - stream) / dy, (stream - stream.roll(1, -1)) / dx
        speed = (u.square() + v.square()).mean(dim=(-2, -1), keepdim=True).sqrt()
        x = torch.stack((u / speed, v / speed, torch.zeros_like(u)), dim=-3)
        return self.advance(x, round(self.spinup / self.dt))

    def tendency(self, x: Tensor) -> Tensor:
        r"""The right-hand side :math:`(\dot u, \dot v, \dot \eta)`, with the shape of ``x``."""
        u, v, eta = x.unbind(dim=-3)
        wave_speed, coriolis, viscosity, drag, forcing = (
            append_dims(p, 2) for p in (self.wave_speed, self.coriolis, self.viscosity, self.drag, self.forcing)
        )
        dy, dx = self.spacing
        depth = 1 + eta
        flux_x, flux_y = u * _mean(depth, -1, -1), v * _mean(depth, -1, -2)
        vorticity = (v.roll(-1, -1) - v) / dx - (u.roll(-1, -2) - u) / dy
        potential = (coriolis + vorticity) / _mean(_mean(depth, -1, -1), -1, -2)
        head = wave_speed**2 * eta + 0.5 * (_mean(u.square(), 1, -1) + _mean(v.square(), 1, -2))
        y = dy * torch.arange(x.shape[-2], dtype=x.dtype, device=x.device).unsqueeze(-1)
        return torch.stack(
            (
                _mean(potential, 1, -2) * _mean(_mean(flux_y, -1, -1), 1, -2)
                - (head.roll(-1, -1) - head) / dx
                + forcing * torch.sin(self.wavenumber * y)
                + viscosity * self._laplacian(u)
                - drag * u,
                -_mean(potential, 1, -1) * _mean(_mean(flux_x, -1, -2), 1, -1)
                - (head.roll(-1, -2) - head) / dy
                + viscosity * self._laplacian(v)
                - drag * v,
                (flux_x.roll(1, -1) - flux_x) / dx + (flux_y.roll(1, -2) - flux_y) / dy,
            ),
            dim=-3,
        )

    def _laplacian(self, a: Tensor) -> Tensor:
        """The Laplacian by second differences, with the shape of ``a``."""
        dy, dx = self.spacing
        return (a.roll(1, -1) + a.roll(-1, -1) - 2 * a) / dx**2 + (a.roll(1, -2) + a.roll(-1, -2) - 2 * a) / dy**2

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, 3, rows, columns)`` by ``dt``."""
        for _ in range(self.substeps):
            x = rk4(self.tendency, x, self.dt / self.substeps)
        return x


def _mean(a: Tensor, shift: int, axis: int) -> Tensor:
    """The mean of each entry with its neighbour: ahead along the axis for a shift of -1, behind for 1."""
    return 0.5 * (a + a.roll(shift, axis))
