"""Guidance against Gaussian priors observed linearly, whose posteriors are known at every level of noise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import cos, sin, tan

import pytest
import torch
from torch import Tensor

from posterity.diffusion import EDM, Denoiser
from posterity.diffusion.guidance import DPSGuidance, Likelihood, MomentMatching, SDAGuidance, conjugate_gradients
from posterity.diffusion.samplers import Ancestral, PredictorCorrector, RungeKutta
from posterity.problems import RandomMask, exact_posterior

EXACT = MomentMatching(iterations=50, tolerance=1e-12)
GUIDANCES = [EXACT, SDAGuidance(), SDAGuidance(gamma=1.0, detach=True), DPSGuidance()]
ANGLES = [0.002, 0.3, 1.0, 1.56]


@dataclass(frozen=True)
class Gaussian(Denoiser):
    """A Gaussian of each row, and its denoiser."""

    center: Tensor
    covariance: Tensor

    @cached_property
    def eigen(self) -> tuple[Tensor, Tensor]:
        """The eigenvalues and eigenvectors of the covariance."""
        return torch.linalg.eigh(self.covariance)

    def mean(self, x: Tensor, angle: float) -> Tensor:
        r"""The exact mean :math:`m + \cos P (\cos^2 P + \sin^2 I)^{-1} (\bar x - \cos m)`."""
        return self.center + self.pullback(x, angle, x - cos(angle) * self.center)

    def pullback(self, x: Tensor, angle: float, w: Tensor) -> Tensor:
        """The product with the derivative of the mean, which is symmetric."""
        values, vectors = self.eigen
        gain = cos(angle) * values / (cos(angle) ** 2 * values + sin(angle) ** 2)
        return (vectors @ (gain.unsqueeze(-1) * (vectors.mT @ w.unsqueeze(-1)))).squeeze(-1)

    def given(self, matrix: Tensor, likelihood: Likelihood) -> "Gaussian":
        """The posterior by Kalman's formula: no precision of the prior, which may be singular, is asked for."""
        slope = likelihood.precision.unsqueeze(-1) * matrix
        innovation = slope @ self.covariance @ slope.mT + torch.eye(len(matrix))
        gain = torch.linalg.solve(innovation, slope @ self.covariance).mT
        residual = (likelihood.y - self.center @ matrix.mT) * likelihood.precision
        return Gaussian(
            self.center + (gain @ residual.unsqueeze(-1)).squeeze(-1), self.covariance - gain @ slope @ self.covariance
        )


@pytest.fixture
def linear() -> tuple[Gaussian, Tensor, Likelihood]:
    """Ten rows of five correlated entries, seen through three numbers each, a third of which is missing."""
    root = torch.randn(10, 5, 5)
    prior = Gaussian(torch.randn(10, 5), root @ root.mT / 5)
    matrix = torch.randn(3, 5)
    there = torch.arange(30).view(10, 3) % 3 > 0
    y = torch.where(there, 2 * torch.randn(10, 3), 0)
    precision = torch.where(there, 0.5 + 3 * torch.rand(10, 3), 0)
    return prior, matrix, Likelihood(lambda z: z @ matrix.mT, y, precision)


@pytest.mark.parametrize("angle", ANGLES)
def test_moment_matching_is_exact_for_gaussian_priors(linear, angle) -> None:
    prior, matrix, likelihood = linear
    x = torch.randn(10, 5)
    found = EXACT.guide(prior, likelihood)(x, angle)
    torch.testing.assert_close(found, prior.given(matrix, likelihood).mean(x, angle))


def test_rows_do_not_see_each_other(linear) -> None:
    prior, _, likelihood = linear
    x = torch.randn(10, 5)
    for guidance in GUIDANCES:
        together = guidance.guide(prior, likelihood)(x, 0.7)
        for row in range(10):
            one = slice(row, row + 1)
            alone = likelihood._replace(y=likelihood.y[one], precision=likelihood.precision[one])
            found = guidance.guide(Gaussian(prior.center[one], prior.covariance[one]), alone)(x[one], 0.7)
            torch.testing.assert_close(found, together[one])


@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("angle", ANGLES)
def test_without_observations_the_denoiser_is_that_of_the_prior(linear, guidance, angle) -> None:
    prior, _, likelihood = linear
    nothing = likelihood._replace(precision=torch.zeros_like(likelihood.precision))
    x = torch.randn(10, 5)
    assert torch.equal(guidance.guide(prior, nothing)(x, angle), prior.mean(x, angle))


def test_guidance_asks_for_means_and_pullbacks_of_one_point_only(linear) -> None:
    """No graph over the denoiser: one whose answers are constants serves as well."""
    prior, matrix, likelihood = linear
    asked = []

    class Parts(Denoiser):
        def mean(self, x: Tensor, angle: float) -> Tensor:
            asked.append(x)
            with torch.no_grad():
                return prior.mean(x, angle)

        def pullback(self, x: Tensor, angle: float, w: Tensor) -> Tensor:
            asked.append(x)
            with torch.no_grad():
                return prior.pullback(x, angle, w)

    x = torch.randn(10, 5)
    found = EXACT.guide(Parts(), likelihood)(x, 0.7)
    torch.testing.assert_close(found, prior.given(matrix, likelihood).mean(x, 0.7))
    assert all(point is x for point in asked)


def test_moment_matching_linearises_an_operator_that_is_not_linear(linear) -> None:
    """Against dense Jacobians, at one level of noise."""
    prior, matrix, likelihood = linear
    angle, x = 0.6, torch.randn(10, 5)
    squared = likelihood._replace(operator=lambda z: (z @ matrix.mT).square())
    found = EXACT.guide(prior, squared)(x, angle)

    mean = prior.mean(x, angle)
    noisy = cos(angle) ** 2 * prior.covariance + sin(angle) ** 2 * torch.eye(5)
    covariance = sin(angle) ** 2 * prior.covariance @ torch.linalg.inv(noisy)
    slope = 2 * (mean @ matrix.mT).unsqueeze(-1) * matrix * likelihood.precision.unsqueeze(-1)
    residual = (likelihood.y - (mean @ matrix.mT).square()) * likelihood.precision
    weights = torch.linalg.solve(slope @ covariance @ slope.mT + torch.eye(3), residual.unsqueeze(-1))
    torch.testing.assert_close(found, mean + (covariance @ slope.mT @ weights).squeeze(-1))


@pytest.mark.parametrize("angle", ANGLES)
def test_sda_is_exact_where_gamma_is_the_share_of_the_noise(angle) -> None:
    r"""For a prior :math:`N(0, s^2 I)` seen directly the share is :math:`s^2 / (s^2 + \tan^2\varphi)`."""
    variance = 0.7
    prior = Gaussian(torch.zeros(6, 4), variance * torch.eye(4).expand(6, 4, 4))
    likelihood = Likelihood(lambda z: z, torch.randn(6, 4), 0.5 + torch.rand(6, 4))
    x = torch.randn(6, 4)
    share = variance / (variance + tan(angle) ** 2)
    found = SDAGuidance(gamma=share).guide(prior, likelihood)(x, angle)
    torch.testing.assert_close(found, prior.given(torch.eye(4), likelihood).mean(x, angle))


@pytest.mark.parametrize("detach", [False, True])
def test_sda_is_exact_for_flat_priors_where_gamma_is_one(detach) -> None:
    """A prior so wide that the mean is the noisy state: the Jacobian is what detaching takes it for."""
    prior = Gaussian(torch.zeros(6, 4), 1e10 * torch.eye(4).expand(6, 4, 4))
    likelihood = Likelihood(lambda z: z, torch.randn(6, 4), 0.5 + torch.rand(6, 4))
    x = torch.randn(6, 4)
    found = SDAGuidance(1.0, detach).guide(prior, likelihood)(x, 0.6)
    exact = prior.given(torch.eye(4), likelihood).mean(x, 0.6)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("angle", ANGLES)
def test_bounded_pulls_end_where_the_posterior_is_largest_along_them(linear, detach, angle) -> None:
    """Steep ones; those that end before are left as they are."""
    prior, _, likelihood = linear
    x = torch.randn(10, 5)
    mean = prior.mean(x, angle)

    def cost(found: Tensor) -> Tensor:
        """Of a Gaussian with the mean and, without Jacobian, the noise, or with it the covariance of the data."""
        noisy = cos(angle) ** 2 * prior.covariance + sin(angle) ** 2 * torch.eye(5)
        covariance = sin(angle) ** 2 * prior.covariance @ torch.linalg.inv(noisy)
        covariance = tan(angle) ** 2 * torch.eye(5).expand(10, 5, 5) if detach else covariance
        away = (found - mean).unsqueeze(-1)
        return (
            likelihood.residual(found).square().sum(dim=-1) + (away.mT @ torch.linalg.solve(covariance, away)).flatten()
        )

    for gamma in (0.0, 0.01, 1.0):
        free, bounded = (
            SDAGuidance(gamma, detach, bound).guide(prior, likelihood)(x, angle) for bound in (False, True)
        )
        pull = free - mean
        share = ((bounded - mean) * pull).sum(dim=-1) / pull.square().sum(dim=-1)
        torch.testing.assert_close(bounded, mean + share.unsqueeze(-1) * pull)
        assert (share <= 1 + 1e-12).all()
        here, before, behind = (cost(mean + factor * (bounded - mean)) for factor in (1, 0.99, 1.01))
        assert (here < before).all()
        assert (here < behind)[share < 1 - 1e-9].all()


@pytest.fixture
def trajectories(make_problem) -> Callable[[int], tuple[Gaussian, Likelihood, Gaussian]]:
    """Windows of a problem as a prior of whole trajectories given the background, and their exact posterior."""

    def build(length: int) -> tuple[Gaussian, Likelihood, Gaussian]:
        problem = replace(make_problem(6, masks=(RandomMask(0.5),), std=(0.3, 0.6)), window=length)
        window = problem.sample((3,)).window

        def gaussian(y: Tensor) -> Gaussian:
            found = exact_posterior(problem, window._replace(y=y))
            root = found.factor[:, :length].flatten(1, 2)
            return Gaussian(found.mean[:, :length].flatten(1), root @ root.mT)

        there = ~window.y.isnan()
        parts = (torch.where(there, window.y, 0), torch.where(there, 1 / window.std, 0))
        likelihood = Likelihood(lambda z: z, *(part.flatten(1) for part in parts))
        nothing = torch.full_like(window.y, torch.nan)
        return gaussian(nothing), likelihood, gaussian(window.y)

    return build


@pytest.mark.parametrize("sampler", [RungeKutta(4), Ancestral(8), Ancestral(8, eta=0.0), PredictorCorrector(8)])
@pytest.mark.parametrize("length", [1, 4])
def test_samplers_cannot_tell_moment_matching_from_the_posterior(trajectories, sampler, length) -> None:
    """The same noise gives the same draws: what is left of an error is the sampler's own."""
    prior, likelihood, posterior = trajectories(length)
    noise, draws = torch.randn_like(prior.center), []
    for mean in (EXACT.guide(prior, likelihood), posterior.mean):
        torch.manual_seed(3)
        draws.append(sampler(mean, EDM(), noise))
    torch.testing.assert_close(*draws, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 4])
def test_moment_matching_draws_the_exact_posterior(trajectories, length) -> None:
    """Mean and covariance of whole trajectories, in Monte Carlo errors, with missing observations."""
    prior, likelihood, posterior = trajectories(length)
    samples = 500
    rows = Gaussian(prior.center.repeat(samples, 1), prior.covariance.repeat(samples, 1, 1))
    seen = likelihood._replace(y=likelihood.y.repeat(samples, 1), precision=likelihood.precision.repeat(samples, 1))
    guided = MomentMatching().guide(rows, seen)
    draws = RungeKutta(8)(guided, EDM(), torch.randn_like(rows.center)).view(samples, *prior.center.shape)
    variance = posterior.covariance.diagonal(dim1=-2, dim2=-1)
    z = (draws.mean(dim=0) - posterior.center) / (variance / samples).sqrt()
    assert float(z.abs().max()) < 4.5
    away = draws - draws.mean(dim=0)
    found = torch.einsum("sci,scj->cij", away, away) / (samples - 1)
    product = variance.unsqueeze(-1) * variance.unsqueeze(-2)
    error = (found - posterior.covariance) / ((product + posterior.covariance.square()) / samples).sqrt()
    assert float(error.abs().max()) < 4.5
    assert float(prior.covariance.diagonal(dim1=-2, dim2=-1).mean() / variance.mean()) > 1.5


def test_dps_draws_fit_better_than_the_prior_and_worse_without_strength(trajectories) -> None:
    prior, likelihood, _ = trajectories(4)
    noise = torch.randn_like(prior.center)
    weak, strong = (DPSGuidance(zeta).guide(prior, likelihood) for zeta in (0.1, 1.0))
    draws = [RungeKutta(8)(used, EDM(), noise) for used in (prior.mean, weak, strong)]
    none, some, more = (likelihood.residual(z).square().sum(dim=-1) for z in draws)
    assert (some < none).all()
    assert (more < some).all()


def test_conjugate_gradients_stop_row_by_row() -> None:
    """The rows need one, three and no iterations; a product more would be seen in the count."""
    root, b = torch.randn(3, 3), torch.randn(3, 3)
    matrices = torch.stack((2 * torch.eye(3), torch.eye(3) + root @ root.mT, torch.eye(3)))
    b[2] = 0
    used: list[Tensor] = []

    other = torch.randn(2, 4, 3)

    def product(v: Tensor) -> tuple[Tensor, Tensor]:
        used.append(v)
        return (matrices @ v.unsqueeze(-1)).squeeze(-1), torch.einsum("ijk,rk->rij", other, v)

    found, image = conjugate_gradients(product, b, iterations=10, tolerance=1e-10)
    torch.testing.assert_close(found, torch.linalg.solve(matrices, b))
    torch.testing.assert_close(image, torch.einsum("ijk,rk->rij", other, found))
    assert len(used) == 3
    alone, _ = conjugate_gradients(lambda v: (2 * v, v), b[:1], iterations=10, tolerance=1e-10)
    torch.testing.assert_close(alone, b[:1] / 2)


def test_covariances_that_are_none_do_not_spoil_a_solution() -> None:
    """Networks may have Jacobians with negative eigenvalues: directions in which they have are left alone."""
    b = torch.randn(4, 3)
    assert torch.equal(conjugate_gradients(lambda v: (-2 * v, v), b, iterations=20)[1], torch.zeros(4, 3))
    skew = torch.randn(3, 3)
    assert conjugate_gradients(lambda v: (v @ skew, v), b, iterations=20)[0].isfinite().all()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SDAGuidance, {"gamma": -1.0}, "gamma: must not be negative, not -1.0"),
        (DPSGuidance, {"zeta": 0.0}, "zeta: must be positive, not 0.0"),
        (MomentMatching, {"iterations": 0}, "iterations: at least one is needed, not 0"),
        (MomentMatching, {"tolerance": -0.1}, "tolerance: must not be negative, not -0.1"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
