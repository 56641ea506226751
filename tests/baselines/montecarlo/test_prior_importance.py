"""Direct posterior estimation: exact within Monte Carlo errors, and honest about its sample size."""

import pytest
import torch

from posterity.baselines import PriorImportanceSampling
from posterity.problems import Identity, Observation, Problem, exact_posterior
from posterity.systems import LinearAdvection


def test_the_posterior_is_exact_within_its_errors(make_problem) -> None:
    r"""With prior :math:`q = N(0, I)` and posterior :math:`p = N(m, C)`, :math:`p^2 / q` is a Gaussian too.

    So the variances of importance sampling are known: :math:`E_q[(p / q)^2 f^2] / N` for the mean of :math:`f`.
    """
    problem = make_problem(3, masks=(), std=(1.0, 2.0))
    window = problem.sample((20,)).window
    draws, samples = 20_000, 10_000
    posterior = PriorImportanceSampling(problem, draws).sample(window, samples)
    exact = exact_posterior(problem, window)
    mean, covariance = exact.mean[:, 0] - window.background.flatten(1), exact.covariance[:, 0]

    precision = torch.linalg.inv(covariance)
    tilted = torch.linalg.inv(2 * precision - torch.eye(3))
    shift = (tilted @ (2 * precision) @ mean.unsqueeze(-1)).squeeze(-1) - mean
    quadratic = 2 * torch.einsum("ci,cij,cj->c", mean, precision, mean)
    quadratic = quadratic - torch.einsum("ci,cij,cj->c", mean + shift, 2 * precision - torch.eye(3), mean + shift)
    ratio = torch.exp(-quadratic / 2) * torch.linalg.det(tilted).sqrt() / torch.linalg.det(covariance)
    effective = draws / ratio
    assert float(effective.min()) > 200
    assert float((posterior.info["ess"] / effective - 1).abs().max()) < 0.25

    # Resampling adds at most the variance of independent draws from the weighted ones.
    error = posterior.x[:, :, 0].flatten(2) - exact.mean[:, 0]
    v, s = covariance.diagonal(dim1=-2, dim2=-1), tilted.diagonal(dim1=-2, dim2=-1)
    square = shift**2 + s
    fourth = shift**4 + 6 * shift**2 * s + 3 * s**2 - 2 * v * square + v**2
    for statistic, weighted, drawn in (
        (error.mean(dim=0), square, v),
        (error.square().mean(dim=0) - v, fourth, 2 * v**2),
    ):
        z = statistic / (weighted / effective.unsqueeze(-1) + drawn / samples).sqrt()
        assert float(z.abs().max()) < 4.5
        assert abs(float(z.square().mean()) - 1) < 4 * (2 / 20) ** 0.5


def test_the_effective_sample_size_is_that_of_the_likelihood(make_problem) -> None:
    """Computed again from the densities of the observations, with the same draws of the prior."""
    problem = make_problem(3)
    twin = problem.sample((4,))
    window = twin.window
    torch.manual_seed(5)
    found = PriorImportanceSampling(problem, draws=5000).sample(window, 10)
    torch.manual_seed(5)
    x = window.background + window.background_std * torch.randn(5000, 4, 3).unflatten(-1, (1, 3))
    log_likelihood = torch.zeros(5000, 4)
    for t in range(4):
        density = torch.distributions.Normal(x, window.std[:, t]).log_prob(window.y[:, t].nan_to_num())
        log_likelihood += torch.where(window.y[:, t].isnan(), 0, density).flatten(2).sum(dim=-1)
        x = problem.system.step(x)
    weight = torch.softmax(log_likelihood, dim=0)
    torch.testing.assert_close(found.info["ess"], 1 / weight.square().sum(dim=0))
    assert found.x.shape == (10, 4, 6, 1, 3)


def test_without_observations_all_draws_count(make_problem) -> None:
    problem = make_problem(3)
    window = problem.sample((2,)).window
    found = PriorImportanceSampling(problem, draws=500).sample(
        window._replace(y=torch.full_like(window.y, torch.nan)), 5
    )
    torch.testing.assert_close(found.info["ess"], torch.full((2,), 500.0))


def test_at_least_one_draw_is_needed(make_problem) -> None:
    with pytest.raises(ValueError, match="draws: at least one is needed, not 0"):
        PriorImportanceSampling(make_problem(3), draws=0)


def test_without_a_background_the_ensemble_of_the_time_is_the_prior() -> None:
    """Linear: started from N(0, I), the prior at time t is N(0, A^t A^tT), and the posterior is known.

    Tolerances are Monte Carlo errors of the effective number of draws.
    """
    system = LinearAdvection(size=2, damping=0.3)
    observation = Observation(Identity((1, 2)), std=(1.0, 1.0))
    problem = Problem(system, observation, window=1, joint="climatology", background_std=None, start=(0, 6))
    twin = problem.sample((40,))
    found = PriorImportanceSampling(problem, draws=20_000).sample(twin.window, 2000)
    step = system.transition()
    for case in range(40):
        power = torch.linalg.matrix_power(step, int(twin.window.start[case]))
        covariance = torch.linalg.inv(torch.linalg.inv(power @ power.mT) + torch.eye(2))
        mean = covariance @ twin.window.y[case].flatten()
        x = found.x[:, case].flatten(1)
        size = 1 / (1 / found.info["ess"][case] + 1 / 2000)
        std = covariance.diagonal().sqrt()
        assert float(((x.mean(dim=0) - mean) / std).abs().max()) < 5 / float(size) ** 0.5
        assert float((x.std(dim=0) / std - 1).abs().max()) < 5 / float(2 * size) ** 0.5


def test_without_a_background_runs_may_be_in_single_precision() -> None:
    """Weights are computed in double precision in both."""
    torch.set_default_dtype(torch.float32)
    try:
        observation = Observation(Identity((1, 2)), std=(1.0, 1.0))
        system = LinearAdvection(size=2)
        problem = Problem(system, observation, 1, joint="climatology", background_std=None, start=(0, 3))
        found = PriorImportanceSampling(problem, draws=50).sample(problem.sample((4,)).window, 5)
    finally:
        torch.set_default_dtype(torch.float64)
    assert found.x.dtype == torch.float32
    assert (found.info["ess"] > 1).all()
