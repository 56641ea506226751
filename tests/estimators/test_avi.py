"""Amortised VI against the optima of each family, which are known for a linear problem."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from posterity.estimators import AmortizedVariational
from posterity.estimators.frames.laplace import LaplaceFrame
from posterity.flows import CouplingSpline, Delta, DiagonalGaussian, Flow, FullGaussian
from posterity.nn import MLP, Convolution
from posterity.problems import Control, Identity, Normal, Observation, Problem, Quadratic, RandomMask, Twin, Window
from posterity.systems import Lorenz63, Lorenz96
from posterity.testing import check_density, check_loss, linear_gaussian

pytestmark = pytest.mark.usefixtures("any_weights")

SMALL = Convolution(width=32, blocks=1, kernel=3)
FRAMES = pytest.mark.parametrize("frame", [None, LaplaceFrame()], ids=["prior", "laplace"])
FLOWS = [Delta(), DiagonalGaussian(), FullGaussian(), CouplingSpline(transforms=2, hidden=(16,), bins=4)]


def evidence(problem: Problem, window: Window, exact: MultivariateNormal) -> Tensor:
    """The exact log p(y | x_b), by Bayes' rule at the mean of the exact posterior."""
    return Control(problem, window).log_prob(exact.mean) - exact.log_prob(exact.mean)


@pytest.fixture(scope="module")
def trained(make_problem, fit):
    """Trains with a flow for a few seconds; returns the estimator and windows that it has not seen."""
    problem = make_problem(6)

    def train(flow: Flow) -> tuple[AmortizedVariational, Window]:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            estimator = AmortizedVariational(problem, SMALL, context=16, flow=flow)
            fit(estimator, steps=400, batch=64, learning_rate=3e-2)
            return estimator, problem.sample((400,)).window

    return train


@pytest.mark.slow
def test_the_full_gaussian_reaches_the_evidence(trained, exact_control) -> None:
    """The gap is KL(q || p). 0.03 nats were measured; the mean field's optimum is 0.66 off."""
    estimator, window = trained(FullGaussian())
    found = estimator.sample(window, 200)
    exact = exact_control(estimator.problem, window)
    gap = evidence(estimator.problem, window, exact) - found.info["elbo"]
    assert float(gap.mean()) < 0.06
    # The bound is a bound: no window may be above its evidence by more than the noise of 200 draws.
    u = Control(estimator.problem, window).encode(found.x, found.theta)
    noise = (found.log_q - exact.log_prob(u)).std(dim=0) / 200**0.5
    assert float((gap / noise).min()) > -5
    # Coverage follows: whitened by the exact posterior, draws have no mean and unit variance.
    white = torch.linalg.solve_triangular(exact.scale_tril, (u - exact.mean).movedim(0, -1), upper=False)
    assert float(white.mean(dim=-1).square().mean()) < 0.02
    assert abs(float(white.var(dim=-1).mean()) - 1) < 0.03


@pytest.mark.slow
def test_the_diagonal_gaussian_reaches_the_mean_field_optimum(trained, exact_control) -> None:
    r"""Its variances are :math:`1 / (\Sigma^{-1})_{ii}`, so its bound is 0.66 nats below; 0.03 more were measured."""
    estimator, window = trained(DiagonalGaussian())
    found = estimator.sample(window, 200)
    exact = exact_control(estimator.problem, window)
    precision = exact.precision_matrix.diagonal(dim1=-2, dim2=-1)
    optimum = 0.5 * (precision.log().sum(dim=-1) + torch.logdet(exact.covariance_matrix))
    gap = evidence(estimator.problem, window, exact) - found.info["elbo"]
    assert float(optimum.mean()) > 0.6
    assert -0.02 < float((gap - optimum).mean()) < 0.06
    u = Control(estimator.problem, window).encode(found.x, found.theta)
    ratio = (u.var(dim=0) * precision).mean(dim=0)
    torch.testing.assert_close(ratio, torch.ones(6), atol=0.05, rtol=0)


@pytest.mark.slow
def test_a_point_reaches_the_minimum_of_the_cost_and_has_no_density(trained, exact_control) -> None:
    """0.02 nats above it were measured, on average."""
    estimator, window = trained(Delta())
    found = estimator.sample(window, 3)
    control = Control(estimator.problem, window)
    least = control.cost(exact_control(estimator.problem, window).mean)
    assert float((found.info["cost"] - least).min()) > -1e-9
    assert float((found.info["cost"] - least).mean()) < 0.05
    assert found.log_q is None
    assert "elbo" not in found.info
    assert torch.equal(found.x[0], found.x[2])
    assert estimator.log_prob(torch.zeros(400, 1, 6), window).isnan().all()


@FRAMES
def test_it_never_sees_a_state(make_problem, frame) -> None:
    problem = make_problem(6)
    estimator = AmortizedVariational(problem, SMALL, frame=frame)
    twin = problem.sample((20,))
    blind = twin._replace(x=torch.full_like(twin.x, torch.nan), theta=torch.full_like(twin.theta, torch.nan))
    estimator.standardize(blind)
    losses = []
    for seen in (twin, blind):
        torch.manual_seed(2)
        losses.append(estimator.loss(seen))
    assert torch.equal(*losses)
    assert losses[0].isfinite()


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
@FRAMES
def test_gradients_are_finite_where_observations_are_missing(make_problem, flow, frame) -> None:
    problem = make_problem(6, masks=(RandomMask(0.5),), std=(0.5, 1.0), background_std=(0.5, 1.5))
    estimator = AmortizedVariational(problem, SMALL, flow=flow, frame=frame)
    twin = problem.sample((30,))
    estimator.standardize(twin)
    assert twin.window.y.isnan().any()
    for y in (twin.window.y, torch.full_like(twin.window.y, torch.nan)):
        found = check_loss(estimator, twin._replace(window=twin.window._replace(y=y)))
    assert any(found.values())


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
def test_draws_that_diverge_have_no_say_in_the_loss_and_are_counted(make_fragile, flow) -> None:
    estimator, twin = make_fragile(flow)
    control = Control(estimator.problem, twin.window)
    torch.manual_seed(3)
    z, log_q = estimator.draw(twin.window, 8)
    cost = control.cost(z.flatten(2))
    good = cost < torch.finfo(cost.dtype).max ** 0.25
    assert 0 < int((~good).sum()) < good.numel()
    torch.manual_seed(3)
    loss = estimator.loss(twin)
    bound = cost + log_q.nan_to_num() + control.log_normalizer()
    torch.testing.assert_close(loss, bound[good].mean())
    assert int(estimator.diverged) == int((~good).sum())
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in estimator.parameters())


def test_a_case_that_diverges_leaves_the_draws_of_others_alone(make_fragile) -> None:
    estimator, twin = make_fragile(FullGaussian())
    found = estimator.sample(twin.window, 16)
    failed = found.info["failed"]
    assert int(failed.sum()) > 0
    assert torch.equal(found.info["elbo"].isfinite(), failed == 0)
    assert found.x[:, failed < 16].isfinite().all()


def test_a_batch_of_which_everything_diverges_stops_the_training(make_fragile) -> None:
    estimator, twin = make_fragile(FullGaussian())
    window = twin.window._replace(background=torch.full_like(twin.window.background, 1e200))
    assert estimator.loss(twin._replace(window=window)).isnan()


@pytest.fixture
def make_fragile() -> Callable[[Flow], tuple[AmortizedVariational, Twin]]:
    """Lorenz-96 with backgrounds so uncertain that its integrator diverges from many a draw."""
    observation = Observation(Quadratic((1, 5)), std=(5.0, 5.0))
    problem = Problem(Lorenz96(size=5, dt=0.1, spinup=0.0), observation, window=6)

    def fragile(flow: Flow) -> tuple[AmortizedVariational, Twin]:
        estimator = AmortizedVariational(problem, SMALL, flow=flow, draws=8)
        twin = problem.sample((40,))
        twin = twin._replace(window=twin.window._replace(background_std=torch.full_like(twin.window.background, 8.0)))
        estimator.standardize(twin)
        # Points differ from case to case through the weights alone, which start small.
        torch.nn.init.normal_(estimator.network.last.layer.weight)
        return estimator, twin

    return fragile


def test_one_iteration_solves_a_linear_problem(make_problem, exact_control) -> None:
    """Gauss–Newton is exact: even an untrained network then starts within reach of the evidence."""
    problem = make_problem(6, masks=(RandomMask(0.5),), background_std=(0.5, 1.5))
    window = problem.sample((30,)).window
    best = evidence(problem, window, exact_control(problem, window))
    gaps = []
    for frame in (None, LaplaceFrame(iterations=1)):
        torch.manual_seed(4)
        estimator = AmortizedVariational(problem, SMALL, flow=DiagonalGaussian(), frame=frame)
        gaps.append(best - estimator.sample(window, 200).info["elbo"])
    assert float(gaps[1].mean()) < 1 < 3 < float(gaps[0].mean())


@pytest.mark.parametrize("flow", FLOWS[1:], ids=lambda flow: type(flow).__name__)
@FRAMES
def test_draws_carry_their_own_density(make_problem, flow, frame) -> None:
    problem = make_problem(6, masks=(RandomMask(0.5),), background_std=(0.5, 1.5))
    estimator = AmortizedVariational(problem, SMALL, flow=flow, frame=frame)
    window = problem.sample((30,)).window
    assert check_density(estimator, window).shape == (3, 30, 1, 6)


@FRAMES
@pytest.mark.parametrize(
    "problem",
    [
        Problem(Lorenz63(), Observation(Identity((3,)), std=(1.0, 1.0)), window=3),
        Problem(
            Lorenz96(size=5, spinup=0.0),
            Observation(Quadratic((1, 5)), std=(1.0, 1.0)),
            window=3,
            parameters={"forcing": Normal(8.0, 1.0)},
        ),
        Problem(
            Lorenz96(size=5, spinup=0.0), Observation(Quadratic((1, 5)), std=(1.0, 1.0)), window=3, model_error=0.1
        ),
    ],
    ids=["no grid", "parameters", "model errors"],
)
def test_vectors_parameters_and_model_errors_are_learned_alike(problem, frame) -> None:
    estimator = AmortizedVariational(problem, MLP((16,)), context=2, frame=frame)
    twin = problem.sample((7,))
    estimator.standardize(twin)
    check_loss(estimator, twin)
    found = estimator.sample(twin.window, 5)
    assert found.x.shape == (5, 7, 3, *problem.shape)
    assert found.theta.shape == (5, 7, len(problem.parameters))
    assert found.log_q.shape == (5, 7)


def test_options_that_do_nothing_are_refused(make_problem) -> None:
    with pytest.raises(ValueError, match="context, draws: must both be positive, not 32 and 0"):
        AmortizedVariational(make_problem(6), draws=0)


def test_matrices_of_large_fields_are_refused() -> None:
    problem = linear_gaussian((24, 24), 2, 0, names=("u", "v"))
    message = "flow: a Gaussian of any covariance takes a matrix of 1152 by 1152 .*use diagonal-gaussian, or multiscale"
    with pytest.raises(ValueError, match=message):
        AmortizedVariational(problem)


def test_a_prior_without_a_background_is_refused(make_problem) -> None:
    problem = make_problem(6)
    blank = Problem(problem.system, problem.observation, 4, joint="climatology", background_std=None)
    with pytest.raises(ValueError, match="a control needs a background"):
        AmortizedVariational(blank)
