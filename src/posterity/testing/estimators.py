"""Checks of estimators: gradients, densities, and weights that survive a file."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..estimators import DensityEstimator, Learned
from ..problems import Problem, Twin, Window
from .examples import blind, linear_gaussian
from .expect import expect, expect_close, reproducible
from .methods import check_draws

CASES = 20


def check_estimator(
    make: Callable[[Problem], Learned],
    problem: Problem | None = None,
    *,
    samples: int = 5,
    density: float | None = 1e-7,
) -> None:
    """Checks an estimator that is not trained, in double precision.

    The loss is a finite number, and so is its gradient in every parameter, with observations and without. Draws and
    diagnostics have the right shapes and are finite. A :class:`~posterity.estimators.DensityEstimator` gives its draws
    the density that it computes of them. Another estimator that loads its weights has the same loss and the same draws.

    Args:
        make: Makes the estimator from a problem: the class itself, or a function that adds options.
        problem: The problem; that of :func:`linear_gaussian`, with half of the entries missing, if omitted.
        samples: The number of draws per case.
        density: The most by which the density of a draw may be off, in nats; None if the estimator has no density, or
            its ``log_prob`` is NaN.

    Raises:
        AssertionError: If it is not so; the message says what.
    """
    problem = linear_gaussian() if problem is None else problem
    with reproducible():
        estimator, twin = make(problem), problem.sample((CASES,))
        estimator.standardize(twin)
        estimator.mark_trained()
        for seen in (twin, twin._replace(window=blind(twin.window))):
            check_loss(estimator, seen)
            check_draws(estimator.sample(seen.window, samples), problem, CASES, samples)
        if isinstance(estimator, DensityEstimator) and density is not None:
            check_density(estimator, twin.window, density)
        _check_weights(estimator, make(problem), twin, samples)


def check_loss(estimator: Learned, twin: Twin) -> dict[str, float]:
    """Checks that the loss, and its gradient in every parameter, is finite.

    Args:
        estimator: The estimator.
        twin: Draws of the joint, with one batch dimension.

    Returns:
        The largest gradient in each parameter, by name.

    Raises:
        AssertionError: If it is not so; the message says what.
    """
    estimator.zero_grad()
    loss = estimator.loss(twin)
    expect(loss.ndim == 0, f"loss: must be one number, not of shape {tuple(loss.shape)}")
    expect(loss.isfinite(), f"loss: is {float(loss.detach())}")
    loss.backward()
    return check_gradients(estimator)


def check_gradients(module: nn.Module) -> dict[str, float]:
    """Checks that every parameter of a module has a gradient, and a finite one.

    Args:
        module: The module, after a backward pass.

    Returns:
        The largest gradient in each parameter, by name.

    Raises:
        AssertionError: If one is missing or not finite; the message names the parameter.
    """
    found = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is None:
            raise AssertionError(f"parameter '{name}' has no gradient")
        expect(parameter.grad.isfinite().all(), f"the gradient of parameter '{name}' is not finite")
        found[name] = float(parameter.grad.abs().max())
    return found


def check_density(estimator: DensityEstimator, window: Window, atol: float = 1e-7, samples: int = 3) -> Tensor:
    """Checks that draws come with the density that the estimator computes of them.

    Args:
        estimator: The estimator.
        window: The windows, with one batch dimension ``case``.
        atol: The most by which they may differ, in nats.
        samples: The number of draws per case.

    Returns:
        The draws, with shape ``(samples, case, *shape)``.

    Raises:
        AssertionError: If they do not; the message says by how much.
    """
    z, log_q = estimator.draw(window, samples)
    cases = len(window.y)
    expect(
        z.shape == (samples, cases, *estimator.shape),
        f"draw: has shape {tuple(z.shape)}, not {(samples, cases, *estimator.shape)}",
    )
    expect(log_q.shape == (samples, cases), f"draw: densities have shape {tuple(log_q.shape)}, not {(samples, cases)}")
    with torch.no_grad():
        found = torch.stack([estimator.log_prob(each, window) for each in z])
    expect_close(found, log_q.detach(), "draw: log_prob computes another density of the draws", atol)
    return z


def _check_weights(estimator: Learned, other: Learned, twin: Twin, samples: int) -> None:
    """Checks that all that losses and draws depend on is in the weights and buffers."""
    other.load_state_dict(estimator.state_dict())
    found = []
    for each in (estimator.eval(), other.eval()):
        torch.manual_seed(1)
        loss = each.loss(twin).detach()
        torch.manual_seed(1)
        found.append((loss, each.sample(twin.window, samples).x))
    (loss, x), (other_loss, other_x) = found
    expect(torch.equal(loss, other_loss), "weights: another estimator that loads them has another loss")
    expect(torch.equal(x, other_x), "weights: another estimator that loads them gives other draws")
