"""What is seen of a trajectory: observations of its states, a background of the first one, and ties between states."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...diffusion import Likelihood
from ...diffusion.compositions import LocalLikelihood
from ...problems import Problem, Window
from ..features import Standardizer


class Tie(NamedTuple):
    r"""Observations of a window as a whole, :math:`y = H(x_{0:T}) + \varepsilon, \varepsilon \sim N(0, s^2 I)`.

    What no operator of one time sees: that the last state is the first, a mean over time, a difference of two states.

    Args:
        operator: The operator :math:`H`, differentiable, from windows ``(rows, time, *shape)`` to ``(rows, *out)``.
        y: The observations, with shape ``out``, the same for all cases.
        std: Their standard deviation :math:`s`.
    """

    operator: Callable[[Tensor], Tensor]
    y: Tensor
    std: float

    def beside(self, seen: Likelihood, windows: Callable[[Tensor], Tensor]) -> Likelihood:
        """The likelihood of this and of other observations.

        Args:
            seen: The others, of trajectories ``(rows, entries)``.
            windows: From trajectories to windows ``(rows, time, *shape)``.
        """
        y = self.y.to(seen.y).flatten().expand(len(seen.y), -1)
        return Likelihood(
            lambda z: torch.cat((seen.operator(z), self.operator(windows(z)).flatten(1)), dim=-1),
            torch.cat((seen.y, y), dim=-1),
            torch.cat((seen.precision, torch.full_like(y, 1 / self.std)), dim=-1),
        )


def likelihood(
    problem: Problem,
    window: Window,
    states: int,
    restore: Callable[[Tensor], Tensor],
    scale: Tensor,
    first: Standardizer,
) -> LocalLikelihood:
    r"""The likelihood of trajectories: observations, and the background as one more of the first state,

    .. math:: y_t = H(x_t) + \varepsilon_t, \qquad x_b = x_0 + B^{1/2} \varepsilon .

    This is what a background is under the climatology joint. Under the background joint it is the mean of the prior of
    :math:`x_0`, and trajectories of the training are draws about many: their density has :math:`p(x_0)` in it, which
    the observation takes away again, as a Gaussian :math:`N(m, s^2)` of each channel: its precision is
    :math:`b^{-2} - s^{-2}`.

    Args:
        problem: The problem.
        window: The windows, one for each row.
        states: The number of states of the trajectories, at least those of the window: nothing is seen of later ones.
        restore: From what trajectories hold of states, ``(*batch, size)``, to states ``(*batch, *shape)``.
        scale: The unit of each channel of the observations, with a shape that broadcasts.
        first: The statistics of the first states of trajectories of the training.
    """
    there = ~window.y.isnan()
    y, precision = torch.where(there, window.y / scale, 0), torch.where(there, scale / window.std, 0)
    event = len(problem.observation.shape)

    def observe(z: Tensor) -> Tensor:
        return (problem.observation.operator(restore(z)) / scale).flatten(-event)

    parts = [(y.flatten(2), precision.flatten(2))]
    if not problem.has_background:
        return LocalLikelihood(observe, *(_later(part, states) for part in parts[0]))
    root = problem.background_root(_filled(window))
    parts.append(_background(problem, window, root.inverse, first))

    def whitened(z: Tensor) -> Tensor:
        # A root has rows, and events behind them: states stand before.
        found = root.inverse(restore(z).movedim(-len(problem.shape) - 1, 0))
        return found.movedim(0, -len(root.shape) - 1).flatten(-len(root.shape))

    both = (torch.cat([_later(part, states) for part in column], dim=-1) for column in zip(*parts, strict=True))
    return LocalLikelihood(lambda z: torch.cat((observe(z), whitened(z)), dim=-1), *both)


def _later(part: Tensor, states: int) -> Tensor:
    """Observations ``(rows, times, entries)`` of as many states, none of those that come later."""
    return pad(part, (0, 0, 0, states - part.shape[1]))


def _filled(window: Window) -> Window:
    """The windows with some background where there is none."""
    free = window.background.isnan()
    return window._replace(
        background=torch.where(free, 0, window.background), background_std=torch.where(free, 1, window.background_std)
    )


def _background(
    problem: Problem, window: Window, whiten: Callable[[Tensor], Tensor], first: Standardizer
) -> tuple[Tensor, Tensor]:
    """The whitened background as an observation of the first state, and its precision; zero where there is none."""
    filled, free = _filled(window), window.free
    y = whiten(filled.background)
    precision = torch.ones_like(y)
    if problem.joint == "background":
        std, share = filled.background_std, 1 - (filled.background_std / first.scale).square()
        precision = share.clamp(min=0).sqrt()
        y = torch.where(share > 0, (y - std * first.mean / first.scale.square()) / share, 0)
    flat = (part.flatten(1) for part in (y, precision))
    found_y, found_precision = (torch.where(free.unsqueeze(-1), 0, part).unsqueeze(1) for part in flat)
    return found_y, found_precision
