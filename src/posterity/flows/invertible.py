"""Invertible layers over periodic fields, each steered by a field over the same grid.

Channels are last here, ``(case, *grid, channel)``: matrices act on the channels of a site, and on the small grids of
coarse scales that is faster than a convolution.
"""

import abc
from collections.abc import Iterable, Iterator
from itertools import product
from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..nn.layers import shrink
from .spline import affine_spline, soft_clip

#: Limits of log-scales, and of the entries of kernels: regressions between standardised channels have hardly larger
#: ones, and products of unbounded kernels would amplify rounding errors beyond use.
SCALE, KERNEL = 6.0, 2.0


class Invertible(nn.Module, abc.ABC):
    """Abstract invertible layer, with the log-determinant of its Jacobian."""

    @abc.abstractmethod
    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Applies it.

        Args:
            z: Fields, with shape ``(case, *grid, channels)``.
            h: The steering field, with shape ``(case, *grid, steering channels)``.

        Returns:
            The image, with the shape of ``z``, and the logarithm of the Jacobian's determinant, with shape ``(case,)``.
        """

    @abc.abstractmethod
    def inverse(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Inverts the layer; the log-determinant is that of the layer itself, not of its inverse."""

    def standardize(self, z: Tensor, h: Tensor) -> Tensor:
        """Initialises parameters from the statistics of training draws, and returns the image of the draws."""
        return self(z, h)[0]


class Chain(Invertible):
    """A composition of invertible layers.

    Args:
        layers: The layers, the first to act first.
    """

    def __init__(self, layers: Iterable[Invertible]) -> None:
        super().__init__()
        self.layers = InvertibleList(layers)

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Applies the layers in order."""
        total = z.new_zeros(len(z))
        for layer in self.layers:
            z, log_det = layer(z, h)
            total = total + log_det
        return z, total

    def inverse(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Inverts the layers, the last first."""
        total = z.new_zeros(len(z))
        for layer in reversed(list(self.layers)):
            z, log_det = layer.inverse(z, h)
            total = total + log_det
        return z, total

    def standardize(self, z: Tensor, h: Tensor) -> Tensor:
        """Initialises each layer from the statistics of its inputs."""
        for layer in self.layers:
            z = layer.standardize(z, h)
        return z


class InvertibleList(nn.ModuleList):
    """A list of invertible layers."""

    def __iter__(self) -> Iterator[Invertible]:
        """Iterates over the layers."""
        return cast(Iterator[Invertible], super().__iter__())


class ActNorm(Invertible):
    r"""An activation normalisation, which scales and shifts each channel, and each site by its steering field,

    .. math:: z_i \mapsto e^{s + s(h_i)} (z_i + b + b(h_i)) .

    It starts from mean zero and variance one of each channel. The steered part is what makes the Gaussian of a narrow
    posterior, far from its prior, a standard one before anything else acts on it.

    Args:
        channels: The number of channels.
        steering: The number of channels of the steering field.

    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma & Dhariwal, 2018),
        https://arxiv.org/abs/1807.03039
    """

    def __init__(self, channels: int, steering: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.steer = nn.Linear(steering, 2 * channels)
        shrink(self.steer)

    def factors(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of the scale, and the shift, each with shape ``(case, *grid, channels)``."""
        scale, shift = self.steer(h).chunk(2, dim=-1)
        return self.scale + soft_clip(scale, SCALE), self.shift + shift

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and shifts."""
        scale, shift = self.factors(h)
        return scale.exp() * (z + shift), scale.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Shifts and scales back."""
        scale, shift = self.factors(h)
        return (-scale).exp() * z - shift, scale.flatten(1).sum(dim=1)

    @torch.no_grad()
    def standardize(self, z: Tensor, h: Tensor) -> Tensor:
        """Takes mean and scale of each channel."""
        std, mean = torch.std_mean(z.flatten(0, -2), dim=0)
        self.shift.copy_(-mean)
        self.scale.copy_(-std.clamp(min=1e-6).log())
        return self(z, h)[0]


class InvertibleConvolution(Invertible):
    r"""An invertible convolution of unit determinant, with kernels that the steering field gives at each site,

    .. math:: z_b \mapsto z_b + L(h) * z_a , \qquad z_a \mapsto z_a + U(h) * z_b ,

    by a lifting step from the first half of the channels, at a site and its neighbours, to the second, and one back.
    Each is unit triangular in the halves. Unlike kernels that are triangular in space they are periodic, and undone
    everywhere at once.

    Args:
        dims: The number of dimensions of the grid.
        channels: The number of channels, at least 2.
        steering: The number of channels of the steering field.
        kernel: The width of the kernels, an odd number.

    References:
        | Factoring Wavelet Transforms into Lifting Steps (Daubechies & Sweldens, 1998),
          https://doi.org/10.1007/BF02476026
        | Emerging Convolutions for Generative Normalizing Flows (Hoogeboom et al., 2019),
          https://arxiv.org/abs/1901.11137
    """

    def __init__(self, dims: int, channels: int, steering: int, kernel: int) -> None:
        super().__init__()
        self.halves, self.kernel = (channels // 2, channels - channels // 2), kernel
        self.steer = nn.Linear(steering, 2 * prod(self.halves) * kernel**dims)
        shrink(self.steer)

    def kernels(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The kernels to the second half and to the first, each with shape ``(case, *grid, to, from)``."""
        first, second = self.halves
        lift, back = soft_clip(self.steer(h), KERNEL).chunk(2, dim=-1)
        return lift.unflatten(-1, (second, -1)), back.unflatten(-1, (first, -1))

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Applies both lifting steps."""
        lift, back = self.kernels(h)
        a, b = z.split(self.halves, dim=-1)
        b = b + apply(lift, neighbours(a, self.kernel))
        a = a + apply(back, neighbours(b, self.kernel))
        return torch.cat((a, b), dim=-1), z.new_zeros(len(z))

    def inverse(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Inverts the lifting steps, the last first."""
        lift, back = self.kernels(h)
        a, b = z.split(self.halves, dim=-1)
        a = a - apply(back, neighbours(b, self.kernel))
        b = b - apply(lift, neighbours(a, self.kernel))
        return torch.cat((a, b), dim=-1), z.new_zeros(len(z))


class Coupling(Invertible):
    r"""A coupling layer, which transforms one half of the channels given the other half and the steering field,

    .. math:: z_b \mapsto S\left( e^{s} z_b + m \right), \qquad (s, m, S) = f(z_a, h) ,

    with a network :math:`f` of one convolution and two layers within each site, and monotone rational-quadratic splines
    :math:`S`.

    Args:
        dims: The number of dimensions of the grid.
        channels: The number of channels.
        steering: The number of channels of the steering field.
        width: The number of channels of its network.
        kernel: The width of the convolution's kernel.
        bins: The number of bins of each spline; 0 for affine maps only.
        first: Whether the first half is transformed, or the second.

    References:
        | Density Estimation using Real NVP (Dinh et al., 2016), https://arxiv.org/abs/1605.08803
        | Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """

    def __init__(
        self, dims: int, channels: int, steering: int, width: int, kernel: int, bins: int, first: bool
    ) -> None:
        super().__init__()
        self.halves, self.first = (channels // 2, channels - channels // 2), first
        seen, transformed = reversed(self.halves) if first else self.halves
        self.sizes = (1, 1, 3 * bins - 1) if bins else (1, 1)
        self.numbers = sum(self.sizes)
        self.inside = SiteConvolution(dims, seen + steering, width, kernel)
        self.between = nn.Linear(width, width)
        self.outside = nn.Linear(width, transformed * self.numbers)
        shrink(self.outside)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The half that is left alone, and the one that is transformed."""
        one, other = z.split(self.halves, dim=-1)
        return (other, one) if self.first else (one, other)

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        """The inverse of :meth:`split`."""
        return torch.cat((b, a) if self.first else (a, b), dim=-1)

    def maps(self, a: Tensor, h: Tensor) -> list[Tensor]:
        """Log-scales and shifts with shape ``(case, *grid, half)``, and the parameters of splines if there are any."""
        x = functional.silu(self.inside(torch.cat((a, h), dim=-1)))
        x = x + functional.silu(self.between(x))
        scale, shift, *bend = self.outside(x).unflatten(-1, (-1, self.numbers)).movedim(-1, 0).split(self.sizes)
        return [soft_clip(scale.squeeze(0), SCALE), shift.squeeze(0), *bend]

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Transforms one half."""
        a, b = self.split(z)
        b, log_slope = affine_spline(b, *self.maps(a, h))
        return self.join(a, b), log_slope.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Inverts the transform of the half."""
        a, b = self.split(z)
        b, log_slope = affine_spline(b, *self.maps(a, h), inverse=True)
        return self.join(a, b), log_slope.flatten(1).sum(dim=1)


class SiteConvolution(nn.Module):
    """A convolution over a periodic grid of one or two dimensions, channels last.

    Args:
        dims: The number of dimensions of the grid.
        inputs: The number of channels of the input.
        outputs: The number of channels of the output.
        kernel: The width of the kernel, an odd number.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.layer = nn.Linear(inputs * kernel**dims, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Applies it to fields of shape ``(case, *grid, inputs)``."""
        return self.layer(neighbours(x, self.kernel))


def neighbours(x: Tensor, kernel: int) -> Tensor:
    """The channels of the neighbours of each site beside its own, ``(case, *grid, kernel**dims * channels)``."""
    dims, half = x.ndim - 2, kernel // 2
    if not half:
        return x
    axes = tuple(range(1, 1 + dims))
    return torch.cat([x.roll(by, axes) for by in product(range(-half, half + 1), repeat=dims)], dim=-1)


def apply(kernel: Tensor, x: Tensor) -> Tensor:
    """Applies a matrix to the channels of each site, ``(case, *grid, to, from)`` to ``(case, *grid, from)``."""
    return (kernel * x.unsqueeze(-2)).sum(dim=-1)
