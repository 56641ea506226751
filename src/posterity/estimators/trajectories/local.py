"""The local network: crops of trajectories, when they begin, and the residual of noisy ones."""

from dataclasses import dataclass
from functools import cached_property
from math import pi, prod

import torch
from torch import Tensor, nn

from ...diffusion import Centring, DampedResidual
from ...nn import Layout, Network
from ...nn.layout import constant
from ...tensors import append_dims, kept_bytes


@dataclass(frozen=True)
class Crop:
    r"""A crop of a trajectory, some states in a row with numbers beside them, as networks see it.

    The channels of all states are stacked, time first, and the numbers, which are unknown parameters, follow as
    constant channels; without a grid all is one vector.

    Args:
        states: The number of states :math:`2k + 1`.
        shape: The shape of a state, ``(channel, *grid)``.
        numbers: The number of numbers beside them: of all states together.
    """

    states: int
    shape: tuple[int, ...]
    numbers: int

    @property
    def layout(self) -> Layout:
        """How a crop stands on the grid."""
        entries = self.states * prod(self.shape)
        return Layout.beside(entries, self.shape[1:], self.numbers, entries)

    def join(self, x: Tensor, v: Tensor) -> Tensor:
        """One value of states ``(rows, states, *shape)`` and numbers ``(rows, numbers)``."""
        return torch.cat((x.flatten(1), v), dim=1).reshape(len(x), *self.layout.shape)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of :meth:`join`."""
        x, v = z.flatten(1).split((self.states * prod(self.shape), self.numbers), dim=1)
        return x.unflatten(1, (self.states, *self.shape)), v


class Clock(nn.Module):
    r"""When crops begin: Fourier features :math:`\sin, \cos(2^j \pi s / 2)` of the time, as :math:`s \in [0, 1]`.

    The interval is that of the crops of the training. Earlier and later ones are at its ends: a record that is longer
    than those learned from goes on as they ended.

    Args:
        times: The number of frequencies; 0 for none.
    """

    first: Tensor
    last: Tensor

    def __init__(self, times: int) -> None:
        super().__init__()
        if times < 0:
            raise ValueError(f"times: must not be negative, not {times}")
        self.times = times
        self.register_buffer("first", torch.tensor(0.0))
        self.register_buffer("last", torch.tensor(1.0))

    def fit(self, first: float, last: float) -> None:
        """Takes the interval, in steps; of no width, it counts from its start in steps."""
        self.first.fill_(first)
        self.last.fill_(max(last, first + 1))

    def forward(self, start: Tensor) -> Tensor:
        """The features of times of shape ``(rows,)``, with shape ``(rows, 2 * times)``."""
        share = ((start - self.first) / (self.last - self.first)).clamp(0, 1)
        octave = 2.0 ** torch.arange(self.times, dtype=start.dtype, device=start.device)
        phase = share.unsqueeze(-1) * pi / 2 * octave
        return torch.cat((phase.sin(), phase.cos()), dim=-1)


class LocalResidual(nn.Module):
    r"""The residual network of crops, :math:`F(\bar x, \varphi, c)` in :mod:`posterity.diffusion`.

    Its context is when a crop begins, the landscape of the grid, and, if it knows separators, whether a
    crop is whole or one of these: it then lacks its last states, of which the network sees nothing.

    Args:
        crop: The crops.
        network: The plan of the network.
        times: The number of frequencies that encode when a crop begins; 0 for none.
        separator: The number of states of a separator; 0 if it knows none.
        landscape: Fields that tell sites apart, with shape ``(channel, *grid)``.
        shared: Whether the numbers are parameters of the whole crop, standard normal: their residuals can be centred.
    """

    there: Tensor
    landscape: Tensor

    def __init__(
        self,
        crop: Crop,
        network: Network,
        times: int,
        separator: int,
        landscape: Tensor,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.crop, self.separator, self.clock = crop, separator, Clock(times)
        self.register_buffer("landscape", landscape.to(self.clock.first), persistent=False)
        context = 2 * times + (separator > 0) + len(landscape)
        self.residual = DampedResidual(crop.layout, context, network)
        #: The mean residuals of numbers beside separators, and those beside whole crops.
        self.centring = Centring(crop.numbers, 2 * crop.numbers) if shared and crop.numbers else None
        # Which states a whole crop has, and a separator.
        states = torch.arange(crop.states, device="cpu")
        there = torch.stack((states < separator, states < crop.states))
        self.register_buffer("there", there.to(self.clock.first.device), persistent=False)

    @cached_property
    def held(self) -> tuple[int, int]:
        """Entries of the largest tensor, and of all, that a sweep through the network holds for each crop."""
        like, one = self.clock.first, self.clock.first.new_zeros(1)
        if like.is_meta:
            # Tensors of which operations are counted alone: they hold nothing.
            return 1, 1
        with torch.inference_mode(False):
            crop = like.new_zeros(1, self.crop.states, *self.crop.shape, requires_grad=True)
            rest = like.new_zeros(1, self.crop.numbers), one + pi / 4, one, one > 0
        # Past the hooks, by which evaluations are counted.
        sizes = kept_bytes(lambda: self.forward(crop, *rest), *self.parameters(), *self.buffers())
        return max(sizes) // like.element_size(), sum(sizes) // like.element_size()

    def seen(self, whole: Tensor) -> Tensor:
        """Which states there are, with shape ``(rows, states, 1, …)``, of crops that are whole or not, ``(rows,)``."""
        return append_dims(self.there[whole.long()], len(self.crop.shape))

    def centred(self, x: Tensor, v: Tensor, angle: Tensor, start: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """The same as :meth:`forward`, of parameters less the mean that they have by mistake."""
        found_x, found_v = self(x, v, angle, start, whole)
        if self.centring is not None:
            mean = self.centring(v, angle).unflatten(1, (2, -1))
            found_v = found_v - torch.where(whole.unsqueeze(-1), mean[:, 1], mean[:, 0])
        return found_x, found_v

    def forward(self, x: Tensor, v: Tensor, angle: Tensor, start: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        r"""Estimates the residual.

        Args:
            x: Noisy states, with shape ``(rows, states, *shape)``.
            v: Noisy numbers, with shape ``(rows, numbers)``.
            angle: Their angles, with shape ``(rows,)``, or ``(1,)`` if it is one for all.
            start: When the crops begin, in steps, with shape ``(rows,)``.
            whole: Whether they are whole crops, or separators, with shape ``(rows,)``.

        Returns:
            The residuals of states and of numbers, with the same shapes.
        """
        known = [self.clock(start), *([whole.to(start).unsqueeze(-1)] if self.separator else [])]
        fixed = self.landscape.to(x).expand(len(x), *self.landscape.shape)
        context = torch.cat((constant(torch.cat(known, dim=-1), self.crop.layout.field[1:]), fixed), dim=1)
        there = self.seen(whole)
        return self.crop.split(self.residual(self.crop.join(x * there, v), angle, context))
