"""Operators of velocities: their curl and their magnitude."""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor

from .axes import per_axis
from .operators import Operator


class Vorticity(Operator):
    r"""The vorticity of a velocity :math:`(u, v)` that is periodic in both dimensions,

    .. math:: H(u, v) = \partial_x v - \partial_y u ,

    with derivatives of the waves of the grid, whose rows are :math:`y` and whose columns are :math:`x`. It is blind to
    the mean velocity, and along axes of even size to the shortest wave, whose derivative is not determined.

    Args:
        shape: The event shape of what it observes, ``(2, rows, columns)``.
        length: The length of the domain, in units of length: one number, or those along rows' axis and columns'.
    """

    def __init__(self, shape: Sequence[int], length: float | Sequence[float] = 2 * pi) -> None:
        super().__init__(shape)
        if len(self.shape) != 3 or self.shape[0] != 2:
            raise ValueError(
                f"vorticity is that of two channels (u, v) on a grid of two dimensions, not of shape {self.shape}; "
                "choose the two by the operator 'channels' in front of it"
            )
        self.length = per_axis("length", length, self.shape[1:])
        if min(self.length) <= 0:
            raise ValueError(f"length: must be positive, not {length}")

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(1, *grid)``."""
        return (1, *self.shape[1:])

    def __call__(self, x: Tensor) -> Tensor:
        """The vorticity of states of shape ``(*batch, 2, rows, columns)``."""
        u, v = x[..., :1, :, :], x[..., 1:, :, :]
        return _derivative(v, -1, self.length[1]) - _derivative(u, -2, self.length[0])


class Speed(Operator):
    r"""The magnitude :math:`H(x) = |x|` of a velocity, :math:`\sqrt{u^2 + v^2}` in two dimensions.

    Where it is zero, of all its gradients the one that is zero is taken.

    Args:
        shape: The event shape of what it observes, ``(channel, *grid)``, with one channel for each axis of the grid.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        if len(self.shape) < 2 or self.shape[0] != len(self.shape) - 1:
            raise ValueError(
                f"speed is that of a velocity with one channel for each axis of the grid, not of shape {self.shape}; "
                "choose those channels by the operator 'channels' in front of it"
            )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(1, *grid)``."""
        return (1, *self.shape[1:])

    def __call__(self, x: Tensor) -> Tensor:
        """The speed of states of shape ``(*batch, channel, *grid)``."""
        square = x.square().sum(dim=-len(self.shape), keepdim=True)
        still = square == 0
        # No root is taken of zero: its slope, infinite, would turn into NaN.
        return torch.where(still, 0, torch.where(still, 1, square).sqrt())


def _derivative(x: Tensor, axis: int, length: float) -> Tensor:
    """The derivative of periodic fields along an axis; the shortest wave of an even number of sites has none."""
    size = x.shape[axis]
    wave = torch.arange(size // 2 + 1, dtype=x.dtype, device=x.device) * (2 * pi / length)
    if size % 2 == 0:
        wave = torch.cat((wave[:-1], wave.new_zeros(1)))
    wave = wave.view(-1, *([1] * (-1 - axis)))
    return torch.fft.irfft(1j * wave * torch.fft.rfft(x, dim=axis), n=size, dim=axis)
