"""States that fill a subspace, learned as whitened vectors: their density against the exact one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from posterity.diffusion import RungeKutta
from posterity.estimators import GuidedScore, NeuralPosterior, NeuralScore, StateTarget
from posterity.flows import FullGaussian
from posterity.nn import MLP, Convolution
from posterity.problems import Identity, Normal, Observation, Problem, Twin, exact_posterior
from posterity.problems.covariances import Climatology, Correlation, Solenoidal, SolenoidalClimatology, Spectral
from posterity.systems import LinearAdvection
from posterity.testing import check_estimator

BACKGROUND = Solenoidal(length=1.0)


@dataclass(frozen=True, kw_only=True)
class Incompressible(LinearAdvection):
    """Advection of velocities that have no divergence from the start."""

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws from the correlation of the background."""
        root = BACKGROUND.root(Problem(self, Observation(Identity(self.shape)), 1), torch.empty(0))
        return root.forward(torch.randn(*batch, *root.shape))


@pytest.fixture
def problem() -> Problem:
    """Three states of 4 × 4 velocities without divergence: 8 of their 32 entries are free."""
    system = Incompressible(size=(4, 4), names=("u", "v"))
    observation = Observation(Identity(system.shape), std=1.0)
    return Problem(system, observation, 3, background_std=(1.0, 1.0), background_correlation=BACKGROUND)


def exact(problem: Problem, twin: Twin, correlation: Correlation) -> MultivariateNormal:
    """The exact posterior of the last state over whitened vectors, with white noise where no state depends on them."""
    root = correlation.root(problem, twin.x).matrix()
    inverse, posterior = torch.linalg.pinv(root), exact_posterior(problem, twin.window)
    unseen = torch.eye(root.shape[1]) - inverse @ root
    covariance = inverse @ posterior.covariance[:, problem.window - 1] @ inverse.mT + unseen
    return MultivariateNormal(posterior.mean[:, problem.window - 1] @ inverse.mT, covariance)


@pytest.mark.parametrize("correlation", [BACKGROUND, Solenoidal(length=0.5)])
def test_the_density_is_that_of_states_in_their_subspace(problem, correlation) -> None:
    """But for the determinant of the map, a constant, and the noise, whose density is known."""
    twin, target = problem.sample((50,)), StateTarget(1, correlation)
    w = target.extract(problem, twin)
    assert w.shape == (50, *target.shape(problem)) == (50, 1, 4, 4)
    root = correlation.root(problem, twin.x).matrix()
    basis, scale, _ = torch.linalg.svd(root, full_matrices=False)
    basis, scale = basis[:, :8], scale[:8]
    posterior = exact_posterior(problem, twin.window)
    mean, covariance = posterior.mean[:, 2], posterior.covariance[:, 2]
    # In eight coordinates, in which states have a density.
    expected = MultivariateNormal(mean @ basis, basis.mT @ covariance @ basis)
    noise = w.flatten(1) - w.flatten(1) @ (torch.linalg.pinv(root) @ root).mT
    of_noise = -0.5 * noise.square().sum(dim=1) - 0.5 * 8 * torch.log(torch.tensor(2 * torch.pi))
    found = exact(problem, twin, correlation).log_prob(w.flatten(1)) - of_noise - scale.log().sum()
    torch.testing.assert_close(found, expected.log_prob(twin.x[:, 2].flatten(1) @ basis))


@pytest.mark.slow
@torch.no_grad()
def test_an_estimator_reaches_the_exact_density(problem, fit) -> None:
    """A Gaussian is left with 0.2 nats, its divergence averaged over windows. Over states it would have no bound."""
    target = StateTarget(1, BACKGROUND)
    estimator = NeuralPosterior(problem, target, MLP(hidden=(64,)), 4, FullGaussian())
    with torch.enable_grad():
        fit(estimator, 200, learning_rate=1e-2)
    twin = problem.sample((2000,))
    w = target.extract(problem, twin)
    z = estimator.scaler(w)
    scale = estimator.scaler.inverse(torch.ones_like(z)) - estimator.scaler.inverse(torch.zeros_like(z))
    log_q = estimator.log_prob(z, twin.window) - scale.log().flatten(1).sum(dim=1)
    gap = exact(problem, twin, BACKGROUND).log_prob(w.flatten(1)) - log_q
    error = float(gap.std() / len(gap) ** 0.5)
    assert -3 * error < float(gap.mean()) < 0.4


@pytest.mark.parametrize(
    "correlation", [BACKGROUND, SolenoidalClimatology(draws=40), Climatology(draws=40), Spectral(length=0.5)]
)
def test_values_decode_to_the_states_they_came_from(problem, correlation) -> None:
    """Several states and an unknown parameter, with a forecast; under the climatology joint as well."""
    for joint in ("background", "climatology"):
        posed = replace(problem, forecast=1, joint=joint, parameters={"damping": Normal(0.1, 0.01)})
        target = StateTarget(2, correlation)
        twin = target.checked(posed, posed.sample((5,)))
        values = target.extract(posed, twin)
        assert values.shape == (5, *target.shape(posed)) == (5, 2 * (16 if correlation.uniform else 32) + 1)
        ensemble = target.ensemble(posed, twin.window, values.unsqueeze(0), {}, None)
        torch.testing.assert_close(ensemble.x[0], twin.x[:, 1:])
        torch.testing.assert_close(ensemble.theta[0], twin.theta)


def test_directions_without_states_hold_white_noise(problem) -> None:
    target = StateTarget(1, BACKGROUND)
    root = BACKGROUND.root(problem, torch.empty(0)).matrix()
    unseen = torch.eye(16) - torch.linalg.pinv(root) @ root
    w = target.extract(problem, problem.sample((4000,))).flatten(1) @ unseen
    torch.testing.assert_close(w.mT @ w / 4000, unseen, rtol=0, atol=0.15)


def test_correlations_that_lack_some_states_are_refused(problem) -> None:
    smooth = Solenoidal(length=9.0)
    with pytest.raises(ValueError, match=r"target.correlation: Solenoidal leaves out 0\.\d+ of the norm"):
        NeuralPosterior(problem, StateTarget(1, smooth)).standardize(problem.sample((5,)))
    with pytest.raises(ValueError, match="correlation: velocities without divergence have two channels"):
        StateTarget(1, BACKGROUND).shape(Problem(LinearAdvection(size=8), Observation(Identity((1, 8))), 2))
    with pytest.raises(TypeError, match=r"correlation: must be of class Correlation, such as Solenoidal\(\)"):
        StateTarget(1, "solenoidal")


@pytest.mark.parametrize("method", [NeuralScore, GuidedScore])
def test_draws_by_scores_have_no_divergence(problem, method) -> None:
    network = Convolution(width=8, blocks=1, kernel=3)

    def make(posed: Problem) -> NeuralScore | GuidedScore:
        if method is GuidedScore:
            return GuidedScore(posed, network, sampler=RungeKutta(2), correlation=BACKGROUND)
        return NeuralScore(posed, StateTarget(None, BACKGROUND), network, sampler=RungeKutta(2))

    check_estimator(make, problem, density=None)
    estimator, twin = make(problem), problem.sample((3,))
    estimator.standardize(twin)
    x = estimator.mark_trained().sample(twin.window, 2).x
    root = BACKGROUND.root(problem, x)
    torch.testing.assert_close(root.forward(root.inverse(x)), x)
