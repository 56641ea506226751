"""Sequential Monte Carlo: exact where that is known, calibrated where it is not; then its parts, one by one."""

import pytest
import torch

from posterity.baselines import SequentialMonteCarlo
from posterity.baselines.montecarlo.proposals import Laplace, Variational
from posterity.baselines.variational.families import MeanField
from posterity.baselines.variational.flow import FlowFamily
from posterity.baselines.variational.optimizers import NaturalGradient
from posterity.problems import Control, Observation, Problem, Quadratic, RandomMask, exact_posterior
from posterity.problems.priors import Uniform
from posterity.systems import LinearAdvection, Lorenz96
from posterity.testing import check_gaussian, check_isolated, check_ranks, linear_gaussian, log_evidence

#: Enough for small and for Gaussian posteriors.
FEW = {"particles": 96, "ess": 0.5, "moves": 2, "final": 8, "leapfrog": 4}


@pytest.mark.slow
def test_draws_follow_the_exact_smoother(linear):
    posterior = SequentialMonteCarlo(linear.problem, **FEW).sample(linear.window, 96)
    assert posterior.x.shape == (96, 32, 15, 1, 16)
    assert not posterior.info["failed"].any()
    check_gaussian(posterior.x, linear.exact)
    # The estimate of the evidence itself is unbiased, and that of its logarithm close.
    excess = posterior.info["log_evidence"] - log_evidence(linear.problem, linear.window)
    ratio = excess.exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 32**0.5
    assert float(excess.std()) < 1
    info = posterior.info
    assert ((info["acceptance"] - 0.8).abs() < 0.15).all()
    # Particles are weighted until half of them are left.
    assert ((info["ess"] - 48).abs() < 0.01).all()
    # Each leapfrog step takes one gradient, and transitions of these posteriors are of two or four.
    moves = 2 * info["temperatures"] + 8
    assert ((info["gradients"] - 96) / 96 <= 4 * moves).all()
    assert ((info["gradients"] - 96) / 96 >= 2 * moves).all()


@pytest.mark.slow
def test_draws_follow_the_exact_smoother_of_a_model_that_errs():
    problem = linear_gaussian(4, window=5, forecast=2, background_std=(1.0, 1.0), model_error=0.4)
    window = problem.sample((32,)).window
    posterior = SequentialMonteCarlo(problem, **FEW).sample(window, 96)
    check_gaussian(posterior.x, exact_posterior(problem, window))


def test_from_the_posterior_itself_one_temperature_is_enough(linear):
    """The Laplace approximation of a linear problem is exact, and so are its weights, of which there are few."""
    window = linear.window.select(slice(4))
    method = SequentialMonteCarlo(linear.problem, 8, 0.5, moves=1, final=0, leapfrog=1, proposal=Laplace())
    info = method.sample(window, 8).info
    assert (info["temperatures"] == 1).all()
    torch.testing.assert_close(info["ess"], torch.full((4,), 8.0))
    torch.testing.assert_close(info["log_evidence"], log_evidence(linear.problem, window))


@pytest.mark.parametrize("particles", [64, 12], ids=["own metric", "white metric"])
def test_a_proposal_that_is_too_narrow_is_made_good(particles):
    problem = linear_gaussian(4, window=5, forecast=1, background_std=(1.0, 1.0), model_error=0.4)
    window = problem.sample((48,)).window
    proposal = Variational(MeanField(), NaturalGradient(iterations=1))
    method = SequentialMonteCarlo(problem, particles, 0.5, moves=2, final=8, leapfrog=8, proposal=proposal)
    posterior = method.sample(window, particles)
    assert (posterior.info["temperatures"] > 1).any()
    check_gaussian(posterior.x, exact_posterior(problem, window))
    excess = posterior.info["log_evidence"] - log_evidence(problem, window)
    ratio = excess.exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 48**0.5
    assert float(excess.std()) < 1


def test_a_proposal_without_a_gaussian_is_refused(linear):
    flow = Variational(FlowFamily(iterations=1), NaturalGradient(iterations=1, samples=2))
    with pytest.raises(ValueError, match="proposal: particles start from a Gaussian"):
        SequentialMonteCarlo(linear.problem, 8, 0.5, proposal=flow).sample(linear.window.select(slice(1)), 8)


@pytest.mark.slow
def test_without_observations_it_is_the_prior(linear):
    posterior = SequentialMonteCarlo(linear.problem, **FEW).sample(linear.blind, 96)
    assert (posterior.info["temperatures"] == 1).all()
    assert (posterior.info["log_evidence"] == 0).all()
    check_gaussian(posterior.x, exact_posterior(linear.problem, linear.blind))


@pytest.mark.slow
def test_modes_have_their_weights():
    """Squares of two sites that do not interact: moments and evidence by quadrature, the lesser mode included."""
    problem = Problem(LinearAdvection(size=2), Observation(Quadratic((1, 2)), std=(0.5, 0.5)), window=1)
    window = problem.sample((200,)).window
    background = 0.3 + 0.2 * torch.rand(200, 1, 2)
    window = window._replace(y=torch.full((200, 1, 1, 2), 4.0), background=background)
    posterior = SequentialMonteCarlo(problem, **FEW).sample(window, 96)

    grid = torch.linspace(-6, 6, 4001)
    log_joint = -0.5 * (grid - background.squeeze(1).unsqueeze(-1)) ** 2 - 0.5 * (grid**2 - 4) ** 2 / 0.25
    density = torch.softmax(log_joint, dim=-1)
    positive = density[..., grid > 0].sum(dim=-1)
    assert ((positive > 0.6) & (positive < 0.95)).all()
    found = (posterior.x[:, :, 0, 0] > 0).double().mean(dim=0)
    error = found - positive
    assert abs(float(error.mean())) < 4 * float(error.std()) / error.numel() ** 0.5
    # Weights of modes wander as particles are resampled, but no mode is lost: that would be eleven times.
    assert float(error.std()) < 3 * float((positive * (1 - positive) / 96).mean().sqrt())

    spacing = 12 / 4000
    exact = (log_joint.logsumexp(dim=-1) + torch.tensor(spacing / (2 * torch.pi * 0.5)).log()).sum(dim=-1)
    ratio = (posterior.info["log_evidence"] - exact).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 200**0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_error", "parameters"),
    [(None, {}), (None, {"forcing": Uniform(4.0, 12.0)}), (0.3, {})],
    ids=["strong", "parameter", "weak"],
)
def test_ranks_of_the_truth_are_uniform(model_error, parameters):
    """Simulation-based calibration, over states and parameters."""
    problem = Problem(
        Lorenz96(size=5, dt=0.1, spinup=5.0),
        Observation(Quadratic((1, 5)), std=(3.0, 4.0), masks=(RandomMask(0.5),)),
        window=4,
        model_error=model_error,
        parameters=parameters,
    )
    twin = problem.sample((160,))
    posterior = SequentialMonteCarlo(problem, 48, ess=0.6, moves=2, final=6, leapfrog=4).sample(twin.window, 15)
    assert posterior.theta.shape == (15, 160, len(parameters))
    check_ranks(posterior, twin)


@pytest.mark.slow
def test_a_case_that_diverges_spoils_no_other(square):
    method = SequentialMonteCarlo(square.problem, 32, 0.5, moves=1, final=1, leapfrog=2)
    posterior = method.sample(square.spoilt, 32)
    assert posterior.info["failed"].tolist() == [0, 32, 0, 0]
    check_isolated(posterior, lost=[1])
    assert posterior.info["log_evidence"][1] == -torch.inf


def test_particles_that_diverge_are_left_behind(fragile):
    """The posterior without a set of states is that of a prior without it."""
    problem, window = fragile
    failing = Control(problem, window).misfit(Control(problem, window).prior(200)).isinf()
    assert 0 < float(failing.double().mean()) < 0.9
    posterior = SequentialMonteCarlo(problem, **FEW).sample(window, 96)
    assert not posterior.info["failed"].any()
    assert all(value.isfinite().all() for value in posterior.info.values())
    assert float(posterior.x[:, :, 0, 0, 0].max()) <= 1.0


def test_each_particle_is_drawn_once_before_any_is_drawn_twice(linear):
    window = linear.window.select(slice(2))
    method = SequentialMonteCarlo(linear.problem, 16, 0.5, moves=1, final=1, leapfrog=1)
    for samples, counts in ((16, {1}), (40, {2, 3})):
        x = method.sample(window, samples).x[:, 0, 0, 0]
        assert set(torch.unique(x, dim=0, return_counts=True)[1].tolist()) == counts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"particles": 3}, "particles: at least 4"),
        ({"ess": 1.0}, "ess: must be a fraction"),
        ({"particles": 8, "ess": 0.2}, "ess: must be a fraction that leaves at least 2"),
        ({"moves": 0}, "moves and leapfrog: at least one"),
        ({"leapfrog": 0}, "moves and leapfrog: at least one"),
        ({"length": 0.0}, "length: must be positive"),
        ({"final": -1}, "final: must not be negative"),
        ({"acceptance": 1.0}, "acceptance: must be between 0 and 1"),
        ({"proposal": "laplace"}, "proposal: must be of class Proposal"),
    ],
)
def test_options_that_go_nowhere_are_refused(linear, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        SequentialMonteCarlo(linear.problem, **options)
