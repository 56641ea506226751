"""Stations: weighted sums over the neighbourhoods of scattered sites."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ...tensors import Constant
from .axes import per_axis, sized
from .operators import Operator


class GaussianStations(Operator):
    r"""Stations that see a Gaussian neighbourhood each, of every channel alike,

    .. math:: H(x)_s = \sum_i \exp\!\Big(-\frac{|i - p_s|^2}{2 w^2}\Big)\, x_i \quad
        \text{over the sites } |i_a - p_{s,a}| \leq r_a \text{ along each axis } a .

    Unless ``positions`` are given, one station stands in each block of ``kernel + stride`` sites along each axis,
    uniformly in the block's first ``kernel`` sites, drawn once from ``seed``. Each station holds the weights of its own
    neighbourhood alone.

    Args:
        shape: The event shape of what it observes, ``(channel, *grid)``.
        positions: The sites of the stations: numbers in one dimension, pairs (row, column) in two.
        kernel: The number of sites of a block where its station may stand, one for all axes or one for each.
        stride: The number of sites of a block where it may not, likewise.
        radius: The radius :math:`r`, in sites, likewise.
        width: The standard deviation :math:`w`, in sites; the weight at the station itself is 1.
        wrap: Whether neighbourhoods continue across the periodic edge (or are cut there).
        seed: Where the stations stand.
        partial: Whether a last block whose first ``kernel`` sites are cut by the edge has a station too, in what is
            left of them; if omitted, in two dimensions it has (6 × 6 stations on 32 × 32 sites), and in one it has not.
    """

    def __init__(
        self,
        shape: Sequence[int],
        positions: Sequence[int] | Sequence[Sequence[int]] | None = None,
        kernel: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        radius: int | Sequence[int] = 2,
        width: float = 0.8,
        wrap: bool = True,
        seed: int = 0,
        partial: bool | None = None,
    ) -> None:
        super().__init__(shape)
        grid = self.shape[1:]
        kernels, strides = per_axis("kernel", kernel, grid), per_axis("stride", stride, grid)
        for size, block, between in zip(grid, kernels, strides, strict=True):
            if block < 1 or between < 0 or block + between > size:
                raise ValueError(f"kernel: {block} sites and {between} between do not fit a ring of {size}")
        if width <= 0:
            raise ValueError(f"width: must be positive, not {width}")
        radii = per_axis("radius", radius, grid)
        if min(radii) < 0:
            raise ValueError(f"radius: must not be negative, not {radius}")
        if positions is None:
            stands = _drawn(grid, kernels, strides, len(grid) > 1 if partial is None else partial, seed)
        else:
            stands = _given(grid, positions)
        places = [tuple(place) for place in stands.tolist()]
        self.positions = tuple(places) if len(grid) > 1 else tuple(place[0] for place in places)
        index = torch.zeros(len(stands), 1, dtype=torch.long, device="cpu")
        weight = torch.ones(len(stands), 1, dtype=torch.double, device="cpu")
        for axis, size in enumerate(grid):
            sites, near = _neighbourhood(stands[:, axis], size, radii[axis], width, wrap)
            index = (index[..., None] * size + sites[:, None]).flatten(1)
            weight = (weight[..., None] * near[:, None]).flatten(1)
        self.index, self.weight = Constant(index), Constant(weight)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(channel, stations)``."""
        return (self.shape[0], len(self.positions))

    @property
    def sites(self) -> Tensor:
        """The sites of the stations."""
        grid = self.shape[1:]
        stands = torch.tensor(self.positions, device="cpu").view(-1, len(grid))
        strides = torch.tensor([prod(grid[axis + 1 :]) for axis in range(len(grid))], device="cpu")
        return (stands * strides).sum(dim=1)

    def __call__(self, x: Tensor) -> Tensor:
        """Weights each station's neighbourhood; ``(*batch, channel, *grid)`` to ``(*batch, channel, stations)``."""
        index = self.index.like(torch.empty(0, dtype=torch.long, device=x.device))
        near = x.flatten(1 - len(self.shape)).index_select(-1, index.flatten()).unflatten(-1, index.shape)
        return (near * self.weight.like(x)).sum(dim=-1)


def _drawn(grid: Sequence[int], kernels: Sequence[int], strides: Sequence[int], partial: bool, seed: int) -> Tensor:
    """Draws one station of each block, with shape ``(station, axis)``; positions are uniform in their block."""
    count = [
        len(range(0, size if partial else size - kernel + 1, kernel + stride))
        for size, kernel, stride in zip(grid, kernels, strides, strict=True)
    ]
    blocks = torch.cartesian_prod(*(torch.arange(number, device="cpu") for number in count)).view(-1, len(grid))
    generator = torch.Generator("cpu").manual_seed(seed)
    axes = []
    for axis, (size, kernel, stride) in enumerate(zip(grid, kernels, strides, strict=True)):
        first = blocks[:, axis] * (kernel + stride)
        room = min(kernel, size - (count[axis] - 1) * (kernel + stride))
        offset = torch.randint(kernel, first.shape, generator=generator, device="cpu")
        if room < kernel:
            last = torch.randint(room, first.shape, generator=generator, device="cpu")
            offset = torch.where(blocks[:, axis] == count[axis] - 1, last, offset)
        axes.append(first + offset)
    return torch.stack(axes, dim=1)


def _given(grid: Sequence[int], positions: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    """The stations that are given, with shape ``(station, axis)``."""
    places = [(place,) if isinstance(place, int) else tuple(place) for place in positions]
    if not places or any(
        len(place) != len(grid) or not all(0 <= site < size for site, size in zip(place, grid, strict=True))
        for place in places
    ):
        named = f"sites 0 to {grid[0] - 1}" if len(grid) == 1 else f"pairs (row, column) of a grid of {sized(grid)}"
        raise ValueError(f"positions: must name {named}, not {list(positions)}")
    return torch.tensor(places, device="cpu")


def _neighbourhood(stands: Tensor, size: int, radius: int, width: float, wrap: bool) -> tuple[Tensor, Tensor]:
    """The sites near stations along an axis, each once, and their weights, with shape ``(station, neighbour)``."""
    reach = min(radius, size // 2 if wrap else size - 1)
    # On an even ring the site opposite is as far ahead as behind.
    offsets = torch.arange(-reach, reach + 1, device="cpu")[: size if wrap else None]
    sites = stands[:, None] + offsets
    weight = torch.exp(-0.5 * (offsets.double() / width) ** 2).expand(sites.shape)
    if wrap:
        return sites % size, weight
    return sites.clamp(0, size - 1), weight * ((sites >= 0) & (sites < size))
