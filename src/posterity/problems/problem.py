"""The problem: a joint distribution over states and observations, and draws of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..systems import System, rollout
from .observation import Observation, check_interval, uniform

Joint = Literal["background", "climatology"]


class Window(NamedTuple):
    """All that a method may see.

    Args:
        y: Observations, with shape ``(*batch, window, *obs_shape)``, NaN where not observed.
        std: Their standard deviations, with the same shape.
        background: The background :math:`x_b`, with shape ``(*batch, *shape)``; NaN if there is none.
        background_std: Its standard deviation :math:`B^{1/2}`, with the same shape.
        start: The time at which the window starts, in steps, with shape ``(*batch,)``.
    """

    y: Tensor
    std: Tensor
    background: Tensor
    background_std: Tensor
    start: Tensor


class Twin(NamedTuple):
    """One draw of the joint.

    Args:
        x: States, with shape ``(*batch, window + forecast, *shape)``.
        theta: Unknown parameters, with shape ``(*batch, parameters)``; there may be none.
        window: What a method may see of it.
    """

    x: Tensor
    theta: Tensor
    window: Window


class Ensemble(NamedTuple):
    """Draws from a posterior.

    Args:
        x: States, with shape ``(samples, *batch, steps, *shape)``.
        theta: Unknown parameters, with shape ``(samples, *batch, parameters)``.
        steps: The window times that ``x`` covers, as a range of steps.
        info: Diagnostics of each case, with shape ``(*batch,)``, or ``(*batch, iteration)`` for curves.
    """

    x: Tensor
    theta: Tensor
    steps: range
    info: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Problem:
    r"""A state-space model, a window of observations, and what is asked of it.

    The target of inference is :math:`p(x_{0:T+F} | y_{0:T}, x_b)`, under one of two joints. *background* draws
    :math:`x_b` from the climatology, then :math:`x_0 = x_b + B^{1/2} u`, :math:`u \sim N(0, I)`: the Gaussian
    prior of the variational methods is exact. *climatology* draws :math:`x_0` from the system's own ensemble, and
    the background, if any, is one more observation of it, :math:`x_b = x_0 + B^{1/2} u`.

    Args:
        system: What moves.
        observation: What is seen of it.
        window: The number of assimilated states :math:`T`.
        forecast: The number of states :math:`F` behind the window.
        joint: Which joint the twins are drawn from.
        background_std: The interval from which each entry of :math:`B^{1/2}` is drawn, in units of the state.
            None, under the climatology joint alone, for no background.
    """

    system: System
    observation: Observation
    window: int
    forecast: int = 0
    joint: Joint = "background"
    background_std: tuple[float, float] | None = field(default=(1.0, 1.0))

    def __post_init__(self) -> None:
        """Refuses empty windows, unknown joints, and a background joint without a background."""
        if self.window < 1:
            raise ValueError(f"window: at least one state must be assimilated, not {self.window}")
        if self.forecast < 0:
            raise ValueError(f"forecast: must not be negative, not {self.forecast}")
        if self.joint not in get_args(Joint):
            raise ValueError(f"joint: must be {' or '.join(map(repr, get_args(Joint)))}, not {self.joint!r}")
        if self.observation.operator.shape != self.shape:
            raise ValueError(
                f"observation: its operator observes {self.observation.operator.shape}, but states are {self.shape}"
            )
        if self.background_std is not None:
            check_interval("background_std", self.background_std)
        elif self.joint == "background":
            raise ValueError("background_std: the background joint needs one; see the climatology joint")

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape of a state."""
        return self.system.shape

    @property
    def steps(self) -> int:
        """The number of states of a trajectory, window and forecast."""
        return self.window + self.forecast

    def background(self, batch: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Draws initial states with their backgrounds.

        Args:
            batch: The batch shape.

        Returns:
            The initial states, the backgrounds and their standard deviations, with shape ``(*batch, *shape)``.
        """
        draw = self.system.initial(batch)
        if self.background_std is None:
            nothing = torch.full_like(draw, torch.nan)
            return draw, nothing, nothing
        std = uniform(self.background_std, draw.shape)
        shifted = draw + std * torch.randn_like(draw)
        return (shifted, draw, std) if self.joint == "background" else (draw, shifted, std)

    def observe(self, x: Tensor, background: Tensor, background_std: Tensor) -> Twin:
        """Draws observations of given trajectories.

        Args:
            x: The states, with shape ``(*batch, window + forecast, *shape)``.
            background: The backgrounds that belong to them, with shape ``(*batch, *shape)``.
            background_std: Their standard deviations, with the same shape.

        Returns:
            The twins, with batch shape ``(*batch,)``.
        """
        batch = x.shape[: x.ndim - len(self.shape) - 1]
        std, mask = self.observation.design(batch, self.window)
        seen = x.narrow(len(batch), 0, self.window)
        y = self.observation.sample(seen, std, mask)
        start = torch.zeros(batch, dtype=x.dtype, device=x.device)
        return Twin(x, x.new_zeros(*batch, 0), Window(y, std, background, background_std, start))

    def sample(self, batch: Sequence[int]) -> Twin:
        """Draws from the joint.

        Args:
            batch: The batch shape.

        Returns:
            The twins, with batch shape ``(*batch,)``.
        """
        x0, background, std = self.background(batch)
        return self.observe(rollout(self.system, x0, self.steps - 1), background, std)
