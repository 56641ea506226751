"""Gaussians over the trajectory, under the weak constraint."""

import pytest
import torch

from posterity.baselines import VariationalInference
from posterity.baselines.variational.families import Full
from posterity.baselines.variational.markov import BlockTridiagonal, TrajectoryMeanField
from posterity.baselines.variational.optimizers import Adam, NaturalGradient
from posterity.problems import (
    Identity,
    Normal,
    Observation,
    Problem,
    Quadratic,
    RandomMask,
    TimeMask,
    exact_posterior,
    structured,
)
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
    """As for other families: Adam hovers, so the allowance is a tenth of a standard deviation and 5 % of variance.

    Noise of the factor adds to the precision, the more the higher the rate: 9 % at .03.
    """
    family = BlockTridiagonal()
    control = family.control(LINEAR, window)
    q = Adam(iterations=1500, samples=32, learning_rate=0.01).fit(control, family).q
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
    """The blocks hold all that the cost couples, and no more: against the derivatives of all residuals."""
    problem, window = unknown
    control = BlockTridiagonal().control(problem, window)
    model = control.linearize(control.prior(1)[0])
    hessian = structured(model).assemble(model.u)
    identity = torch.eye(control.size).unsqueeze(1).expand(-1, 16, -1)
    rows = model.tangent(identity)
    torch.testing.assert_close(hessian, torch.einsum("icr,jcr->cij", rows, rows), rtol=1e-10, atol=1e-10)
    # Six states and a parameter behind the first: what is no neighbour in time, and no parameter.
    index = torch.arange(control.size)
    time = torch.where(index < 7, 0, 1 + (index - 7) // 6)
    apart = ((time.unsqueeze(-1) - time).abs() > 1) & (index != 6) & (index.unsqueeze(-1) != 6)
    assert int(apart.sum()) == 20 * 36
    assert (hessian[:, apart] == 0).all()
    free = BlockTridiagonal().free(control)
    member = BlockTridiagonal().member(tuple(torch.randn_like(each) for each in free))
    precision = member.dual(member.inverse(identity)).movedim(0, -1)
    assert (precision[:, apart].abs() < 1e-10).all()


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
