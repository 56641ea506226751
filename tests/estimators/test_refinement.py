"""Refinement against an exact posterior, from densities that are known to be wrong, and by how much."""

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from posterity.estimators import FlowMatching, StateTarget
from posterity.estimators.estimator import DensityEstimator
from posterity.estimators.refinement import Refined
from posterity.estimators.refinements import Hamiltonian, Importance
from posterity.mcmc import convergence
from posterity.nn import MLP
from posterity.problems import Control, Identity, Observation, Problem, Window, exact_posterior
from posterity.systems import LinearAdvection

pytestmark = pytest.mark.usefixtures("any_weights")


class Off(DensityEstimator):
    """The exact posterior of the control, but shifted and scaled by some of its standard deviations."""

    def __init__(self, problem: Problem, shift: float, scale: float, broken: int = 0) -> None:
        super().__init__(problem)
        self.shift, self.scale_by, self.broken = shift, scale, broken

    def gaussian(self, window: Window) -> MultivariateNormal:
        mean, factor = whitened(self.problem, window)
        mean = mean + self.shift * factor.square().sum(dim=-1).sqrt()
        return MultivariateNormal(mean, scale_tril=self.scale_by * factor)

    def log_prob(self, z: Tensor, window: Window) -> Tensor:
        return self.gaussian(window).log_prob(z.flatten(1))

    def draw(self, window: Window, samples: int) -> tuple[Tensor, Tensor]:
        q = self.gaussian(window)
        z = q.sample((samples,))
        log_q = q.log_prob(z)
        z[: self.broken, 0] = torch.nan
        return z.unflatten(-1, self.shape), log_q


def whitened(problem: Problem, window: Window) -> tuple[Tensor, Tensor]:
    """Mean and Cholesky factor of the exact posterior over the control."""
    exact = exact_posterior(problem, window)
    std = window.background_std.flatten(1)
    mean = (exact.mean[:, 0] - window.background.flatten(1)) / std
    factor = torch.linalg.cholesky(exact.covariance[:, 0]) / std.unsqueeze(-1)
    return mean, factor


def white(problem: Problem, window: Window, x: Tensor) -> Tensor:
    """Draws of the first state in coordinates in which they are white, with shape ``(case, n, samples)``."""
    mean, factor = whitened(problem, window)
    u = (x[:, :, 0].flatten(2) - window.background.flatten(1)) / window.background_std.flatten(1)
    return torch.linalg.solve_triangular(factor, (u - mean).movedim(0, -1), upper=False)


def errors(z: Tensor, worth: Tensor) -> tuple[float, float]:
    """How many Monte Carlo errors means, and the total variance, of white draws are off, of which some are worth."""
    cases, n, _ = z.shape
    chi2 = float((worth.unsqueeze(-1) * z.mean(dim=-1).square()).sum())
    variance = (z.square().mean(dim=(1, 2)) - 1) * (n * worth / 2).sqrt()
    return (chi2 - cases * n) / (2 * cases * n) ** 0.5, float(variance.sum()) / cases**0.5


@pytest.fixture(scope="module")
def study(make_problem) -> tuple[Problem, Window]:
    problem = make_problem()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return problem, problem.sample((64,)).window


def test_without_refinement_the_draws_are_wrong(study):
    problem, window = study
    estimator = Off(problem, 0.3, 1.2)
    mean, variance = errors(white(problem, window, estimator.sample(window, 200).x), torch.full((64,), 200.0))
    assert mean > 20
    assert variance > 20


def test_weights_make_draws_exact(study):
    problem, window = study
    posterior = Refined(Off(problem, 0.3, 1.2), Importance(draws=3200)).sample(window, 200)
    assert posterior.x.shape == (200, 64, 6, 1, 8)
    assert posterior.log_q is None
    info = posterior.info
    assert not info["failed"].any()
    assert float(info["k_hat"].max()) < 0.5
    # Systematic draws add less to the error of weighted ones than independent ones would.
    worth = 1 / (1 / info["ess"] + 1 / 200)
    mean, variance = errors(white(problem, window, posterior.x), worth)
    assert mean < 4
    assert abs(variance) < 4
    # What the weights are worth is known: an effective fraction of E[w]² / E[w²] = n-fold that of one dimension.
    s2 = 1.2**2
    mean, factor = whitened(problem, window)
    shift = torch.linalg.solve_triangular(factor, 0.3 * factor.square().sum(-1, keepdim=True).sqrt(), upper=False)
    log_square = 8 * torch.tensor(s2 / (2 * s2 - 1) ** 0.5).log() + shift.square().sum(dim=(1, 2)) / (2 * s2 - 1)
    torch.testing.assert_close(info["ess"], 3200 * (-log_square).exp(), rtol=0.15, atol=0)
    # The evidence is that of the observations.
    control = Control(problem, window)
    exact = (
        control.log_prob(mean) + 4 * torch.tensor(2 * torch.pi).log() + factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    )
    error = (1 / info["ess"] - 1 / 3200).sqrt()
    assert (((info["log_evidence"] - exact) / error).abs() < 4.5).all()


@pytest.mark.slow
def test_chains_make_draws_exact(study):
    problem, window = study
    chains = Hamiltonian(draws=100, chains=20, warmup=10, iterations=30, leapfrog=8)
    posterior = Refined(Off(problem, 0.3, 1.2), chains).sample(window, 100)
    assert posterior.x.shape == (100, 64, 6, 1, 8)
    info = posterior.info
    mean, variance = errors(white(problem, window, posterior.x), torch.full((64,), 100.0))
    assert abs(mean) < 4
    assert abs(variance) < 4
    # What independent draws would show, were there one in four of them.
    independent = convergence(torch.randn(8, 20, 64, 8))
    assert float(info["rhat"].median()) < float(independent.rhat.median()) + 0.02
    assert float(info["ess_bulk"].median()) > float(independent.ess_bulk.median())
    assert float(info["ess_bulk"].min()) > 100
    assert ((info["acceptance"] - 0.8).abs() < 0.15).all()
    with pytest.raises(ValueError, match="601 asked of the 600 that the chains keep"):
        Refined(Off(problem, 0.3, 1.2), chains).sample(window, 601)


@pytest.mark.parametrize(("shift", "scale"), [(2.5, 1.0), (0.0, 0.5)], ids=["apart", "narrow"])
def test_weights_that_are_not_to_be_trusted_are_told(study, shift, scale):
    problem, window = study
    info = Refined(Off(problem, shift, scale), Importance()).sample(window, 250).info
    assert float((info["k_hat"] > 0.7).double().mean()) > 0.8
    good = Refined(Off(problem, 0.1, 1.1), Importance()).sample(window, 250).info
    assert float(info["ess"].median()) < 0.2 * float(good["ess"].median())


@pytest.mark.slow
def test_chains_find_back_from_afar(study):
    """Where weights are lost: 2.5 standard deviations off in each coordinate, and half as wide."""
    problem, window = study
    far = Hamiltonian(chains=20, warmup=20, iterations=9, leapfrog=16)
    posterior = Refined(Off(problem, 2.5, 0.5), far).sample(window, 60)
    mean, variance = errors(white(problem, window, posterior.x), torch.full((64,), 60.0))
    assert abs(mean) < 4
    assert abs(variance) < 4


@pytest.mark.parametrize("refinement", [Importance(), Hamiltonian(20, 2, 4, leapfrog=2)], ids=["importance", "hmc"])
def test_failed_draws_have_no_part(study, refinement):
    """Those of one case: some of them, then all."""
    problem, window = study
    few = window.select(slice(3))
    some = Refined(Off(problem, 0.0, 1.0, broken=100), refinement).sample(few, 40)
    assert some.x.isfinite().all()
    assert not some.info["failed"].any()
    every = Refined(Off(problem, 0.0, 1.0, broken=1000), refinement).sample(few, 40)
    assert every.x[:, 1:].isfinite().all()
    assert every.info["failed"][1:].tolist() == [0, 0]


def test_without_a_density_of_the_posterior_there_is_nothing_to_refine_by(make_problem):
    class State(Off):
        def __init__(self, problem: Problem) -> None:
            DensityEstimator.__init__(self, problem, StateTarget())

    message = "needs the posterior's density, known for the control under the background joint only"
    with pytest.raises(ValueError, match=message):
        Refined(State(make_problem()), Importance())
    observation = Observation(Identity((1, 8)))
    climatology = Problem(LinearAdvection(size=8), observation, window=4, joint="climatology")
    with pytest.raises(ValueError, match=message):
        Refined(Off(climatology, 0.0, 1.0), Importance())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Importance, {"draws": 24}, "draws: at least 25"),
        (Hamiltonian, {"chains": 1}, "chains: at least 2"),
        (Hamiltonian, {"warmup": -1}, "warmup: must not be negative"),
        (Hamiltonian, {"iterations": 3}, "iterations: at least 4 draws"),
        (Hamiltonian, {"leapfrog": 0}, "leapfrog: at least one"),
        (Hamiltonian, {"length": 0.0}, "length: must be positive"),
        (Hamiltonian, {"acceptance": 1.0}, "acceptance: must be between 0 and 1"),
    ],
)
def test_options_that_go_nowhere_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_weights_take_exact_densities_however_few_the_probes(make_problem):
    """As if all probes had been asked for: one of eight was half a nat of evidence too much."""
    problem = make_problem(masks=())
    window, found = problem.sample((40,)).window, []
    for probes in (1, 8):
        torch.manual_seed(1)
        estimator = FlowMatching(problem, network=MLP((16,)), steps=4, probes=probes)
        estimator.standardize(problem.sample((50,)))
        with torch.no_grad():
            for parameter in estimator.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        torch.manual_seed(2)
        found.append(Refined(estimator, Importance(draws=100)).sample(window, 20))
        assert estimator.probes == probes
    few, all_of_them = found
    assert torch.equal(few.x, all_of_them.x)
    for name in ("k_hat", "ess", "log_evidence"):
        torch.testing.assert_close(few.info[name], all_of_them.info[name])
