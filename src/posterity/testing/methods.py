"""Checks of methods: what every posterior must do, and draws that are held against exact ones."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..problems import (
    Ensemble,
    GaussianPosterior,
    Identity,
    Observation,
    Posterior,
    Problem,
    RandomMask,
    Window,
    exact_posterior,
)
from ..systems import LinearAdvection
from .examples import Breaking, ExplodingSystem, blind, hopeless, linear_gaussian
from .expect import expect, reproducible
from .statistics import check_gaussian

CASES = 16


def check_method(
    method: Callable[[Problem], Posterior],
    problem: Problem | None = None,
    *,
    samples: int = 60,
    exact: bool = True,
    prior: bool = True,
    robust: bool = True,
) -> None:
    """Checks a method, in double precision, on problems whose posteriors are known or that are hopeless.

    Draws and diagnostics have the right shapes and are finite, the windows are left as they are, and the same seed
    gives the same draws. The rest are options.

    Args:
        method: Makes the method from a problem: the class itself, or a function that adds options.
        problem: A linear-Gaussian problem; that of :func:`linear_gaussian` if omitted.
        samples: The number of draws per case.
        exact: Whether draws are held against the exact posterior; see :func:`check_gaussian`. They must be
            independent draws of it, which a method with a Gaussian approximation of full covariance gives.
        prior: Whether draws of windows without observations are held against the prior likewise.
        robust: Whether the method is run in nonlinear systems that break: a case that is hopeless must leave the
            others finite, and draws that have no next state must be replaced.

    Raises:
        AssertionError: If it is not so; the message says what.
    """
    problem = linear_gaussian() if problem is None else problem
    with reproducible():
        window = problem.sample((CASES,)).window
        before = Window(*(field.clone() for field in window))
        drawn = _seeded(method, problem, window, samples)
        kept = (torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(window, before, strict=True))
        expect(all(kept), "the method writes into the window")
        check_draws(drawn, problem, CASES, samples)
        again = _seeded(method, problem, window, samples)
        expect(torch.equal(drawn.x, again.x), "the same seed gives other draws")
        if exact:
            check_gaussian(drawn.x, _at(exact_posterior(problem, window), drawn.steps))
        if prior:
            drawn = _seeded(method, problem, blind(window), samples)
            check_draws(drawn, problem, CASES, samples)
            check_gaussian(drawn.x, _at(exact_posterior(problem, blind(window)), drawn.steps))
        if robust:
            _check_hopeless_case(method, samples)
            _check_broken_draws(method, samples)


def _seeded(method: Callable[[Problem], Posterior], problem: Problem, window: Window, samples: int) -> Ensemble:
    """Makes the method and draws, from a seed."""
    torch.manual_seed(1)
    return method(problem).sample(window, samples)


def _at(exact: GaussianPosterior, steps: range) -> GaussianPosterior:
    """The posterior at some of its times."""
    return GaussianPosterior(exact.mean[:, list(steps)], exact.factor[:, list(steps)])


def check_draws(drawn: Ensemble, problem: Problem, cases: int, samples: int) -> None:
    """Checks that draws and their diagnostics have the right shapes, and are finite.

    Args:
        drawn: The draws.
        problem: What they are draws of.
        cases: The number of windows.
        samples: The number of draws per case that were asked for.

    Raises:
        AssertionError: If it is not so; the message says what.
    """
    inside = len(drawn.steps) > 0 and 0 <= drawn.steps[0] <= drawn.steps[-1] < problem.steps
    expect(inside, f"steps: {drawn.steps} is no range of the {problem.steps} states of a trajectory")
    _check_tensor("x", drawn.x, (samples, cases, len(drawn.steps), *problem.shape))
    _check_tensor("theta", drawn.theta, (samples, cases, len(problem.parameters)))
    if drawn.log_q is not None:
        _check_tensor("log_q", drawn.log_q, (samples, cases))
    for name, value in drawn.info.items():
        expect(
            value.ndim in (1, 2) and len(value) == cases,
            f"info['{name}']: has shape {tuple(value.shape)}; diagnostics have one value, or one curve, of each case",
        )
        expect(value.isfinite().all(), f"info['{name}']: is not finite")


def _check_tensor(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Checks the shape of draws, and that they are finite and carry no gradient."""
    expect(value.shape == shape, f"{name}: draws have shape {tuple(value.shape)}, not {shape}")
    expect(value.isfinite().all(), f"{name}: draws are not finite")
    expect(not value.requires_grad, f"{name}: draws carry a gradient; sample under torch.no_grad()")


def check_isolated(posterior: Ensemble, lost: Sequence[int]) -> None:
    """Checks that draws and diagnostics of all cases are finite, but for some cases that are lost.

    Args:
        posterior: The draws.
        lost: The cases of which nothing can be said; if their draws are not finite, ``info["failed"]`` must count them.

    Raises:
        AssertionError: If it is not so; the message says what.
    """
    sound = [case for case in range(posterior.x.shape[1]) if case not in lost]
    expect(posterior.x[:, sound].isfinite().all(), f"x: cases {list(lost)} are lost, and spoil the draws of others")
    expect(posterior.theta[:, sound].isfinite().all(), f"theta: cases {list(lost)} spoil the draws of others")
    for name, value in posterior.info.items():
        expect(value[sound].isfinite().all(), f"info['{name}']: cases {list(lost)} spoil the diagnostics of others")
    broken = ~posterior.x.isfinite().flatten(2).all(dim=-1).all(dim=0)
    if broken.any():
        expect("failed" in posterior.info, "info['failed']: must count the draws that are not finite")
        counted = posterior.info["failed"][broken] > 0
        expect(counted.all(), "info['failed']: does not count the draws that are not finite")


def _check_hopeless_case(method: Callable[[Problem], Posterior], samples: int) -> None:
    """Checks that a case that overflows whatever is done leaves the others alone."""
    observation = Observation(Identity((1, 4)), std=(0.5, 1.0), masks=(RandomMask(0.5),))
    problem = Problem(ExplodingSystem(size=4), observation, window=4, background_std=(0.2, 0.4))
    window = hopeless(problem.sample((4,)).window, 1)
    check_isolated(_seeded(method, problem, window, samples), lost=[1])


def _check_broken_draws(method: Callable[[Problem], Posterior], samples: int) -> None:
    """Checks that draws without a next state, a sixth of the prior's, are replaced."""
    observation = Observation(Identity((1, 4)), std=(2.0, 2.0))
    system = LinearAdvection(size=4)
    window = Problem(system, observation, window=2).sample((4,)).window
    window = window._replace(background=torch.zeros_like(window.background))
    drawn = _seeded(method, Problem(Breaking(inner=system), observation, window=2), window, samples)
    expect(drawn.x.isfinite().all(), "x: some draws have no next state, and are not replaced by others of their case")
