"""Score estimation and flow matching: their flows, densities and draws, and the exact posterior."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from posterity.diffusion.ode import integrate, probe, transport
from posterity.diffusion.samplers import Ancestral, RungeKutta
from posterity.diffusion.schedules import EDM, Straight
from posterity.estimators import ContinuousFlow, FlowMatching, NeuralScore
from posterity.flows.flow import log_normal
from posterity.nn import MLP
from posterity.problems import Problem, RandomMask, Uniform, exact_posterior
from posterity.testing import check_density, check_loss

pytestmark = pytest.mark.usefixtures("any_weights")

METHODS = pytest.mark.parametrize("method", [NeuralScore, FlowMatching], ids=["nse", "fmpe"])
SMALL = MLP((16, 16))


def test_integration_is_of_fourth_order_in_both_directions() -> None:
    r"""dx/dt = -x sin t has the solution exp(cos t - 1), and starts with no velocity, which is not asked for."""

    def velocity(x: Tensor, t: float) -> Tensor:
        assert t > 0
        return -x * math.sin(t)

    start, end = torch.tensor([[1.0]]), math.exp(math.cos(1) - 1)
    errors = []
    for steps in (16, 32):
        times = [step / steps for step in range(steps + 1)]
        found = integrate(velocity, start, times)
        errors.append(float((found - end).abs()))
        torch.testing.assert_close(integrate(velocity, found, times[::-1]), start, rtol=1e-5, atol=0)
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)


@pytest.fixture
def target() -> MultivariateNormal:
    """Of standard deviations from 0.1 to 1.2, in directions that are none of the axes."""
    basis, _ = torch.linalg.qr(torch.randn(4, 4))
    std = torch.tensor([0.1, 0.3, 0.8, 1.2])
    return MultivariateNormal(torch.tensor([1.0, -1.0, 0.5, 0.0]), basis @ torch.diag(std).square() @ basis.mT)


def circle(target: MultivariateNormal) -> Callable[[Tensor, float], Tensor]:
    """The velocity of the probability flow of a Gaussian, over the angle: minus its residual."""

    def velocity(x: Tensor, angle: float) -> Tensor:
        cos, sin = math.cos(angle), math.sin(angle)
        total = cos**2 * target.covariance_matrix + sin**2 * torch.eye(4)
        rest = torch.linalg.solve(total, (x - cos * target.mean).mT).mT
        # E[z | x] and E[eps | x].
        z, noise = target.mean + cos * rest @ target.covariance_matrix, sin * rest
        return cos * noise - sin * z

    return velocity


def test_the_density_of_a_known_velocity_is_that_of_its_gaussian(target) -> None:
    """Both ways, to a hundredth of a nat: a thousandth of the mean is left where samplers start."""
    angles, x = EDM().angles(48), target.sample((200,))
    noise, fallen = transport(circle(target), x, angles[::-1], probe(x, 4))
    torch.testing.assert_close(log_normal(noise) + fallen, target.log_prob(x), rtol=0, atol=1e-2)
    back, risen = transport(circle(target), noise, angles, probe(x, 4))
    torch.testing.assert_close(back, x, rtol=0, atol=1e-3)
    torch.testing.assert_close(risen, -fallen, rtol=0, atol=1e-3)


def test_random_probes_estimate_the_divergence_without_bias(target) -> None:
    """Each row has probes of its own: their mean is right within four standard errors, and more of them vary less."""
    x, angles = target.sample((1,)).expand(2000, 4), EDM().angles(12)[::-1]
    _, exact = transport(circle(target), x[:1], angles, probe(x[:1], 4))
    spread = []
    for number in (1, 3):
        _, found = transport(circle(target), x, angles, probe(x, number))
        assert float((found.mean() - exact).abs()) < 4 * float(found.std()) / 2000**0.5
        spread.append(float(found.var()))
    assert spread[0] / spread[1] == pytest.approx(3, rel=0.3)


@pytest.fixture
def masked(make_problem) -> Problem:
    """Half of the entries are missing, and no entry is as uncertain as another."""
    return make_problem(6, masks=(RandomMask(0.5),), std=(0.5, 1.0), background_std=(0.5, 1.5))


def ready(method: type[ContinuousFlow], problem: Problem, **options) -> ContinuousFlow:
    """An estimator that is not trained, with standardised inputs."""
    estimator = method(problem, network=SMALL, **options)
    estimator.standardize(problem.sample((50,)))
    return estimator


@METHODS
def test_gradients_are_finite_where_observations_are_missing(masked, method) -> None:
    estimator, twin = ready(method, masked), masked.sample((20,))
    assert twin.window.y.isnan().any()
    for y in (twin.window.y, torch.full_like(twin.window.y, torch.nan)):
        found = check_loss(estimator, twin._replace(window=twin.window._replace(y=y)))
        assert all(found.values()), found


@METHODS
@pytest.mark.parametrize("parameters", [{}, {"speed": Uniform(0.5, 1.5)}], ids=["field", "beside"])
def test_a_network_of_zeros_is_the_prior(masked, method, parameters) -> None:
    """Exactly, in however few steps: draws are the noise that they start from, and parameters count once."""
    masked = replace(masked, parameters=parameters)
    estimator = ready(method, masked, steps=2)
    for parameter in estimator.parameters():
        parameter.data.zero_()
    window = masked.sample((3,)).window
    z, log_q = estimator.draw(window, 500)
    torch.testing.assert_close(log_q, log_normal(z.flatten(0, 1)).view(500, 3), rtol=0, atol=1e-12)
    u = estimator.sample(window, 500).x[:, :, 0].sub(window.background).div(window.background_std)
    assert float(u.std()) == pytest.approx(1, abs=4 / (2 * u.numel()) ** 0.5)


@pytest.mark.slow
@METHODS
def test_draws_have_the_density_that_is_computed_of_them(masked, method, monkeypatch) -> None:
    """Drawn from noise to data in chunks, evaluated from data to noise: the same but for errors of the integration."""
    monkeypatch.setattr("posterity.estimators.estimator.chunks", lambda n, *_: [slice(0, 2), slice(2, n)])
    estimator, window = ready(method, masked, steps=16), masked.sample((3,)).window
    check_density(estimator, window, atol=1e-3, samples=4)


@METHODS
def test_batched_is_looped(masked, method) -> None:
    estimator, twin = ready(method, masked, steps=3), masked.sample((4,))
    z = estimator.encode(twin)
    one = [estimator.log_prob(z[i : i + 1], twin.window.select(slice(i, i + 1))) for i in range(4)]
    torch.testing.assert_close(torch.cat(one), estimator.log_prob(z, twin.window))


@METHODS
def test_draws_come_with_densities_if_asked(masked, method) -> None:
    window = masked.sample((3,)).window
    plain, dense = (ready(method, masked, steps=2, density=density).sample(window, 5) for density in (False, True))
    assert plain.log_q is None
    assert dense.log_q.shape == (5, 3)
    for found in (plain, dense):
        assert found.x.shape == (5, 3, 6, 1, 6)
        assert found.x.isfinite().all()


@METHODS
def test_unknown_parameters_are_learned_beside_the_state(masked, method) -> None:
    """Values are vectors, and networks see them as a field with a constant channel."""
    problem = Problem(masked.system, masked.observation, 4, parameters={"speed": Uniform(0.5, 1.5)})
    estimator = ready(method, problem, steps=2)
    assert estimator.shape == (7,)
    assert estimator.layout.field == (2, 6)
    found = estimator.sample(problem.sample((3,)).window, 5)
    assert found.theta.shape == (5, 3, 1)
    assert ((found.theta > 0.5) & (found.theta < 1.5)).all()
    assert float(estimator.loss(problem.sample((10,))).detach()) > 0


def test_draws_without_a_density_are_those_of_the_sampler(masked) -> None:
    """The same weights with another sampler: other draws, and the same density."""
    one, two = ready(NeuralScore, masked, sampler=Ancestral(4)), ready(NeuralScore, masked)
    two.load_state_dict(one.state_dict())
    twin = masked.sample((5,))
    densities = [estimator.log_prob(one.encode(twin), twin.window) for estimator in (one, two)]
    assert torch.equal(*densities)
    draws = []
    for estimator in (one, two):
        torch.manual_seed(1)
        draws.append(estimator.sample(twin.window, 4).x)
    assert not torch.isclose(*draws).all()


def test_draws_with_their_density_are_those_without(masked) -> None:
    """By Runge and Kutta's method, as both integrate the same flow over the same angles."""
    one, two = ready(NeuralScore, masked, density=True), ready(NeuralScore, masked, sampler=RungeKutta(16))
    two.load_state_dict(one.state_dict())
    window, draws = masked.sample((5,)).window, []
    for estimator in (one, two):
        torch.manual_seed(1)
        draws.append(estimator.sample(window, 4).x)
    torch.testing.assert_close(*draws)


def test_score_estimation_and_flow_matching_differ_in_their_schedules_only(masked) -> None:
    score, matching = ready(NeuralScore, masked, schedule=Straight()), ready(FlowMatching, masked)
    matching.load_state_dict(score.state_dict())
    twin, losses = masked.sample((20,)), []
    for estimator in (score, matching):
        torch.manual_seed(1)
        losses.append(estimator.loss(twin))
    assert torch.equal(*losses)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (NeuralScore, {"steps": 0}, "steps, probes: at least one is needed of each, not 0 and 32"),
        (FlowMatching, {"probes": 0}, "steps, probes: at least one is needed of each, not 16 and 0"),
    ],
)
def test_options_that_are_none_are_refused(masked, method, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        method(masked, **options)


@pytest.mark.slow
@METHODS
def test_a_short_training_comes_near_the_exact_posterior(make_problem, exact_control, fit, method) -> None:
    """A few seconds; docs/benchmarks.md has what minutes give. The prior is 5 nats from it."""
    problem = make_problem()
    estimator = method(problem, network=MLP((64, 64)), steps=8)
    fit(estimator, 500, learning_rate=5e-3)
    twin = problem.sample((300,))
    u = estimator.encode(twin)
    gap = exact_control(problem, twin.window).log_prob(u.flatten(1)) - estimator.log_prob(u, twin.window)
    assert -3 * float(gap.std()) / 300**0.5 < float(gap.mean()) < 0.6
    # Draws, in standard deviations of the posterior.
    window = twin.window.select(slice(50))
    x = estimator.sample(window, 200).x[:, :, 0].flatten(2)
    posterior = exact_posterior(problem, window)
    spread = posterior.covariance[:, 0].diagonal(dim1=-2, dim2=-1).sqrt()
    assert float(((x.mean(dim=0) - posterior.mean[:, 0]) / spread).square().mean().sqrt()) < 0.4
    assert float((x.std(dim=0) / spread).mean()) == pytest.approx(1, abs=0.15)
