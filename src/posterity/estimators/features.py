"""Features of windows, the inputs of networks."""

from math import pi, prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..problems import Problem, Window

#: The share within which standard deviations are alike. Networks that have seen one value, or values that differ by
#: less, know nothing of their differences: a tenth off is then a feature of one, and a per cent off next to nothing.
ALIKE = 0.1


class Moments(NamedTuple):
    """Number, mean and squares of the deviations from it, of the values of each channel, ``(channel,)``.

    Args:
        number: The number of values.
        mean: Their mean; NaN if there are none.
        squares: The sum of the squares of their deviations.
    """

    number: Tensor
    mean: Tensor
    squares: Tensor

    def joined(self, other: "Moments") -> "Moments":
        """The moments of both together (Chan, Golub & LeVeque, 1983, https://doi.org/10.1080/00031305.1983.10483115)."""
        number = self.number + other.number
        # Means of nothing are NaN, and count for nothing.
        one, two = (torch.where(part.number > 0, part.mean, 0) for part in (self, other))
        share, apart = other.number / number.clamp(min=1), two - one
        squares = self.squares + other.squares + apart.square() * self.number * share
        return Moments(number, one + apart * share, squares)


def moments(channel: Tensor) -> Moments:
    """The moments of values of shape ``(channel, values)``, whose NaN do not count; in double precision."""
    number, mean = (~channel.isnan()).sum(dim=1).double(), channel.nanmean(dim=1)
    squares = (channel - mean.unsqueeze(-1)).square().nansum(dim=1)
    return Moments(number, mean.double(), squares.double())


class Standardizer(nn.Module):
    r"""Standardises fields, :math:`z = (x - \mu) / \sigma`, with one mean and scale per channel, kept as buffers.

    One of each for all sites of a channel leaves fields of a translation-equivariant problem equivariant.

    Args:
        shape: The shape of a field, ``(channel, *grid)``.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._moments: Moments | None = None
        size = (shape[0], *([1] * (len(shape) - 1)))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def fit(self, x: Tensor, least: Tensor | float = 0.0) -> None:
        """Takes mean and scale from fields of shape ``(case, *shape)``, whose NaN do not count.

        Args:
            x: The fields.
            least: The least scale, a number or one for each channel: differences far below it mean nothing.
        """
        self.count(x)
        self.settle(least)

    def count(self, x: Tensor) -> None:
        """Counts fields of shape ``(case, *shape)``, some of many, in the statistics that :meth:`settle` takes."""
        found = moments(x.movedim(1, 0).flatten(1))
        self._moments = found if self._moments is None else self._moments.joined(found)

    @property
    def average(self) -> Tensor:
        """The mean of each channel of what was counted; NaN of one that is never observed."""
        assert self._moments is not None
        return self._moments.mean

    def settle(self, least: Tensor | float = 0.0) -> None:
        """Takes mean and scale of what was counted, and forgets it.

        Args:
            least: The least scale, a number or one for each channel.
        """
        assert self._moments is not None
        mean, scale = self._moments.mean, (self._moments.squares / self._moments.number).sqrt()
        # A constant channel becomes zero; one that is never observed is left as it is.
        least = torch.as_tensor(least).to(scale).nan_to_num(nan=0).clamp(min=1e-6)
        self.mean.copy_(mean.nan_to_num(nan=0).view_as(self.mean))
        self.scale.copy_(scale.nan_to_num(nan=1).maximum(least).view_as(self.scale))
        self._moments = None

    def forward(self, x: Tensor) -> Tensor:
        """Standardises fields of shape ``(*batch, *shape)``."""
        return (x - self.mean) / self.scale

    def inverse(self, z: Tensor) -> Tensor:
        """Restores standardised fields."""
        return z * self.scale + self.mean


class Features(nn.Module):
    r"""The features of a window: a field of the same shape for every pattern of observations.

    Its channels are, for each time, observations, standard deviations and mask, on the grid of the state, a missing
    entry being zero in all three, and the innovations of the background's trajectory,
    :math:`\sinh^{-1}((y_t - H(x_t(x_b))) / \sigma_t)`, so that the network need not learn the dynamics first: chaos
    makes late ones huge, and beyond some standard deviations only their magnitude matters. Then come the background
    with its standard deviation, Fourier features of the start of the window, and the system's landscape. Stations stand
    at their sites; the translation equivariance of the problem remains, and no other: what drives a flow at some sites
    is seen there.

    Args:
        problem: The problem.
        observed: Whether to show observations, or the background and the time only.
        times: The number of frequencies of the Fourier features; 0 shows no time. Problems whose windows all start
            at the same time have none.
        flat: Whether to flatten the field into a vector, for targets that are vectors; it has no landscape, since
            a network of vectors knows its sites.
    """

    sites: Tensor
    landscape: Tensor

    def __init__(self, problem: Problem, observed: bool = True, times: int = 6, flat: bool = False) -> None:
        super().__init__()
        if times < 0:
            raise ValueError(f"times: must not be negative, not {times}")
        self.problem, self.observed, self.flat = problem, observed, flat
        self.times = times if problem.start[0] < problem.start[1] else 0
        self.background = problem.has_background
        channels, grid = problem.observation.shape[0], problem.shape[1:]
        everywhere = torch.arange(prod(grid), device="cpu")
        sites = problem.observation.operator.sites if observed else everywhere
        self.scattered = problem.observation.shape[1:] != grid or not torch.equal(sites, everywhere)
        seen = channels * problem.window if observed else 0
        self.y, self.std = Standardizer((channels, 1)), Standardizer((channels, 1))
        self.register_buffer("sites", sites.to(self.y.mean.device), persistent=False)
        self.state, self.spread = Standardizer(problem.shape), Standardizer(problem.shape)
        landscape = problem.system.landscape[:0] if flat else problem.system.landscape
        self.register_buffer("landscape", landscape.to(self.y.mean), persistent=False)
        count = (3 + self.background) * seen + 2 * problem.shape[0] * self.background + 2 * self.times + len(landscape)
        #: The shape of the features of a case.
        self.shape = (count * prod(grid),) if flat else (count, *grid)

    def fit(self, window: Window) -> None:
        """Takes the statistics of training windows; backgrounds are told apart by their own standard deviation."""
        self.count(window)
        self.settle()

    def count(self, window: Window) -> None:
        """Counts training windows, some of many, in the statistics that :meth:`settle` takes."""
        # Of all times and sites together: the first of the axes behind the case is the channel.
        y, std = (value.movedim(1, 2).flatten(2) for value in (window.y, window.std))
        self.y.count(y)
        self.std.count(std)
        if self.background:
            self.state.count(window.background)
            self.spread.count(window.background_std)

    def settle(self) -> None:
        """Takes the statistics of what was counted, and forgets it."""
        self.y.settle()
        self.std.settle(ALIKE * self.std.average)
        if self.background:
            self.state.settle(self.spread.average)
            self.spread.settle(ALIKE * self.spread.average)

    def forward(self, window: Window) -> Tensor:
        """The features, with shape ``(case, *shape)``; in full precision, since the model runs."""
        with torch.autocast(window.y.device.type, enabled=False):
            return self._field(window)

    def _field(self, window: Window) -> Tensor:
        """The features, with shape ``(case, *shape)``."""
        channels: list[Tensor] = []
        if self.observed:
            channels += self._observations(window)
        if self.background:
            channels += [self.state(window.background), self.spread(window.background_std)]
        if self.times:
            channels.append(self._time(window.start))
        channels.append(self.landscape.to(window.y).expand(len(window.y), *self.landscape.shape))
        field = torch.cat(channels, dim=1)
        return field.flatten(1) if self.flat else field

    def _observations(self, window: Window) -> list[Tensor]:
        """The channels of the observations, each with shape ``(case, time * channel, *grid)``."""
        there = ~window.y.isnan()
        parts = [
            torch.where(there, self._standardized(self.y, window.y), 0),
            torch.where(there, self._standardized(self.std, window.std), 0),
            there.to(window.std),
        ]
        if self.background:
            parts.append(self._innovation(window))
        return [self.on_grid(part) for part in parts]

    def _standardized(self, scaler: Standardizer, value: Tensor) -> Tensor:
        """Standardises each channel, on any grid, with its mean and scale over all times."""
        return scaler(value.flatten(3) if value.ndim > 3 else value.unsqueeze(-1)).view_as(value)

    def on_grid(self, value: Tensor) -> Tensor:
        """Puts observations of shape ``(case, time, channel, *obs_grid)`` on the grid of the state, as channels."""
        value = value.flatten(1, 2)
        if not self.scattered:
            return value
        grid = self.problem.shape[1:]
        field = value.new_zeros(*value.shape[:2], prod(grid))
        # Several stations may stand at one site.
        field = field.index_add(2, self.sites, value.flatten(2))
        return field.unflatten(-1, grid)

    @torch.no_grad()
    def _innovation(self, window: Window) -> Tensor:
        """The innovations of the background's trajectory, with the shape of ``window.y``."""
        innovation = (window.y - self.problem.observation.operator(self.problem.undisturbed(window))) / window.std
        return torch.asinh(innovation.nan_to_num(nan=0.0))

    def _time(self, start: Tensor) -> Tensor:
        r"""Fourier features :math:`\sin, \cos(2^k \pi s / 2)` of the start :math:`s \in [0, 1]`, on the grid."""
        first, last = self.problem.start
        octave = 2.0 ** torch.arange(self.times, dtype=start.dtype, device=start.device)
        phase = (start.unsqueeze(-1) - first) / (last - first) * pi / 2 * octave
        features = torch.cat((phase.sin(), phase.cos()), dim=-1)
        grid = self.problem.shape[1:]
        return features.reshape(*features.shape, *([1] * len(grid))).expand(*features.shape, *grid)
