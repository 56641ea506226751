"""Diffusion: how noise is added, and the network that takes it away."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from math import acos, pi

import torch
from torch import Tensor, nn

from ..nn import Network
from ..nn.embedding import SineEncoding

#: The mean of the data given their noisy values, ``(rows, *shape)``, at a time of the schedule, a scalar.
Denoise = Callable[[Tensor, Tensor], Tensor]


#: Noise below which, and data below which, a network need not tell one level from another, in radians.
LEAST_ANGLE = 1e-3


def like(value: Tensor, x: Tensor) -> Tensor:
    """Appends dimensions to a scalar, or to one value per row, so that it broadcasts against ``x``."""
    return value.reshape(*value.shape, *([1] * (x.ndim - max(value.ndim, 1))))


class Schedule(abc.ABC):
    r"""Adds noise to data in a time from 0, which is nearly the data, to 1, which is nearly noise,

    .. math:: x_t = \alpha(t) z + \sigma(t) \varepsilon, \qquad \varepsilon \sim N(0, I) .

    Times are tensors of any shape. Data of unit variance, and noise, sit on a circle whatever the schedule:
    :math:`\bar x_t = x_t / \sqrt{\alpha^2 + \sigma^2} = \cos\varphi\, z + \sin\varphi\, \varepsilon`.
    """  # noqa: D415

    @abc.abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\alpha(t)` of the data."""

    @abc.abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\sigma(t)` of the noise, positive."""

    def scale(self, t: Tensor) -> Tensor:
        r"""The standard deviation :math:`\sqrt{\alpha^2 + \sigma^2}` of noisy data of unit variance."""
        return torch.hypot(self.alpha(t), self.sigma(t))

    def angle(self, t: Tensor) -> Tensor:
        r"""The angle :math:`\varphi = \arctan(\sigma / \alpha)` between data and noisy data."""
        return torch.atan2(self.sigma(t), self.alpha(t))

    def times(self, steps: int) -> Tensor:
        """The times of a sampler: from noise at 1 to data at 0, with shape ``(steps + 1,)``."""
        return torch.linspace(1, 0, steps + 1)


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""The schedule of score-based data assimilation, which preserves the variance up to :math:`\eta^2`,

    .. math:: \alpha = \cos^2(\arccos(\sqrt\eta)\, t), \qquad \sigma^2 = 1 - \alpha^2 + \eta^2 .

    Args:
        eta: The scale of the noise at time 0, and of the data at time 1.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """  # noqa: D415

    eta: float = 1e-3

    def __post_init__(self) -> None:
        """Refuses what is no small scale."""
        check_between("eta", self.eta, 0, 1)

    def alpha(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\alpha(t)` of the data."""
        return torch.cos(acos(self.eta**0.5) * t).square()

    def sigma(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\sigma(t)` of the noise."""
        return (1 - self.alpha(t).square() + self.eta**2).sqrt()


@dataclass(frozen=True)
class LinearBeta(Schedule):
    r"""The variance-preserving diffusion whose rate is linear in time,

    .. math:: \log \alpha = -\tfrac12 \left(\beta_0 t + \tfrac12 (\beta_1 - \beta_0) t^2\right), \qquad
        \sigma^2 = 1 - \alpha^2 + \eta^2 .

    Args:
        first: The rate :math:`\beta_0` at time 0.
        last: The rate :math:`\beta_1` at time 1.
        eta: The scale of the noise at time 0.

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021),
          https://arxiv.org/abs/2011.13456
    """  # noqa: D415

    first: float = 0.1
    last: float = 20.0
    eta: float = 1e-3

    def __post_init__(self) -> None:
        """Refuses rates that are none."""
        check_between("eta", self.eta, 0, 1)
        check_between("first", self.first, 0, self.last)

    def alpha(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\alpha(t)` of the data."""
        return torch.exp(-0.5 * (self.first * t + 0.5 * (self.last - self.first) * t.square()))

    def sigma(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\sigma(t)` of the noise."""
        return (1 - self.alpha(t).square() + self.eta**2).sqrt()


@dataclass(frozen=True)
class VarianceExploding(Schedule):
    r"""Noise alone grows, with levels that are evenly spaced in its :math:`\rho`-th root,

    .. math:: \alpha = 1, \qquad
        \sigma = \left((1 - t)\, \sigma_0^{1/\rho} + t\, \sigma_1^{1/\rho}\right)^\rho .

    Args:
        first: The noise :math:`\sigma_0` at time 0.
        last: The noise :math:`\sigma_1` at time 1.
        rho: The exponent; the larger, the more of the levels are small.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          https://arxiv.org/abs/2206.00364
    """  # noqa: D415

    first: float = 2e-3
    last: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        """Refuses levels that do not grow."""
        check_between("first", self.first, 0, self.last)
        if self.rho <= 0:
            raise ValueError(f"rho: must be positive, not {self.rho:g}")

    def alpha(self, t: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        r"""The scale :math:`\sigma(t)` of the noise."""
        low, high = self.first ** (1 / self.rho), self.last ** (1 / self.rho)
        return ((1 - t) * low + t * high) ** self.rho


class Residual(nn.Module):
    r"""A network over the circle of data and noise, an estimate of what is orthogonal to where it looks,

    .. math:: F(\bar x, \varphi, c) \approx E[\sin\varphi\, z - \cos\varphi\, \varepsilon \mid \bar x, c] , \qquad
        \bar x = \cos\varphi\, z + \sin\varphi\, \varepsilon .

    Its inputs and outputs have unit variance if the data have, whatever the angle. Zero is exact for standard normal
    data. Minus it is the velocity :math:`d \bar x / d\varphi` of the probability flow.

    Args:
        shape: The shape of the data, ``(channel, *grid)`` or ``(entries,)``.
        context: The number of channels (or entries) of the context; there may be none.
        network: The plan of the network.
        encoding: The size of the encoding of the noise level that the network sees.
    """  # noqa: D415

    def __init__(self, shape: tuple[int, ...], context: int, network: Network, encoding: int = 32) -> None:
        super().__init__()
        self.encoding = SineEncoding(encoding)
        self.network = network.build(shape[0] + context, shape[0], shape[1:], condition=encoding)

    def forward(self, x: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        r"""The estimate.

        Args:
            x: Noisy data :math:`\bar x`, with shape ``(rows, *shape)``.
            angle: Their angles, with shape ``(rows,)``, or one for all.
            context: What is given, with shape ``(rows, context, *grid)``.

        Returns:
            The estimate :math:`F`, with shape ``(rows, *shape)``.
        """
        # A quarter of the logarithm of the noise, as in EDM; closer to either end nothing changes any more.
        level = angle.clamp(LEAST_ANGLE, pi / 2 - LEAST_ANGLE).tan().log() / 4
        return self.network(torch.cat((x, context), dim=1), self.encoding(level.expand(len(x))))


class Denoiser(nn.Module):
    r"""A network that estimates the mean of the data given noisy ones, :math:`E[z | x_t, c]`, preconditioned by

    .. math:: D(x_t, t, c) = \frac{\alpha}{s^2}\, x_t + \frac{\sigma}{s}\, F(x_t / s, \varphi, c), \qquad
        s^2 = \alpha^2 + \sigma^2, \quad \tan\varphi = \sigma / \alpha .

    Of a control of which observations say nothing, nothing has to be learned: where :math:`F` is zero, this is the
    exact denoiser of :math:`N(0, I)`.

    Args:
        residual: The network :math:`F`.
        schedule: How noise is added.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          https://arxiv.org/abs/2206.00364
    """  # noqa: D415

    def __init__(self, residual: Residual, schedule: Schedule) -> None:
        super().__init__()
        self.residual, self.schedule = residual, schedule

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The mean of the data.

        Args:
            x: Noisy data, with shape ``(rows, *shape)``.
            t: Their times, with shape ``(rows,)``, or one for all.
            context: What is given, with shape ``(rows, context, *grid)``.

        Returns:
            The means, with shape ``(rows, *shape)``.
        """
        schedule = self.schedule
        alpha, sigma, scale = (like(part(t), x) for part in (schedule.alpha, schedule.sigma, schedule.scale))
        return alpha / scale**2 * x + sigma / scale * self.residual(x / scale, schedule.angle(t), context)


def denoising_loss(denoiser: Denoiser, z: Tensor, context: Tensor) -> Tensor:
    r"""The error of the network's output,

    .. math:: E \frac{1}{n} \left\| F - (\sin\varphi\, z - \cos\varphi\, \varepsilon) \right\|^2, \qquad
        \log\tan\varphi \sim N(-1.2, 1.2^2) ,

    which weighs the error of the denoiser by :math:`s^2 / \sigma^2`, and chooses levels of noise, as EDM does: those
    around the spread of posteriors, whatever the schedule that is then sampled with. Levels are stratified over rows.

    Args:
        denoiser: The denoiser.
        z: Data, with shape ``(rows, *shape)``.
        context: What is given, with shape ``(rows, context, *grid)``.

    Returns:
        A scalar; 1 for a network that knows no more than that the data are standard normal.
    """  # noqa: D415
    angle = torch.special.ndtri(stratified(len(z))).mul(1.2).sub(1.2).exp().atan().to(z)
    cos, sin, noise = like(angle.cos(), z), like(angle.sin(), z), torch.randn_like(z)
    found = denoiser.residual(cos * z + sin * noise, angle, context)
    return (found - (sin * z - cos * noise)).square().mean()


def stratified(rows: int) -> Tensor:
    """Draws from the uniform distribution on (0, 1), one from each of as many intervals, in random order."""
    return ((torch.arange(rows) + torch.rand(rows).clamp(1e-3, 1 - 1e-3)) / rows)[torch.randperm(rows)]


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuses an option that does not lie strictly between two others."""
    if not low < value < high:
        raise ValueError(f"{name}: must lie between {low:g} and {high:g}, not {value:g}")
