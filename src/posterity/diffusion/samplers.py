"""Samplers of reverse diffusion, given a denoiser; see :mod:`posterity.diffusion`."""

import abc
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, log, prod, sin, sqrt, tan

import torch
from torch import Tensor

from .denoisers import Mean
from .ode import flow, integrate
from .schedules import Schedule

#: Nodes and weights of a quadrature on (-1, 1), that of Gauss and Legendre with five nodes.
QUADRATURE = (
    (0.0, 128 / 225),
    *((side * sqrt(5 - 2 * sqrt(10 / 7)) / 3, (322 + 13 * sqrt(70)) / 900) for side in (-1, 1)),
    *((side * sqrt(5 + 2 * sqrt(10 / 7)) / 3, (322 - 13 * sqrt(70)) / 900) for side in (-1, 1)),
)


class Sampler(abc.ABC):
    """Abstract reverse-diffusion sampler. It sees the mean of a denoiser only, so guidance can wrap it."""

    @abc.abstractmethod
    def __call__(self, mean: Mean, schedule: Schedule, noise: Tensor) -> Tensor:
        """Turns noise into data.

        Args:
            mean: The mean of the data given noisy ones, with shape ``(rows, *shape)``, and their angle.
            schedule: The angles to visit.
            noise: Standard normal, with shape ``(rows, *shape)``.

        Returns:
            The draws, with shape ``(rows, *shape)``.
        """


@dataclass(frozen=True)
class RungeKutta(Sampler):
    r"""The classical Runge–Kutta method for the probability flow, over the angle :math:`\varphi`.

    Exact for standard normal data, whose velocity is zero: an unobserved control is drawn from its prior. With half as
    many steps as Heun's method, the sampler of EDM, it costs as much and errs less.

    Args:
        steps: The number of steps, each four evaluations of the denoiser, the last three.
    """

    steps: int = 16

    def __post_init__(self) -> None:
        """Checks the number of steps."""
        check_steps(self.steps)

    def __call__(self, mean: Mean, schedule: Schedule, noise: Tensor) -> Tensor:
        """Integrates from noise to data."""
        return integrate(flow(mean), noise, schedule.angles(self.steps))


@dataclass(frozen=True)
class Multistep(Sampler):
    r"""A linear multistep method for the probability flow, whose steps take the last three velocities,

    .. math:: \bar x_{k + 1} = \bar x_k + \sum_{j = 0}^{2} w_{k j} v_{k - j}, \qquad
        w_{k j} = \int_{\varphi_k}^{\varphi_{k + 1}} \ell_{k j}(\log\tan\varphi)\, d\varphi, \qquad
        v_k = \frac{\cos\varphi_k\, \bar x_k - D(\bar x_k, \varphi_k)}{\sin\varphi_k} ,

    with the polynomials :math:`\ell_{k j}` that are one at the level :math:`\log\tan\varphi_{k - j}` of the noise, and
    zero at the other two: the method of Adams and Bashforth, but that velocities are taken for polynomials in the
    level, in which they change at one pace, whatever the width of the posterior. The first two steps take what
    velocities there are, and the first is made again with the one that it leads to.

    Of third order but for the first steps, and exact for standard normal data, whose velocity is zero: an unobserved
    control is drawn from its prior.

    Args:
        steps: The number of steps, each an evaluation of the denoiser.

    References:
        | Fast Sampling of Diffusion Models with Exponential Integrator (Zhang & Chen, 2023),
          https://arxiv.org/abs/2204.13902
        | DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models (Lu et al., 2022),
          https://arxiv.org/abs/2211.01095
    """

    steps: int = 12

    def __post_init__(self) -> None:
        """Checks the number of steps."""
        check_steps(self.steps)

    def __call__(self, mean: Mean, schedule: Schedule, noise: Tensor) -> Tensor:
        """Steps from noise to data."""
        *angles, last, _ = schedule.angles(self.steps)
        x, velocity = noise, flow(mean)
        known, past = deque[float](maxlen=3), deque[Tensor](maxlen=3)
        for t, s in pairwise([*angles, last]):
            known.append(t)
            past.append(velocity(x, t))
            if len(past) == 2:
                # The first step knew one velocity, which changes fast there.
                x = noise + integral(past, known, known[0], t)
            x = x + integral(past, known, t, s)
        return arrive(mean, x, last)


@dataclass(frozen=True)
class Ancestral(Sampler):
    r"""Ancestral sampling, steps that keep a part of the noise and replace the rest by new noise,

    .. math:: \bar x_s = \cos\varphi_s\, \hat z + \sqrt{\sin^2\varphi_s - \tau^2}\, \hat\varepsilon
        + \tau \varepsilon', \qquad
        \tau = \eta\, \sin\varphi_s \sqrt{1 - \left(\frac{\tan\varphi_s}{\tan\varphi_t}\right)^2} ,

    with :math:`\hat z = D(\bar x_t, \varphi_t)` and
    :math:`\hat\varepsilon = (\bar x_t - \cos\varphi_t\, \hat z) / \sin\varphi_t`.

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

    def __call__(self, mean: Mean, schedule: Schedule, noise: Tensor) -> Tensor:
        """Steps from noise to data."""
        *angles, last, _ = schedule.angles(self.steps)
        x = noise
        for t, s in pairwise([*angles, last]):
            x = step(mean, x, t, s, self.eta)
        return arrive(mean, x, last)


@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    r"""Predictor–corrector sampling, deterministic steps with Langevin corrections at each level that is reached,

    .. math:: \bar x \leftarrow \bar x
        - \sin\varphi \left(\delta\, \hat\varepsilon - \sqrt{2 \delta}\, \varepsilon'\right), \qquad
        \delta = \tau \min(1, 4 / \mathrm{mean}(\hat\varepsilon^2)) ,

    the mean being that of a row, which is at most 1 on average if the score is exact. Corrections undo errors of
    earlier steps, and widen draws by a part of order :math:`\tau`. The reference has :math:`\delta = \tau /
    \mathrm{mean}(\hat\varepsilon^2)` everywhere. Steps that depend on the state draw from another density, too wide
    in few dimensions, so that here only scores that are much too large, as of strong guidance, shorten them.

    Args:
        steps: The number of steps, the last without corrections.
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

    def __call__(self, mean: Mean, schedule: Schedule, noise: Tensor) -> Tensor:
        """Steps from noise to data, and corrects."""
        *angles, last, _ = schedule.angles(self.steps)
        x = noise
        for t, s in pairwise([*angles, last]):
            x = step(mean, x, t, s, 0.0)
            for _ in range(self.corrections):
                found = (x - cos(s) * mean(x, s)) / sin(s)
                size = found.square().mean(dim=tuple(range(1, x.ndim)), keepdim=True)
                delta = self.tau * (4 / size).clamp(max=1)
                x = x - sin(s) * (delta * found - (2 * delta).sqrt() * torch.randn_like(x))
        return arrive(mean, x, last)


def step(mean: Mean, x: Tensor, t: float, s: float, eta: float) -> Tensor:
    """One step from angle ``t`` to a smaller angle ``s``, with a share ``eta`` of new noise."""
    found = mean(x, t)
    kept = (x - cos(t) * found) / sin(t)
    fresh = eta * sin(s) * sqrt(1 - (tan(s) / tan(t)) ** 2)
    x = cos(s) * found + sqrt(sin(s) ** 2 - fresh**2) * kept
    return x + fresh * torch.randn_like(x) if eta else x


def integral(values: Iterable[Tensor], angles: Sequence[float], t: float, s: float) -> Tensor:
    r"""The integral from angle ``t`` to ``s`` of the polynomial in :math:`\log\tan\varphi` through values at angles."""
    levels, middle, half = [log(tan(angle)) for angle in angles], (t + s) / 2, (s - t) / 2
    weights = [0.0] * len(levels)
    for node, share in QUADRATURE:
        level = log(tan(middle + half * node))
        for j, own in enumerate(levels):
            others = (other for i, other in enumerate(levels) if i != j)
            weights[j] += half * share * prod((level - other) / (own - other) for other in others)
    return torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum(dim=0)


def arrive(mean: Mean, x: Tensor, angle: float) -> Tensor:
    """The last step of a probability flow, to angle zero: that of Heun, as the velocity of data is zero.

    To take the mean would lose the variance that is left, and to stop would add that of the noise.
    """
    return x - angle / 2 * flow(mean)(x, angle)


def check_steps(steps: int) -> None:
    """Raises if there are no steps."""
    if steps < 1:
        raise ValueError(f"steps: at least one is needed, not {steps}")
