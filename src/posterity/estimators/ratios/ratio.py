"""Networks of density ratios, and the potentials that they define for windows."""

from math import prod
from typing import Self

import torch
from torch import Tensor, nn

from ...nn import Layout, Network
from ...tensors import white_noise
from ..estimator import network_chunks, repeat


class Ratio(nn.Module):
    r"""The network of log-ratios, which are sums over the sites of a field :math:`z`,

    .. math:: \log r(z, c) = \sum_i \left( b_i(z, c) - \tfrac12 \|g_i(z, c)\|^2 \right) ,

    where a network gives :math:`b` and the residuals :math:`g`. The ratio of a posterior to its prior under Gaussian
    noise is of this form, with the standardised misfits of the observations as residuals: they are near linear in
    :math:`z` where the ratio itself is not. Where residuals grow the ratio falls, so that samplers do not leave the
    region of training.

    Args:
        network: The plan of the network.
        layout: The layout of :math:`z`, on a grid or as a vector (which has one site).
        context: The number of channels of :math:`c`, which is of the same grid.
        ratios: The number of ratios, which share the network.
        residuals: The number of residuals of each ratio, at each site.
    """

    def __init__(self, network: Network, layout: Layout, context: int, ratios: int, residuals: int) -> None:
        super().__init__()
        self.layout, self.heads = layout, (ratios, 1 + residuals)
        self.network = network.build(layout.field[0] + context, prod(self.heads), layout.field[1:])

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-ratios, with shape ``(case, ratios)``, of ``z`` and contexts of shape ``(case, channel, *grid)``."""
        # Networks may compute in bfloat16; a sum over all sites may not.
        out = self.network(torch.cat((self.layout.spread(z), context), dim=1)).to(z).reshape(len(z), *self.heads, -1)
        return out[:, :, 0].sum(dim=-1) - 0.5 * out[:, :, 1:].square().sum(dim=(2, 3))


class RatioPotential:
    r"""The :class:`~posterity.mcmc.Potential` :math:`-\log N(z; 0, I) - \log r(z, c)`, for the product of all ratios.

    Args:
        ratio: The ratios.
        context: The contexts, with shape ``(case, channel, *grid)``.
    """

    def __init__(self, ratio: Ratio, context: Tensor) -> None:
        self.ratio, self.context = ratio, context

    def noise(self, draws: int) -> Tensor:
        """Draws from the standard normal, with shape ``(draws, case, size)``."""
        return white_noise(self.context, draws, len(self.context), prod(self.ratio.layout.shape))

    def log_ratio(self, z: Tensor) -> Tensor:
        """The log-ratio at points of shape ``(draws, case, size)``, with shape ``(draws, case)``."""
        return torch.cat([self._at(z[chunk]) for chunk in self._chunks(z)])

    def cost_and_gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The cost and its gradient; see :class:`~posterity.mcmc.Potential`."""
        parts = [self._adjoint(u[chunk]) for chunk in self._chunks(u)]
        cost, gradient = (torch.cat(part) for part in zip(*parts, strict=True))
        return cost, gradient

    def select(self, index: Tensor) -> Self:
        """The potential of some of the cases."""
        return type(self)(self.ratio, self.context[index])

    def absorb(self, part: Self, index: Tensor) -> None:
        """Does nothing: only runs of the model are counted."""

    def _adjoint(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The cost and its gradient at all points at once."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            cost = 0.5 * z.square().sum(dim=-1) - self._at(z)
            (gradient,) = torch.autograd.grad(cost.sum(), z)
        cost = cost.detach().nan_to_num(nan=torch.inf, posinf=torch.inf)
        return cost, torch.where(cost.isfinite().unsqueeze(-1), gradient, torch.nan)

    def _at(self, z: Tensor) -> Tensor:
        """The log-ratio at all points at once."""
        field = z.flatten(0, 1).unflatten(-1, self.ratio.layout.shape)
        return self.ratio(field, repeat(self.context, len(z))).sum(dim=-1).unflatten(0, z.shape[:2])

    def _chunks(self, z: Tensor) -> list[slice]:
        """Slices of draws whose activations fit the memory."""
        return network_chunks(len(z), len(self.context), self.ratio.layout.shape, z.device)
