"""Multi-scale flows over periodic fields; see :mod:`posterity.flows`."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

import torch
from torch import Tensor, nn

from ..nn.layers import check_kernel
from ..tensors import white_noise
from .flow import ConditionalFlow, Flow, log_normal
from .invertible import ActNorm, Chain, Coupling, Invertible, InvertibleConvolution, InvertibleList, SiteConvolution

#: The most channels between which convolutions reach beyond a site.
NEIGHBOURS = 8


class MultiScale(Flow):
    r"""A multi-scale convolutional flow over periodic fields, steered by a field of context.

    Each block goes through some scales. At each it squeezes the grid by two along every axis (neighbours become
    channels), then applies a step: an :class:`~.invertible.ActNorm`, an :class:`~.invertible.InvertibleConvolution`
    and two :class:`~.invertible.Coupling`, one for each half of the channels. Fields of several channels
    have one more step before. A block ends by unsqueezing, and the next one sees the field shifted by one site along
    every axis and by one channel, so that it groups them otherwise. A step is steered by the context, which is squeezed
    and convolved to its scale. Draws cost about as much as densities.

    An axis of odd length is not squeezed: such grids have fewer scales. Equivariant to translations by two to the
    number of scales.

    Args:
        blocks: The number of blocks.
        scales: The largest number of scales of a block.
        width: The number of channels of the networks.
        kernel: The width of their kernels, in sites of their scale.
        bins: The number of bins of the splines; 0 for affine couplings.

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma & Dhariwal, 2018),
          https://arxiv.org/abs/1807.03039
        | Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """

    def __init__(self, blocks: int = 1, scales: int = 3, width: int = 64, kernel: int = 3, bins: int = 8) -> None:
        for name, value in (("blocks", blocks), ("scales", scales), ("width", width)):
            if value < 1:
                raise ValueError(f"{name}: at least 1 is needed, not {value}")
        if bins != 0 and bins < 2:
            raise ValueError(f"bins: a spline needs at least two, and 0 stands for none, not {bins}")
        check_kernel(kernel)
        self.blocks, self.scales, self.width, self.kernel, self.bins = blocks, scales, width, kernel, bins

    def build(self, shape: Sequence[int], context: Sequence[int]) -> "MultiScaleModule":
        """Makes the module, for fields over grids of one or two dimensions."""
        channels, *grid = shape
        if len(grid) not in (1, 2):
            raise ValueError(f"flow: multiscale needs a grid of one or two dimensions, not {len(grid)}; use maf or nsf")
        if channels == 1 and all(size % 2 for size in grid):
            raise ValueError("flow: multiscale cannot halve one channel over an odd number of sites; use maf or nsf")
        return MultiScaleModule(self, channels, tuple(grid), context[0])


class MultiScaleModule(ConditionalFlow):
    """The module of :class:`MultiScale`; inside, channels are last.

    Args:
        plan: Its options.
        channels: The number of channels of a value.
        grid: The grid.
        context: The number of channels of the context.
    """

    def __init__(self, plan: MultiScale, channels: int, grid: tuple[int, ...], context: int) -> None:
        super().__init__()
        self.shape = (*grid, channels)
        self.blocks = InvertibleList(Block(plan, channels, grid, context) for _ in range(plan.blocks))

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density of fields of shape ``(case, channels, *grid)``."""
        z, h = z.movedim(1, -1), context.movedim(1, -1).contiguous()
        total = z.new_zeros(len(z))
        for index, block in enumerate(self.blocks):
            z, log_det = block(shifted(z, -index), shifted(h, -index))
            z, total = shifted(z, index), total + log_det
        return total + log_normal(z)

    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density."""
        h = context.movedim(1, -1).contiguous()
        z = white_noise(h, len(h), *self.shape)
        log_q = log_normal(z)
        for index, block in reversed(list(enumerate(self.blocks))):
            z, log_det = block.inverse(shifted(z, -index), shifted(h, -index))
            z, log_q = shifted(z, index), log_q + log_det
        return z.movedim(-1, 1), log_q

    @torch.no_grad()
    def standardize(self, z: Tensor, context: Tensor) -> None:
        """Initialises each ActNorm from the statistics of its inputs."""
        z, h = z.movedim(1, -1), context.movedim(1, -1)
        for index, block in enumerate(self.blocks):
            z = shifted(block.standardize(shifted(z, -index), shifted(h, -index)), index)


class Block(Invertible):
    """A block: one way down the scales, with a step at each, and up again.

    Args:
        plan: The options of the flow.
        channels: The number of channels of the fields.
        grid: The grid.
        context: The number of channels of the context.
    """

    def __init__(self, plan: MultiScale, channels: int, grid: tuple[int, ...], context: int) -> None:
        super().__init__()
        self.towers, self.steps, self.factors = nn.ModuleList(), InvertibleList(), list[tuple[int, ...]]()
        dims, steering = len(grid), context
        for factor in scales(grid, plan.scales, channels > 1):
            self.factors.append(factor)
            grid = tuple(size // by for size, by in zip(grid, factor, strict=True))
            channels, steering = channels * prod(factor), steering * prod(factor)
            # A kernel goes at most once around the grid, and one of three sites still sees the other of two.
            kernel = min(plan.kernel, *(1 + 2 * (size // 2) for size in grid))
            self.towers.append(nn.Sequential(SiteConvolution(dims, steering, plan.width, kernel), nn.SiLU()))
            self.steps.append(make_step(plan, dims, channels, kernel))
            steering = plan.width

    def steering(self, context: Tensor) -> list[Tensor]:
        """The steering fields of the steps, from the finest scale on."""
        fields = []
        for factor, tower in zip(self.factors, self.towers, strict=True):
            context = tower(squeeze(context, factor))
            fields.append(context)
        return fields

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Squeezes and steps, then unsqueezes."""
        total = z.new_zeros(len(z))
        for factor, step, field in zip(self.factors, self.steps, self.steering(h), strict=True):
            z, log_det = step(squeeze(z, factor), field)
            total = total + log_det
        return self.unsqueezed(z), total

    def inverse(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Inverts the block."""
        total = z.new_zeros(len(z))
        for factor in self.factors:
            z = squeeze(z, factor)
        for factor, step, field in reversed(list(zip(self.factors, self.steps, self.steering(h), strict=True))):
            z, log_det = step.inverse(z, field)
            z, total = unsqueeze(z, factor), total + log_det
        return z, total

    def standardize(self, z: Tensor, h: Tensor) -> Tensor:
        """Initialises each step from the statistics of its inputs."""
        for factor, step, field in zip(self.factors, self.steps, self.steering(h), strict=True):
            z = step.standardize(squeeze(z, factor), field)
        return self.unsqueezed(z)

    def unsqueezed(self, z: Tensor) -> Tensor:
        """From the coarsest scale to the grid."""
        for factor in reversed(self.factors):
            z = unsqueeze(z, factor)
        return z


def make_step(plan: MultiScale, dims: int, channels: int, kernel: int) -> Chain:
    """The layers of one scale; matrices between many channels reach no neighbours, whose channels are among them."""
    couplings = (Coupling(dims, channels, plan.width, plan.width, kernel, plan.bins, first) for first in (False, True))
    lifting = InvertibleConvolution(dims, channels, plan.width, 3 if channels <= NEIGHBOURS else 1)
    return Chain((ActNorm(channels, plan.width), lifting, *couplings))


def scales(grid: tuple[int, ...], most: int, fine: bool) -> Iterator[tuple[int, ...]]:
    """The factors by which each axis is squeezed, scale by scale: two where its length is even, else one.

    Args:
        grid: The grid.
        most: The largest number of scales.
        fine: Whether to begin with the grid as it is.

    Yields:
        The factors of one scale.
    """
    if fine:
        yield (1,) * len(grid)
    for _ in range(most):
        factor = tuple(1 if size % 2 else 2 for size in grid)
        if prod(factor) == 1:
            return
        yield factor
        grid = tuple(size // by for size, by in zip(grid, factor, strict=True))


def squeeze(z: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Turns neighbours into channels, ``(case, *grid, channels)`` to ``(case, *coarse, prod(factor) * channels)``.

    The first half of the channels is one colour of a chessboard, the second half is the other.
    """
    dims = len(factor)
    for axis, by in enumerate(factor):
        z = z.unflatten(1 + 2 * axis, (-1, by))
    coarse, fine = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)
    z = z.permute(0, *coarse, *fine, 2 * dims + 1).flatten(1 + dims, 2 * dims)
    return torch.cat([z.select(1 + dims, place) for place in colours(factor)], dim=-1)


def unsqueeze(z: Tensor, factor: tuple[int, ...]) -> Tensor:
    """The inverse of :func:`squeeze`."""
    dims, places = len(factor), colours(factor)
    parts = z.chunk(len(places), dim=-1)
    z = torch.stack([parts[places.index(place)] for place in range(len(places))], dim=1 + dims)
    z = z.unflatten(1 + dims, factor)
    order = [axis for pair in zip(range(1, 1 + dims), range(1 + dims, 1 + 2 * dims), strict=True) for axis in pair]
    z = z.permute(0, *order, 2 * dims + 1)
    for axis in range(dims):
        z = z.flatten(1 + axis, 2 + axis)
    return z


def colours(factor: tuple[int, ...]) -> list[int]:
    """The places in a cell of a chessboard, those of one colour first."""
    places = list(product(*(range(by) for by in factor)))
    return sorted(range(len(places)), key=lambda place: (sum(places[place]) % 2, place))


def shifted(field: Tensor, sites: int) -> Tensor:
    """Rolls fields along every axis of the grid, and along the channels by as many."""
    axes = tuple(range(1, field.ndim))
    return field.roll((sites,) * len(axes), axes) if sites else field
