"""Linear advection with damping and diffusion, a system whose posteriors are known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from ..tensors import append_dims
from .system import System


@dataclass(frozen=True, kw_only=True)
class LinearAdvection(System):
    r"""Advection with damping and diffusion on a ring of unit spacing,

    .. math:: \dot x_i = -c\,\frac{x_{i+1} - x_{i-1}}{2} - a\,x_i + \nu\,(x_{i+1} - 2 x_i + x_{i-1}) ,

    advanced exactly: the operator is circulant, so its Fourier symbol :math:`\lambda_k` is exponentiated.

    Args:
        size: The number of sites :math:`N`.
        speed: The speed :math:`c`, in sites per time unit; as all parameters, a number or one per batch element.
        damping: The damping rate :math:`a`.
        diffusion: The diffusivity :math:`\nu`.
        dt: Time between states.
    """

    channels: ClassVar[tuple[str, ...]] = ("x",)

    size: int = 16
    speed: float | Tensor = 1.0
    damping: float | Tensor = 0.05
    diffusion: float | Tensor = 0.05
    dt: float = 0.5

    def __post_init__(self) -> None:
        """Checks that there are enough sites and a positive time step."""
        if self.size < 2:
            raise ValueError(f"size: a ring needs at least 2 sites, not {self.size}")
        if self.dt <= 0:
            raise ValueError(f"dt: the time between states must be positive, not {self.dt}")

    @property
    def shape(self) -> tuple[int, ...]:
        """``(1, size)``."""
        return (1, self.size)

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws from :math:`N(0, I)`; shape ``(*batch, 1, size)``."""
        return torch.randn(*batch, *self.shape)

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, 1, size)`` by ``dt``, exactly."""
        k = torch.arange(self.size // 2 + 1, dtype=x.dtype, device=x.device) * (2 * pi / self.size)
        speed, damping, diffusion = (append_dims(p, 2) for p in (self.speed, self.damping, self.diffusion))
        symbol = torch.complex(-damping - diffusion * (2 - 2 * k.cos()), -speed * k.sin())
        return torch.fft.irfft(torch.fft.rfft(x) * torch.exp(self.dt * symbol), n=self.size)

    def transition(self) -> Tensor:
        """Builds the matrix :math:`A` of one step, :math:`M(x) = A x`, with shape ``(size, size)``."""
        basis = torch.eye(self.size).unsqueeze(-2)
        return self.step(basis).squeeze(-2).mT
