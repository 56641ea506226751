"""Samplers of reverse diffusion, given a denoiser; see :mod:`posterity.diffusion`."""

import abc
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .denoisers import Denoise
from .schedules import Schedule


class Sampler(abc.ABC):
    """Abstract reverse-diffusion sampler. It sees a denoising function only, so guidance can wrap it."""

    @abc.abstractmethod
    def __call__(self, denoise: Denoise, schedule: Schedule, noise: Tensor) -> Tensor:
        """Turns noise into data.

        Args:
            denoise: The mean of the data given noisy ones, with shape ``(rows, *shape)``, and their time, a scalar.
            schedule: How noise was added.
            noise: Standard normal, with shape ``(rows, *shape)``.

        Returns:
            The draws, with shape ``(rows, *shape)``.
        """


@dataclass(frozen=True)
class Ancestral(Sampler):
    r"""Ancestral sampling, steps that keep a part of the noise and replace the rest by new noise,

    .. math:: x_s = \alpha_s \hat z + \sqrt{\sigma_s^2 - \tau^2}\, \hat\varepsilon + \tau \varepsilon', \qquad
        \tau = \eta\, \sigma_s \sqrt{1 - \left(\frac{\sigma_s\, \alpha_t}{\alpha_s\, \sigma_t}\right)^2} ,

    with :math:`\hat z = D(x_t, t)` and :math:`\hat\varepsilon = (x_t - \alpha_t \hat z) / \sigma_t`.

    Args:
        steps: The number of steps, each an evaluation of the denoiser.
        eta: The share of new noise: 1 is ancestral sampling (DDPM), 0 deterministic (DDIM).

    References:
        | Denoising Diffusion Implicit Models (Song et al., 2021), https://arxiv.org/abs/2010.02502
    """

    steps: int = 64
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Checks the options."""
        check_steps(self.steps)
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta: must lie between 0 and 1, not {self.eta:g}")

    def __call__(self, denoise: Denoise, schedule: Schedule, noise: Tensor) -> Tensor:
        """Steps down the schedule."""
        times = schedule.times(self.steps).to(noise)
        x = schedule.scale(times[0]) * noise
        for t, s in pairwise(times):
            x = step(denoise, schedule, x, t, s, self.eta)
        return x


@dataclass(frozen=True)
class Heun(Sampler):
    r"""Heun's second-order method for the probability flow, over the angle :math:`\varphi`.

    Exact for standard normal data, whose velocity is zero: an unobserved control is drawn from its prior.

    Args:
        steps: The number of steps, each two evaluations of the denoiser.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          https://arxiv.org/abs/2206.00364
    """

    steps: int = 32

    def __post_init__(self) -> None:
        """Checks the number of steps."""
        check_steps(self.steps)

    def __call__(self, denoise: Denoise, schedule: Schedule, noise: Tensor) -> Tensor:
        """Integrates from noise to data."""

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            angle = schedule.angle(t)
            return (angle.cos() * x - denoise(schedule.scale(t) * x, t)) / angle.sin()

        times = schedule.times(self.steps).to(noise)
        x = noise
        for t, s in pairwise(times):
            turn = schedule.angle(s) - schedule.angle(t)
            first = velocity(x, t)
            x = x + turn / 2 * (first + velocity(x + turn * first, s))
        return schedule.scale(times[-1]) * x


@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    r"""Predictor–corrector sampling, deterministic steps with Langevin corrections at each level that is reached,

    .. math:: x \leftarrow x - \sigma \left(\delta\, \hat\varepsilon - \sqrt{2 \delta}\, \varepsilon'\right), \qquad
        \delta = \tau \min(1, 4 / \mathrm{mean}(\hat\varepsilon^2)) ,

    the mean being that of a row, which is at most 1 on average if the score is exact. Corrections undo errors of
    earlier steps, and widen draws by a part of order :math:`\tau`. The reference has :math:`\delta = \tau /
    \mathrm{mean}(\hat\varepsilon^2)` everywhere. Steps that depend on the state draw from another density, too wide
    in few dimensions, so that here only scores that are much too large, as of strong guidance, shorten them.

    Args:
        steps: The number of steps.
        corrections: The number of corrections after each step; all cost an evaluation of the denoiser.
        tau: The size :math:`\tau` of the corrections.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    steps: int = 64
    corrections: int = 1
    tau: float = 0.25

    def __post_init__(self) -> None:
        """Checks the options."""
        check_steps(self.steps)
        if self.corrections < 0:
            raise ValueError(f"corrections: must not be negative, not {self.corrections}")
        if self.tau <= 0:
            raise ValueError(f"tau: must be positive, not {self.tau:g}")

    def __call__(self, denoise: Denoise, schedule: Schedule, noise: Tensor) -> Tensor:
        """Steps down the schedule, and corrects."""
        times = schedule.times(self.steps).to(noise)
        x = schedule.scale(times[0]) * noise
        for t, s in pairwise(times):
            x = step(denoise, schedule, x, t, s, 0.0)
            for _ in range(self.corrections):
                found = (x - schedule.alpha(s) * denoise(x, s)) / schedule.sigma(s)
                size = found.square().mean(dim=tuple(range(1, x.ndim)), keepdim=True)
                delta = self.tau * (4 / size).clamp(max=1)
                x = x - schedule.sigma(s) * (delta * found - (2 * delta).sqrt() * torch.randn_like(x))
        return x


def step(denoise: Denoise, schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, eta: float) -> Tensor:
    """One step from time ``t`` to an earlier time ``s``, with a share ``eta`` of new noise."""
    alpha, sigma, target = schedule.alpha(t), schedule.sigma(t), schedule.sigma(s)
    mean = denoise(x, t)
    found = (x - alpha * mean) / sigma
    fresh = eta * target * (1 - (target * alpha / (schedule.alpha(s) * sigma)).square()).sqrt()
    x = schedule.alpha(s) * mean + (target.square() - fresh.square()).sqrt() * found
    return x + fresh * torch.randn_like(x) if eta else x


def check_steps(steps: int) -> None:
    """Raises if there are no steps."""
    if steps < 1:
        raise ValueError(f"steps: at least one is needed, not {steps}")
