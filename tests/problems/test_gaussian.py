"""The exact posterior, against dense conditioning of the joint Gaussian of states and observations."""

from dataclasses import replace
from math import prod

import pytest
import torch

from posterity.problems import (
    GaussianStations,
    Observation,
    Pointwise,
    Problem,
    Quadratic,
    RandomMask,
    Window,
    exact_posterior,
)
from posterity.systems import LinearAdvection, Lorenz96
from posterity.testing import linear_gaussian

PROBLEM = Problem(
    LinearAdvection(size=7, speed=0.8, damping=0.1, diffusion=0.2),
    Observation(GaussianStations((1, 7)), std=(0.5, 1.0), masks=(RandomMask(0.6),)),
    window=5,
    forecast=2,
    background_std=(0.5, 1.5),
)


def dense(problem, window, case):
    """Mean and covariance of the whole trajectory of one case, by conditioning the joint of x and y."""
    n, T, L = prod(problem.shape), problem.window, problem.steps
    basis = torch.eye(n).unflatten(-1, problem.shape)
    # Columns: what each entry of x_0 does to the trajectory; the system is linear, the operator too.
    flow = problem.system.rollout(basis, L - 1).flatten(1).mT
    x = flow @ window.background[case].flatten()
    cov = flow @ torch.diag(window.background_std[case].flatten() ** 2) @ flow.mT
    see = torch.block_diag(*[problem.observation.operator(basis).flatten(1).mT] * T)
    seen = ~window.y[case].flatten().isnan()
    H = torch.cat((see, torch.zeros(len(see), n * (L - T))), dim=1)[seen]
    R = torch.diag(window.std[case].flatten()[seen] ** 2)
    gain = cov @ H.mT @ torch.linalg.inv(H @ cov @ H.mT + R)
    mean = x + gain @ (window.y[case].flatten()[seen] - H @ x)
    return mean.reshape(L, n), (cov - gain @ H @ cov).reshape(L, n, L, n)


PLANE = linear_gaussian((3, 4), window=5, names=("u", "v"))


@pytest.mark.parametrize(("problem", "n"), [(PROBLEM, 7), (PLANE, 24)], ids=["ring", "torus"])
def test_it_is_the_conditional_of_the_joint_gaussian(problem, n):
    window = problem.sample((4,)).window
    posterior = exact_posterior(problem, window)
    assert posterior.mean.shape == (4, 7, n)
    assert posterior.covariance.shape == (4, 7, n, n)
    for case in range(4):
        mean, covariance = dense(problem, window, case)
        torch.testing.assert_close(posterior.mean[case], mean)
        for t in range(7):
            torch.testing.assert_close(posterior.covariance[case, t], covariance[t, :, t])


def test_no_observation_leaves_the_prior():
    window = PROBLEM.sample((4,)).window
    posterior = exact_posterior(PROBLEM, window._replace(y=torch.full_like(window.y, torch.nan)))
    torch.testing.assert_close(posterior.mean[:, 0], window.background.flatten(1))
    torch.testing.assert_close(posterior.covariance[:, 0], torch.diag_embed(window.background_std.flatten(1) ** 2))


def test_it_is_calibrated_over_draws_of_the_joint():
    """(x − m)ᵀ P⁻¹ (x − m) over the joint is χ² with n degrees of freedom, at every time."""
    x, _, window = PROBLEM.sample((2000,))
    exact = exact_posterior(PROBLEM, window)
    deviation = x.flatten(2) - exact.mean
    distance = torch.einsum("cti,cti->ct", deviation, torch.linalg.solve(exact.covariance, deviation))
    error = (2 * 7 / 2000) ** 0.5
    assert ((distance.mean(dim=0) - 7).abs() < 4 * error).all()


@pytest.mark.parametrize("change", [
    {"system": Lorenz96(size=7)},
    {"observation": Observation(Quadratic((1, 7)))},
    {"observation": Observation(Pointwise((1, 7), "abs"))},
    {"observation": Observation(Pointwise((1, 7), "exp"))},
], ids=["system", "square", "abs", "exp"])  # fmt: skip
def test_what_is_not_linear_is_refused(change):
    problem = replace(PROBLEM, **change)
    with pytest.raises(TypeError, match="the exact posterior needs a linear"):
        exact_posterior(problem, problem.sample((2,)).window)


def test_single_precision_keeps_its_digits():
    """Observations a thousand times as precise as the background: a precision conditioned by 1e8."""
    observation = Observation(PROBLEM.observation.operator, std=1e-3)
    problem = replace(PROBLEM, observation=observation, background_std=10.0)
    window = Window(*(field.float() for field in problem.sample((4,)).window))
    found, exact = (exact_posterior(problem, each) for each in (window, Window(*(field.double() for field in window))))
    assert found.mean.dtype == found.factor.dtype == torch.float32
    torch.testing.assert_close(found.mean, exact.mean.float(), rtol=1e-6, atol=1e-6)
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt().float()
    torch.testing.assert_close(found.covariance.diagonal(dim1=-2, dim2=-1).sqrt(), std, rtol=1e-5, atol=0)
