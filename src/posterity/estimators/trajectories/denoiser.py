"""The local denoiser of a trained network; see :mod:`posterity.diffusion.compositions`."""

from math import cos, prod, sin
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...diffusion.compositions import LocalDenoiser, Trajectory
from .local import LocalResidual


class Sweep(NamedTuple):
    """A sweep forward through the network: windows, their angle, what gradients are taken of, and the mean."""

    x: Tensor
    angle: float
    source: Tensor
    mean: Tensor


class LearnedLocal(LocalDenoiser):
    r"""The local denoiser of a residual network, :math:`D = \cos\varphi\, \bar x + \sin\varphi\, F`.

    Windows that are shorter than a crop are separators, whose other states the network does not see.

    Args:
        local: The network.
        start: The time at which the trajectory of each row starts, in steps, with shape ``(rows,)``.
        trajectory: The places of the trajectory.
        pulled: Whether products with the derivative are asked for wherever means are, so that one sweep forward does
            for both.
        bfloat16: Whether the network computes in bfloat16; what is made of what it finds does not.
        keep: The number of sweeps that are kept, the graph of each for many products at one point.
        centred: Whether residuals of shared parameters are centred.
    """

    def __init__(
        self,
        local: LocalResidual,
        start: Tensor,
        trajectory: Trajectory,
        pulled: bool = True,
        bfloat16: bool = False,
        keep: int = 1,
        centred: bool = False,
    ) -> None:
        self.local, self.start, self.trajectory = local, start, trajectory
        self.pulled, self.bfloat16, self.keep, self.centred = pulled, bfloat16, keep, centred
        self._sweeps: list[Sweep] = []

    def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
        """The mean of windows; see :class:`posterity.diffusion.compositions.LocalDenoiser`."""
        return self._sweep(x, angle, start).mean.detach() if self.pulled else self._mean(x, angle, start)

    def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
        """The product with the transposed derivative of windows."""
        sweep = self._sweep(x, angle, start)
        return torch.autograd.grad(sweep.mean, sweep.source, w, retain_graph=True)[0]

    def _sweep(self, x: Tensor, angle: float, start: Tensor) -> Sweep:
        """The sweep forward from some windows, if it is kept, or a new one in the place of the oldest."""
        for sweep in self._sweeps:
            if sweep.x is x and sweep.angle == angle:
                return sweep
        self._sweeps = self._sweeps[len(self._sweeps) + 1 - self.keep :]
        with torch.enable_grad():
            source = x.detach().requires_grad_()
            self._sweeps.append(Sweep(x, angle, source, self._mean(source, angle, start)))
        return self._sweeps[-1]

    def _mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
        """The mean of windows ``(windows, rows, entries)``, with whatever gradients are asked for."""
        crop, numbers = self.local.crop, self.trajectory.parameters
        length = (x.shape[-1] - numbers) // self.trajectory.size
        states, shared = self.trajectory._replace(states=length).split(x.flatten(0, 1))
        # States of a crop that a separator lacks; the network is told, and sees nothing of them.
        padded = pad(states, (0, 0, 0, crop.states - length))
        entries = prod(crop.shape)
        fields = padded[..., :entries].unflatten(-1, crop.shape)
        beside = torch.cat((padded[..., entries:].flatten(1), shared), dim=-1)
        time = (self.start + start.unsqueeze(-1).to(self.start)).flatten()
        whole = torch.full_like(time, length == crop.states, dtype=torch.bool)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            network = self.local.centred if self.centred else self.local
            found = network(fields, beside, x.new_full((1,), angle), time, whole)
        found_x, found_v = (part.to(x) for part in found)
        own = found_v[:, : found_v.shape[1] - numbers].unflatten(1, (crop.states, -1))
        residual = torch.cat((found_x.flatten(2), own), dim=-1)[:, :length]
        together = self.trajectory.join(residual, found_v[:, found_v.shape[1] - numbers :]).view_as(x)
        return cos(angle) * x + sin(angle) * together
