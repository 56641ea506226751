"""Denoisers: the mean of the data given noisy ones, as a network learns it; see :mod:`posterity.diffusion`."""

import abc
from collections.abc import Callable
from math import atan, cos, pi, sin

import torch
from torch import Tensor, nn

from ..nn import Layout, Network
from ..nn.embedding import SineEncoding
from ..tensors import append_dims
from .schedules import Schedule

#: The mean of the data given noisy ones, ``(rows, *shape)``, at an angle.
Mean = Callable[[Tensor, float], Tensor]

#: Distance from either end of the circle within which a network sees the same level of noise, in radians.
LEAST_ANGLE = 1e-3

#: The largest angle that damped residuals see: noise is eight times as large as data.
WIDEST = atan(8)

#: The smallest angle that faint residuals see.
FINEST = atan(0.05)


def level(angle: Tensor) -> Tensor:
    """The level of noise as networks see it, at angles of any shape."""
    # A quarter of the logarithm of the noise, as in EDM; closer to either end nothing changes any more.
    return angle.clamp(LEAST_ANGLE, pi / 2 - LEAST_ANGLE).tan().log() / 4


class Denoiser(abc.ABC):
    r"""Abstract denoiser, the mean of the data given noisy ones :math:`\bar x`, and the products with its derivative.

    This is all that guidance asks for, so that a denoiser of parts may sum over them, one part at a time. Data, means
    and vectors have the shape ``(rows, *shape)``; the angle is one for all rows.
    """

    @abc.abstractmethod
    def mean(self, x: Tensor, angle: float) -> Tensor:
        r"""The mean :math:`E[z | \bar x]`."""

    @abc.abstractmethod
    def pullback(self, x: Tensor, angle: float, w: Tensor) -> Tensor:
        r"""The product :math:`(\partial E[z | \bar x] / \partial \bar x)^T w`."""

    @property
    def symmetric(self) -> bool:
        """Whether its derivative is taken for symmetric, so that :meth:`spread` is :meth:`pullback`."""
        return True

    def spread(self, x: Tensor, angle: float, w: Tensor) -> Tensor:
        r"""The product with a symmetric estimate of the derivative, which moment matching takes for a covariance.

        The derivative of an exact mean is symmetric, and its transpose serves; one of parts says its own estimate.
        """
        return self.pullback(x, angle, w)


class Residual(nn.Module):
    r"""The residual network of denoisers and velocities, :math:`F(\bar x, \varphi, c)` in :mod:`posterity.diffusion`.

    It sees noisy data :math:`\bar x`, an encoding of :math:`\log \tan \varphi`, and the context.

    Args:
        layout: The layout of the data; their shape is ``layout.shape``, and networks see ``layout.field``.
        context: The number of channels (or entries) of the context; there may be none.
        network: The plan of the network.
        encoding: The size of the encoding of the noise level that the network sees.
    """

    def __init__(self, layout: Layout, context: int, network: Network, encoding: int = 32) -> None:
        super().__init__()
        self.encoding = SineEncoding(encoding)
        self.layout, (channels, *grid) = layout, layout.field
        self.network = network.build(channels + context, channels, grid, condition=encoding)

    def forward(self, x: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        r"""Estimates the residual.

        Args:
            x: Noisy data :math:`\bar x`, with shape ``(rows, *shape)``.
            angle: Their angles, with shape ``(rows,)``, or ``(1,)`` if all have one, which is embedded once.
            context: The contexts, with shape ``(rows, context, *grid)``.

        Returns:
            The estimate :math:`F`, with shape ``(rows, *shape)``.
        """
        seen = torch.cat((self.layout.spread(x), context), dim=1)
        return self.layout.gather(self.network(seen, self.encoding(level(angle))))


class DampedResidual(Residual):
    r"""A residual network with damped inputs, :math:`F(\cos\varphi\, \bar x, \varphi, c)`, for guidance by Jacobians.

    What noisy data say of the clean ones fades with :math:`\cos\varphi` as noise takes over. A network that has to
    learn this errs by a little, and in the covariance that moment matching takes from it the error is multiplied by
    :math:`\sin^3\varphi / \cos\varphi`, a thousandfold where sampling starts. Damped, with :math:`F'` the Jacobian,

    .. math:: \mathrm{Cov}[z | \bar x] \approx \sin^2\varphi\, I + \sin^3\varphi\, F' .

    At large noise :math:`F` is linear in its input and no longer changes with the level, so the level that it sees
    stops rising at the largest one of training.
    """

    def forward(self, x: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        """Estimates the residual; see :meth:`Residual.forward`."""
        return super().forward(append_dims(angle.cos(), x.ndim - 1) * x, angle.clamp(max=WIDEST), context)


class FaintResidual(DampedResidual):
    r"""A residual network of numbers whose scores add up, :math:`F = \sin\varphi\, G(\cos\varphi\, \bar x, \varphi)`.

    Of numbers with little noise all else says next to nothing: beyond the score of the prior there is
    :math:`F / \tan\varphi`, which tends to that of a likelihood. An error of :math:`F` is one of the score that grows
    without bounds as noise fades, and where many scores are added, as of the steps of a record, draws end with it. Of
    :math:`G` it is one of the same size at all levels. Below the smallest noise that the network sees nothing changes
    but the factor: what one window says of a number is no finer.
    """

    def forward(self, x: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        """Estimates the residual; see :meth:`Residual.forward`."""
        found = super().forward(x, angle.clamp(min=FINEST), context)
        return append_dims(angle.sin(), x.ndim - 1) * found


class LearnedDenoiser(Denoiser):
    r"""The denoiser of a residual network, given the context of each row,

    .. math:: D(\bar x, \varphi, c) = \cos\varphi\, \bar x + \sin\varphi\, F(\bar x, \varphi, c) .

    With :math:`F = 0` it is the exact denoiser of :math:`N(0, I)`: an unobserved control has nothing to learn.

    Args:
        residual: The network :math:`F`, or what is made of it.
        context: The contexts, with shape ``(rows, context, *grid)``.
        pulled: Whether products with the derivative are asked for wherever means are, so that one sweep forward does
            for both; means then carry no gradients.
    """

    def __init__(
        self, residual: Callable[[Tensor, Tensor, Tensor], Tensor], context: Tensor, pulled: bool = False
    ) -> None:
        self.residual, self.context, self.pulled = residual, context, pulled
        self._last: tuple[Tensor, float, Tensor, Tensor] | None = None

    def mean(self, x: Tensor, angle: float) -> Tensor:
        """The mean of the data; see :meth:`Denoiser.mean`."""
        return self._sweep(x, angle)[1].detach() if self.pulled else self._mean(x, angle)

    def _mean(self, x: Tensor, angle: float) -> Tensor:
        """The mean, with whatever gradients are asked for."""
        return cos(angle) * x + sin(angle) * self.residual(x, x.new_full((1,), angle), self.context)

    def pullback(self, x: Tensor, angle: float, w: Tensor) -> Tensor:
        """The product with the transposed derivative; see :meth:`Denoiser.pullback`."""
        source, mean = self._sweep(x, angle)
        return torch.autograd.grad(mean, source, w, retain_graph=True)[0]

    def _sweep(self, x: Tensor, angle: float) -> tuple[Tensor, Tensor]:
        """A sweep forward, from noisy data to their mean; the last is kept, since many products are at one point."""
        if self._last is None or self._last[0] is not x or self._last[1] != angle:
            with torch.enable_grad():
                source = x.detach().requires_grad_()
                self._last = x, angle, source, self._mean(source, angle)
        return self._last[2:]


def denoising_loss(residual: Residual, schedule: Schedule, z: Tensor, context: Tensor) -> Tensor:
    r"""The denoising loss, the squared error of the residual network,

    .. math:: E \frac{1}{n} \left\| F - (\sin\varphi\, z - \cos\varphi\, \varepsilon) \right\|^2, \qquad
        \varphi \sim p(\varphi) ,

    at angles of the density of the schedule, stratified over rows. Any weight of an angle is a part of this density. A
    number beside fields weighs as much as a field, or it would be lost among all their sites.

    Args:
        residual: The network.
        schedule: The schedule.
        z: Data, with shape ``(rows, *shape)``.
        context: The contexts, with shape ``(rows, context, *grid)``.

    Returns:
        A scalar; 1 for a network that knows no more than that the data are standard normal.
    """
    angle = schedule.quantile(stratified(z))
    noisy, target = mixed(angle, z, torch.randn_like(z))
    return residual.layout.spread(residual(noisy, angle, context) - target).square().mean()


def mixed(angle: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    r"""Noisy data :math:`\cos\varphi\, z + \sin\varphi\, \varepsilon`, and the target of the residual.

    Args:
        angle: The angles, with shape ``(rows,)``.
        z: Data, with shape ``(rows, *shape)``.
        noise: White noise :math:`\varepsilon`, with the same shape.

    Returns:
        Noisy data, and :math:`\sin\varphi\, z - \cos\varphi\, \varepsilon`.
    """
    cos, sin = (append_dims(part, z.ndim - 1) for part in (angle.cos(), angle.sin()))
    return cos * z + sin * noise, sin * z - cos * noise


def stratified(z: Tensor) -> Tensor:
    """Draws of the uniform distribution on (0, 1), a row of ``z`` each, from as many intervals, in random order."""
    share = torch.rand_like(z.flatten(1)[:, 0]).clamp(1e-3, 1 - 1e-3)
    return (torch.randperm(len(z), device=z.device) + share) / len(z)
