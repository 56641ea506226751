"""Linear advection with damping and diffusion, a system whose posteriors are known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, prod
from typing import ClassVar

import torch
from torch import Tensor

from ..tensors import append_dims
from .system import System


@dataclass(frozen=True, kw_only=True)
class LinearAdvection(System):
    r"""Advection with damping and diffusion on a ring, or a torus, of unit spacing. On each axis :math:`a`

    .. math::
        \dot x_i = -\sum_a c_a\,\frac{x_{i+e_a} - x_{i-e_a}}{2} - d\,x_i + \nu \sum_a (x_{i+e_a} - 2 x_i + x_{i-e_a}) ,

    advanced exactly: the operator is circulant, so its Fourier symbol is exponentiated. Channels move alike, and apart.

    Args:
        size: The number of sites :math:`N`; or one number for each axis of a grid, as ``[H, W]``.
        speed: The speed :math:`c`, in sites per time unit; as all parameters, a number or one per batch element. A
            sequence has one number for each axis of the grid, and one number holds for all of them.
        damping: The damping rate :math:`d`.
        diffusion: The diffusivity :math:`\nu`.
        dt: Time between states.
        names: The names of the channels, as ``[u, v]``: there are as many as names.
    """

    axes: ClassVar[int | str] = "size"

    size: int | Sequence[int] = 16
    speed: float | Tensor | Sequence[float] = 1.0
    damping: float | Tensor = 0.05
    diffusion: float | Tensor = 0.05
    dt: float = 0.5
    names: Sequence[str] = ("x",)

    def __post_init__(self) -> None:
        """Checks that there are enough sites, a speed for each axis, names, and a positive time step."""
        if isinstance(self.size, Sequence):
            object.__setattr__(self, "size", tuple(self.size))
        if len(self.grid) not in (1, 2):
            raise ValueError(f"size: a grid has one or two axes, not {len(self.grid)}; give one number, or [H, W]")
        for size in self.grid:
            if size < 2:
                raise ValueError(f"size: a ring needs at least 2 sites, not {size}")
        if isinstance(self.speed, Sequence):
            object.__setattr__(self, "speed", tuple(self.speed))
            if len(self.speed) != len(self.grid):
                raise ValueError(
                    f"speed: {len(self.speed)} numbers for a grid of {len(self.grid)} axes; give one, or one per axis"
                )
        if isinstance(self.names, str) or not self.names:
            raise ValueError(f"names: needs the name of each channel in a list, as [x], not {self.names!r}")
        object.__setattr__(self, "names", tuple(self.names))
        if self.dt <= 0:
            raise ValueError(f"dt: the time between states must be positive, not {self.dt}")

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names."""
        return tuple(self.names)

    @property
    def grid(self) -> tuple[int, ...]:
        """``(size,)``, or ``(H, W)``."""
        return tuple(self.size) if isinstance(self.size, Sequence) else (self.size,)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(channels, *grid)``."""
        return (len(self.names), *self.grid)

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws from :math:`N(0, I)`; shape ``(*batch, *shape)``."""
        return torch.randn(*batch, *self.shape)

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, *shape)`` by ``dt``, exactly."""
        axes = tuple(range(-len(self.grid), 0))
        symbol = torch.exp(self.dt * self._symbol(x))
        return torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * symbol, s=self.grid, dim=axes)

    def _symbol(self, like: Tensor) -> Tensor:
        """The Fourier symbol of the tendency, for real transforms: ``(*grid, last one halved)``, behind the batch."""
        dims = len(self.shape)
        damping, diffusion = append_dims(self.damping, dims), append_dims(self.diffusion, dims)
        speeds = self.speed if isinstance(self.speed, Sequence) else [append_dims(self.speed, dims)] * len(self.grid)
        decay, turn = like.new_zeros(()) - damping, like.new_zeros(())
        for axis, (size, speed) in enumerate(zip(self.grid, speeds, strict=True)):
            last = axis == len(self.grid) - 1
            k = torch.arange(size // 2 + 1 if last else size, dtype=like.dtype, device=like.device) * (2 * pi / size)
            k = append_dims(k, len(self.grid) - 1 - axis)
            decay = decay - diffusion * (2 - 2 * k.cos())
            turn = turn - speed * k.sin()
        return torch.complex(*torch.broadcast_tensors(decay, turn))

    def transition(self) -> Tensor:
        """Builds the matrix :math:`A` of one step, :math:`M(x) = A x` for flattened states, with shape ``(n, n)``."""
        n = prod(self.shape)
        return self.step(torch.eye(n).unflatten(-1, self.shape)).reshape(n, n).mT
