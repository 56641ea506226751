"""Systems that break, small problems whose posteriors are known, and windows that are hard."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..problems import Identity, Mask, Observation, Problem, RandomMask, Window, exact_posterior
from ..systems import LinearAdvection, System


@dataclass(frozen=True, kw_only=True)
class ExplodingSystem(System):
    r"""Independent sites that grow without bound, :math:`x_{t+1} = x_t \exp(\Delta t\, x_t^2)`.

    States of order one move slowly; those of order a hundred overflow in one step, and so do their derivatives.

    Args:
        size: The number of sites.
        dt: Time between states :math:`\Delta t`.
    """

    channels: ClassVar[tuple[str, ...]] = ("x",)

    size: int = 4
    dt: float = 0.1

    @property
    def shape(self) -> tuple[int, ...]:
        """``(1, size)``."""
        return (1, self.size)

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws from :math:`N(0, 0.3^2 I)`; shape ``(*batch, 1, size)``."""
        return 0.3 * torch.randn(*batch, *self.shape)

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, 1, size)`` by ``dt``."""
        return x * torch.exp(self.dt * x.square())


@dataclass(frozen=True, kw_only=True)
class Breaking(System):
    """A system that has no next state for some states: NaN for those whose first entry exceeds a threshold.

    Args:
        inner: What moves the other states.
        threshold: The largest first entry, of the last axis, of a state that has a next one.
    """

    channels: ClassVar[tuple[str, ...]] = ("x",)

    inner: System = field(default_factory=lambda: LinearAdvection(size=4))
    threshold: float = 1.0

    @property
    def dt(self) -> float:  # type: ignore[override]
        """Time between states, that of the inner system."""
        return self.inner.dt

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape of the inner system's states."""
        return self.inner.shape

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws from the start of the inner system."""
        return self.inner.initial(batch)

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, *shape)`` by ``dt``, or breaks them."""
        return torch.where(x[..., :1] > self.threshold, torch.nan, self.inner.step(x))


def linear_gaussian(
    size: int | Sequence[int] = 4,
    window: int = 4,
    forecast: int = 2,
    *,
    names: Sequence[str] = ("x",),
    std: tuple[float, float] = (0.5, 1.0),
    masks: Sequence[Mask] = (RandomMask(0.5),),
    background_std: tuple[float, float] = (0.5, 1.5),
    model_error: float | None = None,
) -> Problem:
    """A grid on which a linear system moves, seen site by site; :func:`~posterity.problems.exact_posterior` solves it.

    Args:
        size: The number of sites of a ring; or ``[H, W]``.
        window: The number of assimilated states.
        forecast: The number of states behind the window.
        names: The names of the channels, which move alike.
        std: The interval of the observations' standard deviations.
        masks: What is observed; half of the entries, drawn for each case, if omitted.
        background_std: The interval of the background's standard deviations.
        model_error: The standard deviation of the error of one step; None for the strong constraint.

    Returns:
        The problem, under the background joint.
    """
    system = LinearAdvection(size=size, names=names)
    return Problem(
        system,
        Observation(Identity(system.shape), std=std, masks=masks),
        window=window,
        forecast=forecast,
        background_std=background_std,
        model_error=model_error,
    )


def log_evidence(problem: Problem, window: Window) -> Tensor:
    r"""The exact :math:`\log p(y | x_b)` of a linear-Gaussian problem, by the dense Gaussian of the observations.

    Args:
        problem: A problem of one cycle and known parameters, whose system is linear and seen through the identity.
        window: The windows, with one batch dimension ``case``.

    Returns:
        The log-evidence in nats, with shape ``(case,)``; zero for a case that sees nothing.
    """
    prior = exact_posterior(problem, blind(window))
    found = []
    for case, (y, std) in enumerate(zip(window.y.flatten(1), window.std.flatten(1), strict=True)):
        seen = ~y.isnan()
        mean, factor = (part[case, : problem.window].flatten(0, 1)[seen] for part in prior)
        covariance = factor @ factor.mT + torch.diag(std[seen].square())
        density = torch.distributions.MultivariateNormal(mean, covariance) if seen.any() else None
        found.append(density.log_prob(y[seen]) if density else y.new_zeros(()))
    return torch.stack(found)


def blind(window: Window) -> Window:
    """The windows without their observations: their posterior is the prior."""
    return window._replace(y=torch.full_like(window.y, torch.nan))


def hopeless(window: Window, cases: int | slice, scale: float = 1e4) -> Window:
    """The windows with some backgrounds so far away that nothing finite comes of them in a nonlinear system.

    Args:
        window: The windows, with one batch dimension ``case``.
        cases: The case, or cases, that are lost.
        scale: The least entry of their backgrounds; entries are drawn between it and twice as much.
    """
    background = window.background.clone()
    background[cases] = scale * (1 + torch.rand_like(background[cases]))
    return window._replace(background=background)
