"""Methods under correlated backgrounds and model errors, against exact posteriors on a plane."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from posterity.baselines.montecarlo.hmc import HamiltonianMonteCarlo
from posterity.baselines.montecarlo.importance import ImportanceSampling
from posterity.baselines.montecarlo.prior import Prior
from posterity.baselines.montecarlo.prior_importance import PriorImportanceSampling
from posterity.baselines.montecarlo.smc import SequentialMonteCarlo
from posterity.baselines.sequential.enkf import StochasticEnKF
from posterity.baselines.sequential.enks import EnKS
from posterity.baselines.sequential.etkf import ETKF
from posterity.baselines.sequential.ienks import IEnKS
from posterity.baselines.sequential.lenks import LocalEnKS
from posterity.baselines.sequential.letkf import LETKF
from posterity.baselines.sequential.particle import ParticleFilter, ParticleSmoother
from posterity.baselines.variational.ensemble_fourdvar import EnsembleFourDVar
from posterity.baselines.variational.families import Full
from posterity.baselines.variational.fourdvar import FourDVar
from posterity.baselines.variational.markov import BlockTridiagonal
from posterity.baselines.variational.optimizers import NaturalGradient
from posterity.baselines.variational.vi import VariationalInference
from posterity.problems import (
    Control,
    GaussianPosterior,
    Identity,
    Observation,
    Problem,
    RandomMask,
    StateControl,
    exact_posterior,
)
from posterity.problems.covariances import (
    Climatology,
    MaternSpectrum,
    Solenoidal,
    SolenoidalClimatology,
    Spectral,
    SpectralClimatology,
)
from posterity.problems.linearized.solvers import ConjugateGradients
from posterity.problems.minimize import minimize
from posterity.systems import LinearAdvection
from posterity.testing import blind, check_gaussian

SPECTRAL = Spectral(length=1.5, spectrum=MaternSpectrum())


def plane(correlation, std=1.0, error=None, size=(8, 8), names=("x",), window=3, noise=0.5, **options):
    """A plane on which a linear system moves, some of whose sites are seen."""
    system = LinearAdvection(size=size, names=names, speed=(0.8, -0.5))
    observation = Observation(Identity(system.shape), std=noise, masks=(RandomMask(0.4),))
    return Problem(
        system,
        observation,
        window=window,
        forecast=1,
        background_std=std,
        model_error=None if error is None else 0.3,
        background_correlation=correlation,
        error_correlation=error,
        **options,
    )


def velocities(correlation, std=1.0, error=None):
    """The same of two channels."""
    return plane(correlation, std, error, size=(4, 6), names=("u", "v"))


PROBLEMS = {
    "diagonal": plane(None, (0.5, 1.5)),
    "spectral": plane(SPECTRAL, (0.5, 1.5)),
    "solenoidal": velocities(Solenoidal(length=1.2)),
    "climatology": plane(Climatology(draws=200, scale=0.7), None, size=(4, 5)),
    "few": plane(Climatology(draws=12), None, size=(4, 5)),
    "cross-spectra": velocities(SpectralClimatology(draws=50), (0.5, 1.5)),
    "solenoidal-climatology": velocities(SolenoidalClimatology(draws=50), None),
}
WEAK = {
    "spectral": plane(SPECTRAL, error=Spectral(length=1.0, spectrum=MaternSpectrum()), size=(4, 5)),
    "solenoidal": plane(Solenoidal(), error=Solenoidal(length=1.5), size=(3, 4), names=("u", "v")),
    "of the model alone": plane(None, (0.5, 1.5), Spectral(length=1.0), size=(4, 5)),
    "mixed": plane(Solenoidal(), error=SPECTRAL, size=(3, 4), names=("u", "v")),
}
STRONG_AND_WEAK = PROBLEMS | {f"weak {name}": problem for name, problem in WEAK.items()}

each = pytest.mark.parametrize("problem", STRONG_AND_WEAK.values(), ids=STRONG_AND_WEAK)

#: The same with larger planes, for methods that draw nothing or whose draws have exact moments.
FIELDS = STRONG_AND_WEAK | {
    "diagonal": plane(None, (0.5, 1.5), size=(16, 16)),
    "spectral": plane(SPECTRAL, (0.5, 1.5), size=(16, 16)),
    "solenoidal": plane(Solenoidal(length=1.2), size=(16, 16), names=("u", "v")),
}
each_field = pytest.mark.parametrize("problem", FIELDS.values(), ids=FIELDS)


def assert_exact(problem, window, control, mean, covariance, tolerance=1e-8):
    """Compares a Gaussian of the control with the exact posterior, by the linear map from controls to trajectories."""
    exact = exact_posterior(replace(problem, forecast=0), window)
    basis = torch.eye(control.size).unsqueeze(1).expand(-1, control.cases, -1)
    states = problem.window
    origin = control.trajectory(control.zero(), states)
    maps = (control.trajectory(basis, states) - origin).flatten(3).movedim(0, -1)
    torch.testing.assert_close(control.trajectory(mean, states).flatten(2), exact.mean, rtol=0, atol=tolerance)
    covariance = maps @ covariance.unsqueeze(1) @ maps.mT
    torch.testing.assert_close(covariance, exact.covariance, rtol=0, atol=1e-8)


def covariance_of(q, control):
    """The covariance of a Gaussian of the control, with shape ``(case, size, size)``."""
    return q.factor.covariance(torch.eye(control.size).unsqueeze(1).expand(-1, control.cases, -1)).movedim(0, -1)


@each_field
def test_the_minimum_and_its_hessian_are_exact(problem):
    window = problem.sample((3,)).window
    control = Control(problem, window)
    found = minimize(control)
    covariance = torch.linalg.inv(found.model.dense())
    assert_exact(problem, window, control, found.u, covariance, tolerance=1e-5)
    # The cost is a parabola: one step more is exact.
    exact = found.u - (covariance @ found.model.gradient.unsqueeze(-1)).squeeze(-1)
    assert_exact(problem, window, control, exact, covariance)
    du = torch.randn_like(found.u)
    product = (found.model.dense() @ du.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(control.linearize(found.u).hessian(du), product)
    matrix_free = minimize(control, solver=ConjugateGradients())
    torch.testing.assert_close(matrix_free.cost, found.cost, rtol=1e-6, atol=0)


@each_field
def test_variational_inference_is_exact(problem):
    window = problem.sample((2,)).window
    family = Full()
    control = family.control(problem, window)
    found = NaturalGradient(iterations=2).fit(control, family).q
    assert_exact(problem, window, control, found.mean, covariance_of(found, control), tolerance=1e-6)


@pytest.mark.parametrize("name", ["spectral", "of the model alone"])
def test_the_chain_of_states_is_exact(name):
    problem = WEAK[name]
    window = problem.sample((2,)).window
    control = StateControl(problem, window)
    found = NaturalGradient(iterations=2).fit(control, BlockTridiagonal()).q
    assert_exact(problem, window, control, found.mean, covariance_of(found, control), tolerance=1e-6)
    x, theta = control.decode(control.noise(4))
    torch.testing.assert_close(control.decode(control.encode(x, theta))[0][:, :, :3], x[:, :, :3])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("solenoidal", "give the problem a model_error that moves all states"),
        ("mixed", "background_correlation: whitened, the initial state has 12 entries, and .* as a state has, 24"),
    ],
)
def test_the_chain_of_states_needs_errors_that_move_all_states(name, message):
    problem = WEAK[name]
    with pytest.raises(ValueError, match=message):
        StateControl(problem, problem.sample((2,)).window)


@each
def test_controls_are_decoded_and_encoded(problem):
    control = Control(problem, problem.sample((3,)).window)
    u = control.noise(4)
    x, theta = control.decode(u)
    encoded = control.encode(x, theta)
    again = control.decode(encoded)[0][:, :, : problem.window]
    torch.testing.assert_close(again, x[:, :, : problem.window])
    # What no state depends on is left out, and filled with noise of unit variance.
    torch.testing.assert_close(encoded, control.encode(again, theta))
    assert (encoded.square().sum() <= u.square().sum() * (1 + 1e-9)).all()
    draws = Control(problem, problem.sample((1,)).window)
    u = draws.noise(4000)
    filled = draws.fill(draws.encode(*draws.decode(u)))
    torch.testing.assert_close(filled.square().mean(dim=(0, 1)), torch.ones(draws.size), rtol=0, atol=0.12)


@each
def test_the_gradient_is_that_of_the_cost(problem):
    control = Control(problem, problem.sample((2,)).window)
    u = control.noise(1)
    cost, gradient = control.cost_and_gradient(u)
    model = control.linearize(u)
    torch.testing.assert_close(model.cost, cost)
    torch.testing.assert_close(model.gradient, gradient)


METHODS = {
    "prior": (Prior, True),
    "4dvar": (FourDVar, False),
    "ensemble-4dvar": (EnsembleFourDVar, False),
    "importance": (ImportanceSampling, False),
    "vi": (lambda problem: VariationalInference(problem, Full(), NaturalGradient(iterations=3)), False),
}


@pytest.mark.parametrize(("method", "unseen"), METHODS.values(), ids=METHODS)
@each
def test_draws_follow_the_exact_posterior(method, unseen, problem):
    window = problem.sample((4,)).window
    window = blind(window) if unseen else window
    drawn = method(problem).sample(window, 200)
    check_gaussian(drawn.x, exact_posterior(problem, window))


@pytest.mark.parametrize("method", [ETKF, EnKS, IEnKS])
@each_field
def test_square_root_methods_are_exact_for_exact_sample_moments(method, problem, second_order):
    check_square_root(method, problem, second_order)


@pytest.mark.parametrize("method", [LETKF, LocalEnKS])
@pytest.mark.parametrize("name", ["diagonal", "weak spectral", "solenoidal"])
def test_local_methods_are_exact_where_all_is_near(method, name, second_order):
    """Each site by its own transform, within a radius at which the taper of all observations is one to rounding."""
    check_square_root(partial(method, radius=1e8), STRONG_AND_WEAK[name], second_order)


def check_square_root(method, problem, second_order):
    """Compares the moments of an ensemble with the exact posterior's: no tolerance for sampling is needed."""
    window = problem.sample((2,)).window
    exact = exact_posterior(problem, window)
    initial, *errors = (torch.Size(shape).numel() for shape in problem.control_shapes())
    # Behind the window there is one error more for each step of the forecast.
    columns = initial + sum(errors) + sum(errors[:1]) * problem.forecast
    second_order(columns + 10, columns)
    posterior = method(problem, columns + 10).sample(window, columns + 10)
    x, times = posterior.x.flatten(3), list(posterior.steps)
    anomalies = x - x.mean(dim=0)
    covariance = torch.einsum("scti,sctj->ctij", anomalies, anomalies) / (len(x) - 1)
    torch.testing.assert_close(x.mean(dim=0), exact.mean[:, times], rtol=0, atol=1e-8)
    torch.testing.assert_close(covariance, exact.covariance[:, times], rtol=0, atol=1e-8)


SMALL = {
    "spectral": plane(SPECTRAL, 0.5, error=SPECTRAL, size=(2, 3), noise=1.0),
    "solenoidal": plane(Solenoidal(), 0.5, error=Solenoidal(), size=(3, 3), names=("u", "v"), window=2, noise=1.0),
}
ASYMPTOTIC = {
    "enkf": lambda problem: StochasticEnKF(problem, 8000),
    "particle-filter": lambda problem: ParticleFilter(problem, 8000),
    "particle-smoother": lambda problem: ParticleSmoother(problem, 8000),
    "prior-importance": lambda problem: PriorImportanceSampling(problem, 20000),
}


@pytest.mark.parametrize("method", ASYMPTOTIC.values(), ids=ASYMPTOTIC)
@pytest.mark.parametrize("problem", SMALL.values(), ids=SMALL)
def test_moments_of_many_members_are_near(method, problem):
    window = problem.sample((3,)).window
    exact = exact_posterior(problem, window)
    drawn = method(problem).sample(window, 4000)
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()[:, list(drawn.steps)]
    x = drawn.x.flatten(3)
    assert float(((x.mean(dim=0) - exact.mean[:, list(drawn.steps)]) / std).abs().max()) < 0.15
    assert float((x.std(dim=0) / std - 1).abs().max()) < 0.15


CHAINS = [
    pytest.param(
        lambda problem: HamiltonianMonteCarlo(problem, 16, 20, 50, 1, particles=64), id="hmc", marks=pytest.mark.slow
    ),
    pytest.param(lambda problem: SequentialMonteCarlo(problem, 512, moves=1, final=4), id="smc"),
]


@pytest.mark.parametrize("method", CHAINS)
@pytest.mark.parametrize("problem", SMALL.values(), ids=SMALL)
def test_chains_are_near(method, problem):
    window = problem.sample((2,)).window
    exact = exact_posterior(problem, window)
    x = method(problem).sample(window, 400).x.flatten(3)
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert float(((x.mean(dim=0) - exact.mean) / std).abs().max()) < 0.25
    assert float((x.std(dim=0) / std - 1).abs().max()) < 0.25


@pytest.mark.parametrize("correlation", [None, Spectral(length=0.7)], ids=["diagonal", "spectral"])
def test_backgrounds_are_observations_under_the_climatology_joint(correlation):
    problem = plane(correlation, 2.0, size=(2, 3), joint="climatology", noise=1.0)
    window = problem.sample((3,)).window
    exact = exact_posterior(problem, window)
    drawn = PriorImportanceSampling(problem, 60000).sample(window, 4000)
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    x = drawn.x.flatten(3)
    assert float(((x.mean(dim=0) - exact.mean) / std).abs().max()) < 0.2
    assert float((x.std(dim=0) / std - 1).abs().max()) < 0.15


def test_the_exact_posterior_takes_climatology_joints_with_correlated_backgrounds():
    """By the weights of a dense Gaussian: x_0 ~ N(0, I), x_b | x_0 ~ N(x_0, B)."""
    problem = plane(SPECTRAL, (0.5, 1.0), size=(3, 3), joint="climatology", window=1)
    window = problem.sample((2,)).window
    exact = exact_posterior(problem, blind(window))
    std = window.background_std.flatten(1)
    b = std.unsqueeze(-1) * SPECTRAL.matrix(problem).to(std) * std.unsqueeze(-2)
    gain = torch.linalg.inv(torch.eye(9) + b)
    torch.testing.assert_close(exact.mean[:, 0], (gain @ window.background.flatten(1).unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(exact.covariance[:, 0], torch.eye(9) - gain)
    assert isinstance(exact, GaussianPosterior)
