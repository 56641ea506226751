"""Gaussians over the trajectory, under the weak constraint."""

import pytest
import torch

from posterity.baselines import VariationalInference
from posterity.baselines.variational.families import Full
from posterity.baselines.variational.markov import BlockTridiagonal, TrajectoryMeanField
from posterity.baselines.variational.optimizers import Adam, NaturalGradient
from posterity.problems import Identity, Normal, Observation, Problem, Quadratic, RandomMask, TimeMask, exact_posterior
from posterity.systems import LinearAdvection, Lorenz96
from posterity.testing import check_gaussian, linear_gaussian

LINEAR = linear_gaussian(5, model_error=0.4)


@pytest.fixture(scope="module")
def window():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return LINEAR.sample((8,)).window


def moments(control, q):
    """Mean and covariance of each state of the window, with shapes ``(case, time, n)`` and ``(case, time, n, n)``."""
    mean = control.trajectory(q.mean, LINEAR.window).flatten(2)
    covariance = q.factor.covariance(torch.eye(control.size).unsqueeze(1).expand(-1, control.cases, -1)).movedim(0, -1)
    roots = [control.background_root.matrix(), *[control.error_root.matrix()] * (LINEAR.window - 1)]
    blocks = [covariance[:, block, block] for block in control.blocks()]
    return mean, torch.stack([root @ block @ root.mT for root, block in zip(roots, blocks, strict=True)], dim=1)


def test_block_tridiagonal_is_exact(window):
    exact = exact_posterior(LINEAR, window)
    control = BlockTridiagonal().control(LINEAR, window)
    mean, covariance = moments(control, NaturalGradient(iterations=2).fit(control, BlockTridiagonal()).q)
    torch.testing.assert_close(mean, exact.mean[:, :4], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(covariance, exact.covariance[:, :4], rtol=1e-8, atol=1e-8)


def test_draws_follow_the_exact_smoother(window):
    """The forecast too, whose errors are drawn afresh."""
    method = VariationalInference(LINEAR, BlockTridiagonal(), NaturalGradient(iterations=2))
    check_gaussian(method.sample(window, 400).x, exact_posterior(LINEAR, window))


def test_bounds_touch_the_evidence_in_both_coordinates(window):
    """A linear map with determinant one: the full Gaussian over the control is the one over the trajectory."""
    full, markov, mean_field = (
        VariationalInference(LINEAR, family, NaturalGradient(iterations=2)).sample(window, 1).info["elbo"]
        for family in (Full(), BlockTridiagonal(), TrajectoryMeanField())
    )
    torch.testing.assert_close(markov, full)
    assert (mean_field < markov - 1).all()


@pytest.mark.slow
def test_adam_fits_the_chain(window):
    """As for other families: Adam hovers, so the allowance is a tenth of a standard deviation and 5 % of variance."""
    family = BlockTridiagonal()
    control = family.control(LINEAR, window)
    q = Adam(iterations=500, samples=32, learning_rate=0.03).fit(control, family).q
    exact = exact_posterior(LINEAR, window)
    mean, covariance = moments(control, q)
    variance, expected = (each.diagonal(dim1=-2, dim2=-1) for each in (covariance, exact.covariance[:, :4]))
    assert float(((mean - exact.mean[:, :4]).square() / expected).mean().sqrt()) < 0.1
    assert abs(float((variance / expected).mean()) - 1) < 0.05


@pytest.fixture(scope="module")
def unknown():
    """Lorenz-96 with model errors and an unknown forcing, seen through its square."""
    problem = Problem(
        Lorenz96(size=6, dt=0.1, spinup=2.0),
        Observation(Quadratic((1, 6)), std=(3.0, 5.0), masks=(RandomMask(0.7), TimeMask(start=1))),
        window=6,
        forecast=1,
        background_std=(0.6, 1.2),
        model_error=0.3,
        parameters={"forcing": Normal(8.0, 1.0)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return problem, problem.sample((16,)).window


def test_parameters_border_the_chain(unknown):
    """The projection keeps all that the cost couples, and no more."""
    problem, window = unknown
    family = BlockTridiagonal()
    control = family.control(problem, window)
    u = control.prior(1)[0]
    hessian = control.linearize(u).dense()
    torch.testing.assert_close(family.project(hessian, control), hessian, rtol=0, atol=0)
    pattern = family.project(torch.ones(1, control.size, control.size), control)[0]
    # Six states and a parameter: six blocks on the diagonal, five beside it on each side, and the border.
    assert int(pattern.sum()) == 16 * 36 + 2 * 36 + 1
    free = torch.randn(16, control.size), torch.randn(16, control.size, control.size)
    precision = family.precision(*free, control)
    torch.testing.assert_close(family.project(precision, control), precision, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_gaussians_over_the_trajectory_are_ordered(unknown):
    """The chain is nats above independent states, and no worse than any Gaussian over the control on the average."""
    problem, window = unknown
    full, markov, mean_field = (
        VariationalInference(problem, family, NaturalGradient(iterations=8)).sample(window, 20)
        for family in (Full(), BlockTridiagonal(), TrajectoryMeanField())
    )
    assert float((markov.info["elbo"] - mean_field.info["elbo"]).median()) > 5
    gain = markov.info["elbo"] - full.info["elbo"]
    assert float(gain.mean()) > -4 * float(gain.std()) / 16**0.5
    assert markov.x.shape == (20, 16, 7, 1, 6)
    assert markov.theta.shape == (20, 16, 1)
    assert markov.x.isfinite().all()


@pytest.mark.parametrize("family", [BlockTridiagonal(), TrajectoryMeanField()])
@pytest.mark.parametrize("error", [None, (1.0, 0.0, 1.0, 1.0, 1.0)])
def test_the_strong_constraint_is_refused(family, error):
    problem = Problem(LinearAdvection(size=5), Observation(Identity((1, 5))), window=4, model_error=error)
    with pytest.raises(ValueError, match="model_error: coordinates of the trajectory need an error in every entry"):
        VariationalInference(problem, family).sample(problem.sample((2,)).window, 1)
