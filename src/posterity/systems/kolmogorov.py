"""The Kolmogorov flow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, exp, gcd, isfinite, pi
from typing import ClassVar

import torch
from torch import Tensor

from ..tensors import Constant, append_dims
from .fused import Fused
from .integrators import check_times
from .known import Known
from .lawson import Lawson
from .spectral import alias_free, resolved, solenoidal, waves
from .system import System

#: Speeds for which substeps are stable: those of the attractor reach 4 with the default parameters.
SPEED = 5.0
#: Half of the imaginary numbers that the Runge–Kutta scheme is stable for.
COURANT = 1.4


@dataclass(frozen=True, kw_only=True)
class Kolmogorov(System):
    r"""The Kolmogorov flow, two-dimensional turbulence on a periodic square that a wave of shear drives:

    .. math::
        \dot u + u \cdot \nabla u = -\nabla p + \frac{1}{\mathrm{Re}} \nabla^2 u - \mu u
        + \chi \begin{pmatrix} \sin k y \\ 0 \end{pmatrix} , \qquad \nabla \cdot u = 0 , \qquad (x, y) \in [0, 2\pi)^2 .

    Advanced as the waves of its vorticity and the mean velocity, pseudo-spectrally with the 2/3 rule, by Lawson's
    fourth-order scheme (:mod:`posterity.systems.lawson`) on a grid that may be finer than that of the states. They are
    padded up to it and truncated down from it at every state, so that the state is all that the model knows. Waves that
    have no part in the products (beyond a third of the fine grid) and divergence are gone after one step.

    Draws start from the spectrum of the literature, peaked at wave number 4, with a largest speed of 3, and run for
    ``spinup`` time units. The energy overshoots at times 5 to 10, and is stationary from some 25 on.

    Args:
        size: The states' grid: one number of points for both axes, or those along y and x.
        resolution: The grid of the integration, as ``size``; the states' own if omitted. With three halves of ``size``
            every wave of the state has its part in the dynamics.
        reynolds: The Reynolds number :math:`\mathrm{Re}`, the inverse of the viscosity: lengths in radians, and speeds
            in
            :math:`\sqrt\chi` of a unit forcing. A number or a tensor with one value per batch element, as all
            parameters.
        drag: The drag :math:`\mu`, which takes the energy out that cascades to the largest scales.
        forcing: The amplitude :math:`\chi` of the acceleration of the velocity; that of the vorticity is :math:`-k
            \chi`.
        wavenumber: The wave number :math:`k` of the forcing.
        dt: Time between states.
        substeps: Integration steps per ``dt``; as many as speeds of 5 need on the grid if omitted.
        spinup: Time between the spectrum and the first state.

    References:
        | Invariant recurrent solutions embedded in a turbulent two-dimensional Kolmogorov flow (Chandler & Kerswell,
          2013),
          https://doi.org/10.1017/jfm.2013.122
        | Machine learning-accelerated computational fluid dynamics (Kochkov et al., 2021),
          https://arxiv.org/abs/2102.01010
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    channels: ClassVar[tuple[str, ...]] = ("u", "v")
    axes: ClassVar[int | str] = 2

    size: int | tuple[int, int] = 64
    resolution: int | tuple[int, int] | None = None
    reynolds: float | Tensor = 1000.0
    drag: float | Tensor = 0.1
    forcing: float | Tensor = 1.0
    wavenumber: int = 4
    dt: float = 0.2
    substeps: int | None = None
    spinup: float = 25.0

    def __post_init__(self) -> None:
        """Checks grids, parameters and times."""
        check_times(self.dt, 1 if self.substeps is None else self.substeps, self.spinup)
        for name, points in (("size", self.size), ("resolution", self.resolution)):
            if not isinstance(points, int | None) and len(points) != 2:
                raise ValueError(f"{name}: one number of points, or those along y and x, not {points}")
        if any(fine < points for fine, points in zip(self.fine, self.grid, strict=True)):
            raise ValueError(f"resolution: the grid of the integration must have that of the states, {self.size}")
        if self.wavenumber < 1:
            raise ValueError(f"wavenumber: the forcing needs a whole number of periods, not {self.wavenumber}")
        if min(self.largest) < 1 or self.wavenumber > self.largest[0]:
            raise ValueError(
                f"size: {self.grid[0]} × {self.grid[1]} points, integrated on {self.fine[0]} × {self.fine[1]}, hold "
                f"waves up to {self.largest[0]} and {self.largest[1]}, which leaves out that of the forcing, "
                f"{self.wavenumber}; choose a finer grid"
            )
        if isinstance(self.reynolds, int | float) and not (self.reynolds > 0 and isfinite(self.reynolds)):
            raise ValueError(f"reynolds: the Reynolds number must be positive and finite, not {self.reynolds}")
        if isinstance(self.drag, int | float) and not self.drag >= 0:
            raise ValueError(f"drag: the drag must not be negative, not {self.drag}")

    @property
    def grid(self) -> tuple[int, int]:
        """The points of the states' grid along y and x."""
        return _pair(self.size)

    @property
    def lengths(self) -> tuple[float, ...]:
        r"""The plane is :math:`[0, 2\pi)^2`."""
        return (2 * pi, 2 * pi)

    @property
    def fine(self) -> tuple[int, int]:
        """The points of the grid of the integration."""
        return _pair(self.size if self.resolution is None else self.resolution)

    @property
    def largest(self) -> tuple[int, int]:
        """The largest wave numbers of states along y and x: below Nyquist's, and by the 2/3 rule of the fine grid."""
        height, width = (min(resolved(n), alias_free(m)) for n, m in zip(self.grid, self.fine, strict=True))
        return height, width

    @property
    def shape(self) -> tuple[int, ...]:
        """``(2, height, width)``."""
        return (2, *self.grid)

    @property
    def landscape(self) -> Tensor:
        r"""The pattern of the forcing, :math:`\sqrt2 \sin k y`, of unit variance."""
        height, width = self.grid
        y = 2 * pi / height * torch.arange(height, device="cpu")
        return 2**0.5 * (self.wavenumber * y).sin().unsqueeze(-1).expand(1, height, width)

    def kept(self, device: torch.device) -> float:
        """Of each state nothing but itself: the stages of a step are computed anew, a few batch elements at once."""
        return 1.0

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws velocities with the literature's spectrum, advanced by the spin-up; shape ``(*batch, 2, H, W)``."""
        of_grid = waves(*self.grid, self.largest)
        noise = of_grid.vorticity(torch.randn(*batch, *self.shape))
        # Amplitudes of the velocity: log-normal over the wave number, over the length of the circle of waves.
        k = (of_grid.rows.like(noise.real).square() + of_grid.columns.like(noise.real).square()).sqrt()
        k = torch.where(k == 0, torch.inf, k)
        amplitude = (-((4.0 * exp(0.25) / k).log().square() / 0.5)).exp() / k.square()
        x = of_grid.flow(noise * torch.where(k.isinf(), 0.0, amplitude))
        speed = x.square().sum(dim=-3, keepdim=True).amax(dim=(-2, -1), keepdim=True).sqrt()
        return self.advance(3.0 * x / speed, round(self.spinup / self.dt))

    def step(self, x: Tensor) -> Tensor:
        """Advances velocities of shape ``(*batch, 2, H, W)`` by ``dt``."""
        half, source = self._damping(x)
        return self.model.stepped(x, half, source)

    def stepper(self) -> Callable[[Tensor], Tensor]:
        """The step with its tangent and its adjoint by hand, and with factors that are made once."""
        arguments = self._arguments()
        return lambda x: Fused.apply(self.model, *arguments(x))

    def retracer(self, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        """The derivatives of the step, which need its argument only."""
        arguments = self._arguments()
        return lambda x, after: Known.apply(self.model, *arguments(x), after)

    def _arguments(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """What a fused step takes: states, and factors that are made once, with the batch of both."""
        made: list[tuple[Tensor, Tensor]] = []

        def of(x: Tensor) -> tuple[Tensor, ...]:
            if not made:
                made.append(self._damping(x))
            batch = torch.broadcast_shapes(x.shape[:-3], made[0][0].shape[:-2])
            fields = (value.expand(*batch, -1, -1) if value.ndim > 2 else value for value in made[0])
            return x.expand(*batch, -1, -1, -1), *fields

        return of

    def admissible(self, x: Tensor) -> Tensor:
        """The projection on velocities without divergence, of waves that the grid can tell."""
        return solenoidal(x)

    def shuffled(self, x: Tensor) -> Tensor:
        r"""Applies to each state a random symmetry of the flow that its grid has.

        Shifts along x; shifts along y by :math:`m \pi / k`, for odd :math:`m` with the reflection :math:`x \to -x, u
        \to -u`; and the rotation by half a turn, :math:`x \to -x` of positions and velocities.
        """
        height, width = self.grid
        flat = x.reshape(-1, *self.shape)
        n, device = len(flat), x.device
        # Half periods of the forcing that are whole rows of the grid.
        least = 2 * self.wavenumber // gcd(height, 2 * self.wavenumber)
        halves = least * torch.randint(2 * self.wavenumber // least, (n, 1), device=device)
        reflected = halves % 2 == 1
        turned = torch.randint(2, (n, 1), device=device) == 1
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        rows = torch.where(turned, -rows, rows) + halves * height // (2 * self.wavenumber)
        columns = torch.where(turned ^ reflected, -columns, columns) + torch.randint(width, (n, 1), device=device)
        there = (torch.arange(n, device=device)[:, None, None], rows[:, :, None] % height, columns[:, None] % width)
        u, v = (component[there] for component in flat.unbind(dim=1))
        signs = torch.stack((turned ^ reflected, turned), dim=1)[..., None]
        shuffled = torch.stack((u, v), dim=1)
        return torch.where(signs, -shuffled, shuffled).reshape(x.shape)

    @cached_property
    def model(self) -> Lawson:
        """The integration, without the parameters."""
        substeps = self.substeps
        if substeps is None:
            substeps = max(1, ceil(self.dt * SPEED * max(map(alias_free, self.fine)) / COURANT - 1e-9))
        fine = waves(*self.fine, (alias_free(self.fine[0]), alias_free(self.fine[1])))
        return Lawson(waves(*self.grid, self.largest), fine, self.dt / substeps, substeps)

    @cached_property
    def _constants(self) -> tuple[Constant, Constant] | None:
        """The factor and the source of half a substep, if all parameters are numbers."""
        if any(isinstance(value, Tensor) for value in (self.reynolds, self.drag, self.forcing)):
            return None
        # Gradients pass through what they are multiplied with, which tensors made in inference mode do not allow.
        with torch.inference_mode(False):
            half, source = self._factors(torch.zeros((), dtype=torch.float64, device="cpu"))
        return Constant(half), Constant(source)

    def _damping(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The factor and the source of half a substep, in the precision of states."""
        if self._constants is None:
            return self._factors(x)
        like = torch.zeros((), dtype=x.dtype.to_complex(), device=x.device)
        half, source = self._constants
        return half.like(like), source.like(like)

    def _factors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The factor and the source of half a substep, with the batch of the parameters."""
        fine, time = self.model.fine, self.model.h / 2
        reynolds, drag, forcing = (
            append_dims(torch.as_tensor(value, dtype=like.dtype, device=like.device), 2)
            for value in (self.reynolds, self.drag, self.forcing)
        )
        rows, columns = fine.rows.like(like), fine.columns.like(like)
        along_y = torch.exp(-time * (rows.square() / reynolds + drag))
        half = along_y * torch.exp(-time * columns.square() / reynolds)
        damping = self.wavenumber**2 / reynolds + drag
        # The curl of the forcing, -k χ cos(k y), is two waves of half that amplitude.
        amplitude = self.wavenumber / 2 * forcing * torch.expm1(-time * damping) / damping
        source = amplitude * ((rows.abs() == self.wavenumber) & (columns == 0)).to(like.dtype)
        return half.to(like.dtype.to_complex()), source.to(like.dtype.to_complex())


def _pair(points: int | tuple[int, int]) -> tuple[int, int]:
    """Points along y and x."""
    return (points, points) if isinstance(points, int) else (points[0], points[1])
