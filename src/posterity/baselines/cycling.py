"""Cycling: window methods over records of several windows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problems import Ensemble, Posterior, Problem, Window
from ..problems.climatology import climatological_moments
from ..problems.ensemble import join_info
from ..tensors import append_dims


@dataclass(frozen=True)
class Cycled(Posterior):
    r"""Cycled method: a method of one window, run over a record window by window:

    .. math::
        x_b^{k+1} = \overline{x}_F^k, \qquad
        (B^{1/2})^{k+1} = \max\big(\lambda\, \mathrm{sd}(x_F^k), \epsilon\big) ,

    with :math:`x_F^k` the draws of the state behind window :math:`k`, the first of the next one. Of the forecast, each
    window is given mean and standard deviations alone: its correlations are lost, and so is its shape. Draws of a
    window do not continue those of the window before. Targets, at each time, :math:`p(x_t | y_{0:T_k}, x_b)` with
    :math:`T_k` the end of the window that holds :math:`t`. Unknown parameters are inferred from each window anew, with
    their prior; those returned are of the last window. Without a background, the first window is given mean and
    standard deviations of the climatology.

    A case without finite draws in one window stays NaN from there on.

    Args:
        problem: The problem, of several cycles.
        method: The method, for the problem of one of them, ``problem.cycle()``.
        inflation: The factor :math:`\lambda` of the standard deviations of the background.
        floor: The least standard deviation :math:`\epsilon`, in units of the state.
        draws: The number of climatological states from which a missing first background is estimated.
    """

    problem: Problem
    method: Posterior
    inflation: float = 1.0
    floor: float = 1e-6
    draws: int = 1000

    def __post_init__(self) -> None:
        """Checks inflation, floor and the number of climatological draws."""
        super().__post_init__()
        if self.inflation <= 0:
            raise ValueError(f"inflation: the factor of the standard deviations must be positive, not {self.inflation}")
        if self.floor <= 0:
            raise ValueError(f"floor: the least standard deviation must be positive, not {self.floor}")
        if self.draws < 2:
            raise ValueError(f"draws: standard deviations need at least 2, not {self.draws}")

    @property
    def differentiates(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the method differentiates."""
        return self.method.differentiates

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from one window after another, each with the forecast of the last as its background."""
        if samples < 2:
            raise ValueError(f"samples: the background of the next window needs at least 2, not {samples}")
        length = self.problem.window
        first = self._first(window)
        background, std = first
        lost = torch.zeros(len(background), dtype=torch.bool)
        states, infos = [], []
        for start in range(0, self.problem.length, length):
            stop = start + length
            # Lost cases are run without observations, and their draws discarded, so that they cannot spoil the batch.
            y = torch.where(append_dims(lost, window.y.ndim - 1), torch.nan, window.y)[:, start:stop]
            part = Window(y, window.std[:, start:stop], background, std, window.start + start)
            drawn = self.method.sample(part, samples)
            if drawn.steps != range(length + 1):
                raise ValueError(
                    f"method: {type(self.method).__name__} does not return all states of a window; use one that does"
                )
            x = torch.where(append_dims(lost, drawn.x[0].ndim - 1), torch.nan, drawn.x)
            states.append(x[:, :, :length])
            infos.append(drawn.info)
            background, std = x[:, :, length].mean(dim=0), self.inflation * x[:, :, length].std(dim=0)
            lost = ~(background + std).flatten(1).isfinite().all(dim=1)
            background = torch.where(append_dims(lost, background.ndim - 1), first[0], background)
            std = torch.where(append_dims(lost, std.ndim - 1), first[1], std).clamp(min=self.floor)
        return Ensemble(torch.cat(states, dim=2), drawn.theta, range(self.problem.length), join_info(infos))

    def _first(self, window: Window) -> tuple[Tensor, Tensor]:
        """The first background and its standard deviations, both with shape ``(case, *shape)``."""
        if not window.background.isnan().any():
            return window.background, window.background_std
        mean, root = climatological_moments(self.problem, self.draws)
        entries = window.background[0].numel()
        values = (mean, root.square().sum(dim=0).sqrt())
        background, std = (value[:entries].reshape(self.problem.shape).expand_as(window.background) for value in values)
        return background, std


def cycled(problem: Problem, kind: type[Posterior], build: Callable[[Problem], Posterior]) -> Posterior:
    """Constructs a method for records: the method itself if it runs through them, else cycled.

    Args:
        problem: The problem.
        kind: The class of the method.
        build: Constructs the method for a problem.

    Returns:
        The method.
    """
    if problem.cycles == 1 or kind.takes_records:
        return build(problem)
    return Cycled(problem, build(problem.cycle()))
