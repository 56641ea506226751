"""Importance sampling: exact from exact proposals, corrected from wrong ones, and honest about its weights."""

from dataclasses import dataclass

import pytest
import torch
from torch.distributions import StudentT

from posterity.algebra import Gaussian, PrecisionFactor
from posterity.baselines import FourDVar, ImportanceSampling
from posterity.baselines.montecarlo.importance import student_t_noise
from posterity.baselines.montecarlo.proposals import Laplace, Proposal, Variational
from posterity.baselines.variational.markov import BlockTridiagonal
from posterity.baselines.variational.optimizers import NaturalGradient
from posterity.problems import Control, Observation, Problem, Quadratic, exact_posterior
from posterity.systems import LinearAdvection
from posterity.testing import check_gaussian, check_isolated, linear_gaussian, log_evidence


@dataclass(frozen=True)
class Off(Proposal):
    """The exact Gaussian, shifted and widened."""

    shift: float = 0.3
    width: float = 1.2

    def fit(self, control: Control) -> Gaussian:
        exact = Laplace().fit(control)
        mean = exact.mean + self.shift * exact.transport(torch.ones(1, *exact.mean.shape))[0]
        return Gaussian(mean, PrecisionFactor(exact.factor.lower / self.width))


@pytest.fixture(scope="module")
def small():
    """Four sites, 32 cases, of which the last two see nothing."""
    problem = linear_gaussian(4, window=3, background_std=(1.0, 1.0))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        window = problem.sample((32,)).window
    window.y[-2:] = torch.nan
    return problem, window


@pytest.mark.parametrize(
    "proposal", [Laplace(), Variational(optimizer=NaturalGradient(iterations=2))], ids=["Laplace", "VI"]
)
def test_an_exact_proposal_has_equal_weights(linear, proposal):
    posterior = ImportanceSampling(linear.problem, proposal, draws=200).sample(linear.window, 200)
    assert posterior.x.shape == (200, 32, 15, 1, 16)
    torch.testing.assert_close(posterior.info["ess"], torch.full((32,), 200.0))
    assert (posterior.info["k_hat"] == 0).all()
    torch.testing.assert_close(posterior.info["log_evidence"], log_evidence(linear.problem, linear.window))
    check_gaussian(posterior.x, linear.exact)


@pytest.mark.parametrize("degrees", [float("inf"), 5.0], ids=["Gaussian", "Student-t"])
def test_weights_correct_a_wrong_proposal(small, degrees):
    """As many draws as to make those that are resampled nearly all different, and so nearly independent."""
    problem, window = small
    posterior = ImportanceSampling(problem, Off(), draws=8000, degrees=degrees).sample(window, 100)
    check_gaussian(posterior.x, exact_posterior(problem, window))
    assert (posterior.info["k_hat"] < 0.5).all()
    assert ((posterior.info["ess"] > 2000) & (posterior.info["ess"] < 8000)).all()
    ratio = (posterior.info["log_evidence"] - log_evidence(problem, window)).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 32**0.5


def test_a_proposal_in_other_coordinates_is_exact():
    """The block-tridiagonal Gaussian over the trajectory, under the weak constraint."""
    problem = linear_gaussian(4, window=4, forecast=1, background_std=(1.0, 1.0), model_error=0.4)
    window = problem.sample((32,)).window
    proposal = Variational(BlockTridiagonal(), NaturalGradient(iterations=2))
    posterior = ImportanceSampling(problem, proposal, draws=200).sample(window, 200)
    torch.testing.assert_close(posterior.info["ess"], torch.full((32,), 200.0))
    check_gaussian(posterior.x, exact_posterior(problem, window))


def test_a_proposal_that_is_too_narrow_is_told(small):
    problem, window = small
    narrow = ImportanceSampling(problem, Off(shift=0.0, width=0.3), draws=2000).sample(window, 10)
    wide = ImportanceSampling(problem, Off(shift=0.0, width=1.5), draws=2000).sample(window, 10)
    assert (narrow.info["k_hat"] > 0.5).all()
    assert float(narrow.info["k_hat"].mean()) > 0.7
    assert (wide.info["k_hat"] < 0.3).all()
    assert (narrow.info["ess"] < wide.info["ess"]).all()


def test_it_corrects_the_laplace_approximation():
    """The square of a site seen in one of its two modes: mean and evidence by quadrature, the mean of 4DVAR apart."""
    problem = Problem(LinearAdvection(size=2), Observation(Quadratic((1, 2)), std=(1.0, 1.0)), window=1)
    window = problem.sample((64,)).window
    window = window._replace(y=torch.full((64, 1, 1, 2), 1.0), background=2.0 + torch.rand(64, 1, 2))
    grid = torch.linspace(-6, 8, 4001)
    log_joint = -0.5 * (grid - window.background.squeeze(1).unsqueeze(-1)) ** 2 - 0.5 * (grid**2 - 1) ** 2
    mean = (torch.softmax(log_joint, dim=-1) * grid).sum(dim=-1)
    evidence = (log_joint.logsumexp(dim=-1) + torch.tensor(14 / 4000 / (2 * torch.pi)).log()).sum(dim=-1)

    def deviation(posterior):
        """The mean of all cases in its errors, which the scatter of the cases gives."""
        error = posterior.x[:, :, 0, 0].mean(dim=0) - mean
        return float(error.mean() / error.std()) * error.numel() ** 0.5

    posterior = ImportanceSampling(problem, degrees=5.0).sample(window, 500)
    assert abs(deviation(posterior)) < 4
    assert abs(deviation(FourDVar(problem).sample(window, 500))) > 8
    ratio = (posterior.info["log_evidence"] - evidence).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 64**0.5
    assert (posterior.info["k_hat"] < 0.7).all()


def test_a_case_that_diverges_spoils_no_other(square):
    posterior = ImportanceSampling(square.problem, draws=100).sample(square.spoilt, 8)
    assert posterior.info["failed"].tolist() == [0, 8, 0, 0]
    check_isolated(posterior, lost=[1])
    assert posterior.info["k_hat"][1] == torch.inf


def test_draws_that_diverge_have_no_weight(fragile):
    problem, window = fragile
    posterior = ImportanceSampling(problem, Off(shift=0.0, width=3.0), draws=400).sample(window, 50)
    assert not posterior.info["failed"].any()
    assert float(posterior.x[:, :, 0, 0, 0].max()) <= 1.0
    assert posterior.info["k_hat"].isfinite().all()


def test_student_noise_has_its_density():
    """One coordinate of it is a Student-t, as is its density; and many degrees of freedom give the normal one."""
    noise, log_prob = student_t_noise(torch.zeros(1, 1), 4000, 5.0)
    torch.testing.assert_close(log_prob, StudentT(5.0).log_prob(noise).squeeze(-1))
    several, _ = student_t_noise(torch.zeros(2, 3), 4000, 5.0)
    # E z² = ν / (ν − 2), with the variance of a Student-t's square, for each of the entries alike.
    assert abs(float(several.square().mean()) - 5 / 3) < 4 * float(several.square().mean(dim=-1).std()) / 8000**0.5
    torch.manual_seed(1)
    many, log_many = student_t_noise(torch.zeros(2, 3), 10, 1e8)
    torch.manual_seed(1)
    normal, log_normal = student_t_noise(torch.zeros(2, 3), 10)
    torch.testing.assert_close(many, normal, rtol=1e-3, atol=0)
    torch.testing.assert_close(log_many, log_normal, rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"draws": 24}, "draws: at least 25"), ({"degrees": 0.0}, "degrees: must be positive, not 0.0")],
)
def test_options_that_go_nowhere_are_refused(linear, options, message):
    with pytest.raises(ValueError, match=message):
        ImportanceSampling(linear.problem, **options)
    with pytest.raises(ValueError, match="iterations: at least one"):
        Laplace(iterations=0)
