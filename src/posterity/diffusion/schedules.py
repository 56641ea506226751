"""Schedules: the angles that samplers visit, and those that losses draw; see :mod:`posterity.diffusion`."""

import abc
from dataclasses import dataclass
from math import atan2, pi

import torch
from torch import Tensor

#: The largest ratio of noise to data of unit variance, at which samplers start.
MOST = 1e3

#: The ratio beyond which data are hidden, and few steps suffice.
HIDDEN = 5.0

#: The root of ratios in which angles are evenly spaced, as in EDM.
RHO = 7


@dataclass(frozen=True)
class Schedule(abc.ABC):
    r"""Abstract schedule, a grid of angles for samplers and a density of angles for losses.

    The grid is spaced as that of EDM, evenly in the seventh root of the ratio of noise to data, but that this ratio
    saturates where noise hides the data,

    .. math:: r = \frac{\tan\varphi}{1 + \tan\varphi / 5}, \qquad
        r_k^{1/7} = r_0^{1/7} + \frac{k}{n - 1} \left(r_{n-1}^{1/7} - r_0^{1/7}\right), \quad
        k = 0, \dots, n - 1, \qquad \varphi_n = 0 ,

    whatever the density: posteriors of any width are reached. EDM's own takes four of ten steps beyond a ratio of 5.

    Subclasses define the density, by its quantiles.

    Args:
        least: The ratio :math:`\tan\varphi` of noise to data before the last step, to none.
    """

    least: float = 2e-3

    def __post_init__(self) -> None:
        """Checks the least ratio."""
        if not 0 < self.least < MOST:
            raise ValueError(f"least: must lie between 0 and {MOST:g}, not {self.least:g}")

    def angles(self, steps: int) -> list[float]:
        """The angles that a sampler visits, from noise to data, which is zero; one more than there are steps."""
        last, first = ((ratio / (1 + ratio / HIDDEN)) ** (1 / RHO) for ratio in (self.least, MOST))
        parts = [step / max(steps - 1, 1) for step in range(steps)]
        ratios = [(first + part * (last - first)) ** RHO for part in parts]
        return [*(atan2(ratio, 1 - ratio / HIDDEN) for ratio in ratios), 0.0]

    @abc.abstractmethod
    def quantile(self, share: Tensor) -> Tensor:
        """The angles below which given shares of the density lie.

        Args:
            share: The shares, between 0 and 1, of any shape.

        Returns:
            The angles, with the same shape.
        """


@dataclass(frozen=True)
class EDM(Schedule):
    r"""The schedule of EDM, whose loss draws log-normal ratios of noise to data,

    .. math:: \log\tan\varphi \sim N(m, s^2) .

    EDM has a mean of -1.2 for data whose standard deviation is 0.5; for data of unit variance this is -0.5.

    Args:
        least: The ratio :math:`\tan\varphi` of noise to data before the last step, to none.
        mean: The mean :math:`m`.
        std: The standard deviation :math:`s`.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          https://arxiv.org/abs/2206.00364
    """

    mean: float = -0.5
    std: float = 1.2

    def __post_init__(self) -> None:
        """Checks the grid and the spread."""
        super().__post_init__()
        if self.std <= 0:
            raise ValueError(f"std: must be positive, not {self.std:g}")

    def quantile(self, share: Tensor) -> Tensor:
        """The angles below which given shares lie."""
        return (self.mean + self.std * torch.special.ndtri(share)).exp().atan()


@dataclass(frozen=True)
class Straight(Schedule):
    r"""The schedule of flow matching, whose loss draws angles nearly evenly,

    .. math:: p(\varphi) \propto \left(1 - \frac{2 \varphi}{\pi}\right)^a .

    With :math:`a = 0` it is, but for the factor :math:`\pi / 2`, the loss of straight paths at uniform times,

    .. math:: \int_0^1 E \left\| v(x_t, t) - (z - \varepsilon) \right\|^2 dt
        = \int_0^{\pi / 2} E \left\| F - (\sin\varphi\, z - \cos\varphi\, \varepsilon) \right\|^2 d\varphi, \qquad
        x_t = (1 - t)\, \varepsilon + t z, \quad \tan\varphi = \frac{1 - t}{t} ,

    and with :math:`a = 1` nearly that at times of density :math:`p(t) \propto t`.

    Args:
        least: The ratio :math:`\tan\varphi` of noise to data before the last step, to none.
        exponent: The exponent :math:`a`; the larger, the more of the angles of the loss lie near the data.

    References:
        | Flow Matching for Generative Modeling (Lipman et al., 2023), https://arxiv.org/abs/2210.02747
        | Flow Matching for Scalable Simulation-Based Inference (Wildberger et al., 2023),
          https://arxiv.org/abs/2305.17161
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        """Checks the grid and the exponent."""
        super().__post_init__()
        if self.exponent <= -1:
            raise ValueError(f"exponent: must be larger than -1, not {self.exponent:g}")

    def quantile(self, share: Tensor) -> Tensor:
        """The angles below which given shares lie."""
        return pi / 2 * (1 - (1 - share) ** (1 / (1 + self.exponent)))
