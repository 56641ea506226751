"""Denoisers: networks that estimate the mean of the data given noisy ones; see :mod:`posterity.diffusion`."""

from collections.abc import Callable
from math import atan, pi

import torch
from torch import Tensor, nn

from ..nn import Network
from ..nn.embedding import SineEncoding
from ..tensors import append_dims
from .schedules import Schedule

#: The mean of the data given their noisy values, ``(rows, *shape)``, at a time of the schedule, a scalar.
Denoise = Callable[[Tensor, Tensor], Tensor]

#: Distance from either end of the circle within which a network sees the same level of noise, in radians.
LEAST_ANGLE = 1e-3

#: The largest angle that damped residuals see: noise is eight times as large as data.
WIDEST = atan(8)


class Residual(nn.Module):
    r"""The residual network of denoisers and velocities, :math:`F(\bar x, \varphi, c)` in :mod:`posterity.diffusion`.

    It sees noisy data :math:`\bar x`, an encoding of :math:`\log \tan \varphi`, and the context.

    Args:
        shape: The shape of the data, ``(channel, *grid)`` or ``(entries,)``.
        context: The number of channels (or entries) of the context; there may be none.
        network: The plan of the network.
        encoding: The size of the encoding of the noise level that the network sees.
    """

    def __init__(self, shape: tuple[int, ...], context: int, network: Network, encoding: int = 32) -> None:
        super().__init__()
        self.encoding = SineEncoding(encoding)
        self.network = network.build(shape[0] + context, shape[0], shape[1:], condition=encoding)

    def forward(self, x: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        r"""Estimates the residual.

        Args:
            x: Noisy data :math:`\bar x`, with shape ``(rows, *shape)``.
            angle: Their angles, with shape ``(rows,)``, or one for all.
            context: The contexts, with shape ``(rows, context, *grid)``.

        Returns:
            The estimate :math:`F`, with shape ``(rows, *shape)``.
        """
        # A quarter of the logarithm of the noise, as in EDM; closer to either end nothing changes any more.
        level = angle.clamp(LEAST_ANGLE, pi / 2 - LEAST_ANGLE).tan().log() / 4
        return self.network(torch.cat((x, context), dim=1), self.encoding(level.expand(len(x))))


class DampedResidual(Residual):
    r"""A residual network with damped inputs, :math:`F(\cos\varphi\, \bar x, \varphi, c)`, for guidance by Jacobians.

    What noisy data say of the clean ones fades with :math:`\cos\varphi` as noise takes over. A network that has to
    learn this errs by a little, and in the covariance that moment matching takes from it the error is multiplied by
    :math:`\sin^3\varphi / \cos\varphi`, a thousandfold where sampling starts. Damped, with :math:`F'` the Jacobian,

    .. math:: \mathrm{Cov}[z | x_t] \approx \sin^2\varphi\, I + \sin^3\varphi\, F' .

    At large noise :math:`F` is linear in its input and no longer changes with the level, so the level that it sees
    stops rising at the largest one of training.
    """

    def forward(self, x: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        """Estimates the residual; see :meth:`Residual.forward`."""
        return super().forward(append_dims(angle.cos(), x.ndim - 1) * x, angle.clamp(max=WIDEST), context)


class Denoiser(nn.Module):
    r"""A preconditioned denoiser, the mean of the data given noisy ones,

    .. math:: D(x_t, t, c) = \frac{\alpha}{s^2}\, x_t + \frac{\sigma}{s}\, F(x_t / s, \varphi, c)
        \approx E[z | x_t, c] .

    With :math:`F = 0` it is the exact denoiser of :math:`N(0, I)`: an unobserved control has nothing to learn.

    Args:
        residual: The network :math:`F`.
        schedule: How noise is added.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          https://arxiv.org/abs/2206.00364
    """

    def __init__(self, residual: Residual, schedule: Schedule) -> None:
        super().__init__()
        self.residual, self.schedule = residual, schedule

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Estimates the mean of the data.

        Args:
            x: Noisy data, with shape ``(rows, *shape)``.
            t: Their times, with shape ``(rows,)``, or one for all.
            context: The contexts, with shape ``(rows, context, *grid)``.

        Returns:
            The means, with shape ``(rows, *shape)``.
        """
        schedule = self.schedule
        alpha, sigma, scale = (
            append_dims(part(t), x.ndim - 1) for part in (schedule.alpha, schedule.sigma, schedule.scale)
        )
        return alpha / scale**2 * x + sigma / scale * self.residual(x / scale, schedule.angle(t), context)


def denoising_loss(denoiser: Denoiser, z: Tensor, context: Tensor) -> Tensor:
    r"""The denoising loss, the squared error of the residual network,

    .. math:: E \frac{1}{n} \left\| F - (\sin\varphi\, z - \cos\varphi\, \varepsilon) \right\|^2, \qquad
        \log\tan\varphi \sim N(-1.2, 1.2^2) ,

    which weighs the error of the denoiser by :math:`s^2 / \sigma^2`, and chooses levels of noise, as EDM does: those
    around the spread of posteriors, whatever the schedule that is then sampled with. Levels are stratified over rows.

    Args:
        denoiser: The denoiser.
        z: Data, with shape ``(rows, *shape)``.
        context: The contexts, with shape ``(rows, context, *grid)``.

    Returns:
        A scalar; 1 for a network that knows no more than that the data are standard normal.
    """
    angle = torch.special.ndtri(stratified(len(z))).mul(1.2).sub(1.2).exp().atan().to(z)
    cos, sin = append_dims(angle.cos(), z.ndim - 1), append_dims(angle.sin(), z.ndim - 1)
    noise = torch.randn_like(z)
    found = denoiser.residual(cos * z + sin * noise, angle, context)
    return (found - (sin * z - cos * noise)).square().mean()


def stratified(rows: int) -> Tensor:
    """Draws from the uniform distribution on (0, 1), one from each of as many intervals, in random order."""
    return ((torch.arange(rows) + torch.rand(rows).clamp(1e-3, 1 - 1e-3)) / rows)[torch.randperm(rows)]
