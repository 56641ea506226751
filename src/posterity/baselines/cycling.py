"""Cycling: window methods over records of several windows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..problems import Ensemble, Posterior, Problem, Window
from ..problems.climatology import climatological_moments
from ..problems.covariances.scaling import even
from ..problems.ensemble import add_work, join_info
from ..tensors import append_dims, own_random_numbers


@dataclass(frozen=True)
class Cycled(Posterior):
    r"""Cycled method: a method of one window, run over a record window by window:

    .. math::
        x_b^{k+1} = \overline{x}_F^k, \qquad
        (B^{1/2})^{k+1} = \max\big(\lambda\, \mathrm{sd}(x_F^k), \epsilon\big) ,

    with :math:`x_F^k` an ensemble of the state behind window :math:`k`, the first of the next one, whose size does not
    depend on how many draws are asked for. Of the forecast, each
    window is given mean and standard deviations alone: its correlations are lost, and so is its shape. Draws of a
    window do not continue those of the window before. Targets, at each time, :math:`p(x_t | y_{0:T_k}, x_b)` with
    :math:`T_k` the end of the window that holds :math:`t`. Unknown parameters are inferred from each window anew, with
    their prior; those returned are of the last window. A case without a background is given mean and standard
    deviations of the climatology for its first window; for others a background is the first prior under either joint:
    an approximation, as are moments in place of a forecast, which later windows forget.

    A case without finite draws in one window stays NaN from there on.

    Args:
        problem: The problem, of several cycles.
        method: The method, for the problem of one of them, ``problem.cycle()``.
        members: The number of members of the ensemble :math:`x_F^k`, some or all of which are returned as draws;
            further draws have no say in what follows.
        inflation: The factor :math:`\lambda` of the standard deviations of the background.
        floor: The least standard deviation :math:`\epsilon`, in units of the state.
        draws: The number of climatological states from which a missing first background is estimated.
    """

    takes_records: ClassVar[bool] = True

    problem: Problem
    method: Posterior
    members: int = 100
    inflation: float = 1.0
    floor: float = 1e-6
    draws: int = 1000

    def __post_init__(self) -> None:
        """Checks the number of members, inflation, floor and the number of climatological draws."""
        if self.members < 2:
            raise ValueError(f"members: the background of the next window needs at least 2, not {self.members}")
        if self.inflation <= 0:
            raise ValueError(f"inflation: the factor of the standard deviations must be positive, not {self.inflation}")
        if self.floor <= 0:
            raise ValueError(f"floor: the least standard deviation must be positive, not {self.floor}")
        if self.draws < 2:
            raise ValueError(f"draws: standard deviations need at least 2, not {self.draws}")

    @property
    def distinct(self) -> int | None:
        """As many as of the method: among the members, and among the draws beyond them."""
        distinct = self.method.distinct
        return None if distinct is None else min(distinct, self.members) + distinct

    def check_samples(self, samples: int) -> None:
        """Checks that the method gives the members of each window, and the draws beyond them."""
        self.method.check_samples(self.members)
        self.method.check_samples(max(0, samples - self.members))

    @property
    def differentiates(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the method differentiates."""
        return self.method.differentiates

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from one window after another, each with the forecast of the last as its background."""
        length = self.problem.window
        first = self._first(window)
        background, std = first
        lost = background.new_zeros(len(background), dtype=torch.bool)
        # Draws are some of the members, always the same ones, and those beyond them.
        device, beyond = background.device, max(samples, self.members)
        chosen = torch.cat(
            (torch.randperm(self.members, device=device), torch.arange(self.members, beyond, device=device))
        )[:samples]
        states, infos = [], []
        for start in range(0, self.problem.length, length):
            stop = start + length
            # Lost cases are run without observations, and their draws discarded, so that they cannot spoil the batch.
            y = torch.where(append_dims(lost, window.y.ndim - 1), torch.nan, window.y)[:, start:stop]
            part = Window(y, window.std[:, start:stop], background, std, window.start + start)
            drawn = self._draw(part, samples)
            x = torch.where(append_dims(lost, drawn.x[0].ndim - 1), torch.nan, drawn.x)
            states.append(x[chosen, :, :length])
            infos.append(drawn.info)
            ahead = x[: self.members, :, length]
            background, std = ahead.mean(dim=0), even(self.problem, self.inflation * ahead.std(dim=0))
            lost = ~(background + std).flatten(1).isfinite().all(dim=1)
            background = torch.where(append_dims(lost, background.ndim - 1), first[0], background)
            std = torch.where(append_dims(lost, std.ndim - 1), first[1], std).clamp(min=self.floor)
        return Ensemble(torch.cat(states, dim=2), drawn.theta[chosen], range(self.problem.length), join_info(infos))

    def _draw(self, window: Window, samples: int) -> Ensemble:
        """Draws the members of one window, and behind them the draws that are asked for beyond their number."""
        drawn = self.method.sample(window, self.members)
        if drawn.steps != range(self.problem.window + 1):
            raise ValueError(
                f"method: {type(self.method).__name__} does not return all states of a window; use one that does"
            )
        with own_random_numbers():
            if samples <= self.members:
                return drawn
            more = self.method.sample(window, samples - self.members)
        x, theta = torch.cat((drawn.x, more.x)), torch.cat((drawn.theta, more.theta))
        return drawn._replace(x=x, theta=theta, info=add_work(drawn.info, more.info))

    def _first(self, window: Window) -> tuple[Tensor, Tensor]:
        """The first background and its standard deviations, both with shape ``(case, *shape)``."""
        with own_random_numbers():
            if not window.free.any():
                return window.background, window.background_std
            climatology = climatological_moments(self.problem, window.start, self.draws)
        free = append_dims(window.free, window.background.ndim - 1)
        background, std = (
            torch.where(free, value[:, : known[0].numel()].reshape(known.shape), known)
            for value, known in (
                (climatology.mean, window.background),
                (climatology.std, window.background_std),
            )
        )
        return background, torch.where(free, even(self.problem, std), std)


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
