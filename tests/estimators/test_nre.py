"""Neural ratio estimation: ratios that are known, draws of them, and a training that finds the exact posterior."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from posterity.estimators import StateTarget, Target
from posterity.estimators.nre import NeuralRatio
from posterity.estimators.ratios.losses import BNRELoss, NREContrastiveLoss, RatioLoss
from posterity.estimators.ratios.ratio import Ratio, RatioPotential
from posterity.estimators.ratios.samplers import PriorImportance, RatioSampler, TemperedSMC
from posterity.nn import MLP, Convolution, Layout, Network
from posterity.problems import Ensemble, Observation, Problem, Quadratic, RandomMask, Twin, Uniform, Window
from posterity.systems import Lorenz96
from posterity.testing import check_loss

pytestmark = pytest.mark.usefixtures("any_weights")

SMALL = {"network": MLP((8,)), "context": 2}
CONTRASTS = {"balanced": BNRELoss(10.0), "contrastive": NREContrastiveLoss(3), "odds": NREContrastiveLoss(2, gamma=4.0)}


class Trained(NamedTuple):
    """An estimator after a short training, with draws of it, and the exact posteriors over the control."""

    estimator: NeuralRatio
    twin: Twin
    posterior: Ensemble
    exact: MultivariateNormal


@pytest.fixture(scope="module")
def trained(make_problem, exact_control, fit) -> Trained:
    """Trained on 400 batches: some seconds."""
    problem = make_problem()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ratio_sampler = TemperedSMC(particles=150, leapfrog=8)
        estimator = NeuralRatio(
            problem, network=MLP((96, 96)), ratio_loss=NREContrastiveLoss(2), ratio_sampler=ratio_sampler, bridges=3
        )
        fit(estimator, 400, batch=128, learning_rate=4e-3)
        twin = problem.sample((32,))
        posterior = estimator.sample(twin.window, 150)
    return Trained(estimator, twin, posterior, exact_control(problem, twin.window))


@pytest.mark.slow
@torch.no_grad()
def test_the_ratio_is_near_the_exact_one(trained):
    """The divergence from the posterior of what tempering normalises. 0.52 nats were measured, of 6.6 to the prior."""
    u = trained.exact.sample((100,))
    learned = trained.estimator.potential(trained.twin.window).log_ratio(u)
    exact = trained.exact.log_prob(u) - Normal(0.0, 1.0).log_prob(u).sum(dim=-1)
    normalizer = trained.posterior.info["log_normalizer"]
    divergence = (exact - learned).mean(dim=0) + normalizer
    assert -0.1 < float(divergence.mean()) < 1.0
    assert float(exact.mean()) > 6
    assert float(normalizer.abs().mean()) < 0.6


@pytest.mark.slow
def test_draws_have_nearly_the_exact_mean_and_spread(trained):
    """In posterior standard deviations: 0.37 were measured, and 1.12 times the spread; the prior is off by 2."""
    posterior, window = trained.posterior, trained.twin.window
    assert posterior.x.shape == (150, 32, 6, 1, 8)
    assert posterior.log_q is None
    assert not posterior.info["failed"].any()
    u = (posterior.x[:, :, 0].flatten(2) - window.background.flatten(1)) / window.background_std.flatten(1)
    std = trained.exact.stddev
    error = float(((u.mean(dim=0) - trained.exact.mean) / std).square().mean().sqrt())
    prior = float((trained.exact.mean / std).square().mean().sqrt())
    assert error < 0.5 < 1.5 < prior
    assert 0.9 < float((u.std(dim=0) / std).mean()) < 1.25


class Known(nn.Module):
    """The network of a Gaussian ratio: the residuals are linear in z, with a slope of 2 and a shift by the context."""

    def forward(self, x: Tensor) -> Tensor:
        z, context = x.chunk(2, dim=1)
        return torch.cat((0.5 * context.square(), 2 * (z - context)), dim=1)


class KnownNetwork(Network):
    """Its plan."""

    def build(self, inputs, outputs, grid, condition=0):
        return Known()


def known(context: Tensor) -> RatioPotential:
    """The posterior of mean 0.8 c and variance 0.2, which is N(z; 0, I) times the likelihood of slope 2."""
    return RatioPotential(Ratio(KnownNetwork(), Layout(tuple(context.shape[1:])), context.shape[1], 1, 1), context)


def test_a_ratio_is_the_sum_over_sites_of_its_parts():
    z, context = torch.randn(2, 5, 1, 8)
    expected = (0.5 * context.square() - 2 * (z - context).square()).sum(dim=(1, 2))
    torch.testing.assert_close(known(context).ratio(z, context).squeeze(-1), expected)


def test_networks_in_half_precision_leave_ratios_in_full():
    ratio, z = Ratio(MLP((8,)), Layout((1, 6)), 2, ratios=1, residuals=2), torch.randn(5, 1, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert ratio(z, torch.randn(5, 2, 6)).dtype == z.dtype


def test_potentials_have_the_gradient_of_their_cost():
    potential = known(torch.randn(4, 1, 8))
    u = torch.randn(6, 4, 8)
    cost, gradient = potential.cost_and_gradient(u)
    torch.testing.assert_close(cost, 0.5 * u.square().sum(dim=-1) - potential.log_ratio(u))
    torch.testing.assert_close(gradient, u + 4 * (u - potential.context.squeeze(1)))
    part = potential.select(torch.tensor([2, 0])).cost_and_gradient(u[:, [2, 0]])
    torch.testing.assert_close(part[0], cost[:, [2, 0]])
    bad = torch.where(torch.arange(6).reshape(6, 1, 1) == 1, torch.nan, u)
    cost, gradient = potential.cost_and_gradient(bad)
    assert (cost.isinf() == (torch.arange(6) == 1).unsqueeze(-1)).all()
    assert gradient[1].isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio_sampler", "worth"),
    [(TemperedSMC(particles=200, leapfrog=8), 200.0), (PriorImportance(4000), 100.0)],
    ids=["smc", "importance"],
)
def test_walks_draw_from_a_known_ratio(ratio_sampler, worth):
    context = 0.5 * torch.randn(40, 1, 3)
    z, info = ratio_sampler.draw(known(context), 200)
    assert z.shape == (200, 40, 3)
    white = (z - 0.8 * context.squeeze(1)) / 0.2**0.5
    count = white.mean(dim=0).numel()
    chi2 = worth * float(white.mean(dim=0).square().sum())
    assert chi2 < count + 4 * (2 * count) ** 0.5
    variance = float(white.square().mean()) - 1
    assert abs(variance) < 4 * (2 / (worth * count)) ** 0.5
    # The integral of N(z; 0, I) r(z) is a Gaussian's.
    square = context.square().sum(dim=(1, 2))
    exact = 0.5 * square - 1.5 * torch.tensor(5.0).log() - 0.4 * square
    error = info["log_normalizer"] - exact
    assert abs(float(error.mean())) < 4 * float(error.std()) / 40**0.5 + 0.5 * float(error.var())


@pytest.mark.parametrize("ratio_loss", CONTRASTS.values(), ids=CONTRASTS)
def test_the_loss_is_least_at_the_ratio(ratio_loss: RatioLoss):
    """Of two Gaussians that overlap: any factor, any power and any tilt of the ratio costs more."""
    p, q = Normal(0.5, 0.6), Normal(0.0, 1.0)
    inside, outside = p.sample((100_000,)), q.sample((ratio_loss.candidates, 100_000))

    def loss(factor: Tensor, power: Tensor, tilt: Tensor) -> Tensor:
        log_r = [power * (p.log_prob(z) - q.log_prob(z)) + factor + tilt * z for z in (inside, outside)]
        return ratio_loss.loss(*log_r)

    at = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(*at), at)
    # Of a loss of order one over 100 000 draws, whose gradient has a standard error of some thousandths.
    assert float(gradient.abs().max()) < 0.01
    least = float(loss(*at.detach()))
    for step in (0.5, -0.5):
        for axis in range(3):
            assert float(loss(*(at.detach() + step * (torch.arange(3) == axis)))) > least + 0.005


def test_balance_costs_nothing_where_there_is_balance():
    inside, outside = torch.randn(50), torch.randn(3, 50)
    free = BNRELoss(0.0).loss(inside, outside)
    excess = inside.sigmoid().mean() + outside.sigmoid().mean() - 1
    torch.testing.assert_close(BNRELoss(7.0).loss(inside, outside) - free, 7 * excess.square())
    torch.testing.assert_close(BNRELoss(7.0).loss(inside, -inside.unsqueeze(0)), BNRELoss(0.0).loss(inside, -inside))


def test_one_candidate_of_even_odds_is_binary_cross_entropy():
    inside, outside = torch.randn(50), torch.randn(1, 50)
    torch.testing.assert_close(NREContrastiveLoss(1).loss(inside, outside), 0.5 * BNRELoss(0.0).loss(inside, outside))


def lorenz(**options) -> Problem:
    observation = Observation(Quadratic((1, 6)), std=(1.0, 2.0), masks=(RandomMask(0.5),))
    return Problem(Lorenz96(size=6, dt=0.1, spinup=1.0), observation, window=3, forecast=1, **options)


PROBLEMS = {
    "control": (lorenz(), None),
    "weak": (lorenz(model_error=0.2), None),
    "parameter": (lorenz(parameters={"forcing": Uniform(6.0, 10.0)}), None),
    "state": (lorenz(joint="climatology", background_std=None, start=(0, 3)), None),
    "trajectory": (lorenz(), StateTarget(states=None)),
}


@pytest.mark.parametrize(
    "ratio_sampler", [TemperedSMC(8, moves=1, final=1, leapfrog=1), PriorImportance(25)], ids=["smc", "is"]
)
@pytest.mark.parametrize(("problem", "target"), PROBLEMS.values(), ids=PROBLEMS)
def test_every_target_is_learned_and_drawn(problem: Problem, target: Target | None, ratio_sampler: RatioSampler):
    estimator = NeuralRatio(problem, target, ratio_sampler=ratio_sampler, bridges=2, **SMALL)
    twin = problem.sample((6,))
    assert twin.window.y.isnan().any()
    estimator.standardize(twin)
    found = check_loss(estimator, twin)
    assert all(found.values()), found
    posterior = estimator.sample(twin.window, 5)
    assert posterior.x.shape == (5, 6, len(posterior.steps), 1, 6)
    assert posterior.steps[-1] == problem.steps - 1
    assert posterior.theta.shape == (5, 6, len(problem.parameters))
    assert posterior.x.isfinite().all()


def test_fields_are_seen_alike_from_every_site():
    """Shifted observations have shifted posteriors: the potential of a convolutional ratio does not tell."""
    problem = lorenz()
    estimator = NeuralRatio(problem, network=Convolution(width=8, blocks=1, kernel=3), context=2)
    window = problem.sample((3,)).window
    estimator.standardize(problem.sample((20,)))
    shifted = Window(*(value.roll(2, -1) for value in window[:4]), window.start)
    z = torch.randn(4, 3, 6)
    there = estimator.potential(shifted).log_ratio(z.roll(2, -1))
    torch.testing.assert_close(there, estimator.potential(window).log_ratio(z))
    assert not torch.allclose(there, estimator.potential(window).log_ratio(z.roll(2, -1)))


def test_weights_survive_a_file(make_problem):
    problem = make_problem(4)
    estimator, other = (NeuralRatio(problem, **SMALL) for _ in range(2))
    twin = problem.sample((20,))
    estimator.standardize(twin)
    other.load_state_dict(estimator.state_dict())
    z = torch.randn(2, 20, 4)
    assert torch.equal(other.potential(twin.window).log_ratio(z), estimator.potential(twin.window).log_ratio(z))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda problem: NeuralRatio(problem, context=0), "context: at least one"),
        (lambda problem: NeuralRatio(problem, bridges=0), "bridges: at least one"),
        (lambda problem: NeuralRatio(problem, residuals=-1), "residuals: must not be negative"),
        (lambda _: BNRELoss(-1.0), "balance: must not be negative"),
        (lambda _: BNRELoss(candidates=0), "candidates: at least one"),
        (lambda _: NREContrastiveLoss(gamma=0.0), "gamma: must be positive"),
        (lambda _: TemperedSMC(particles=3), "particles: at least 4"),
        (lambda _: TemperedSMC(ess=1.0), "ess: must be a fraction"),
        (lambda _: PriorImportance(24), "draws: at least 25"),
    ],
)
def test_options_that_go_nowhere_are_refused(make_problem, make, message):
    with pytest.raises(ValueError, match=message):
        make(make_problem(4))
