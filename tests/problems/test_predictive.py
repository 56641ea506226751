"""Draws against observations: log-likelihoods, and the transform of new observations."""

import pytest
import torch
from scipy.stats import norm

from posterity.problems import (
    Ensemble,
    Identity,
    Observation,
    Problem,
    RandomMask,
    Twin,
    Uniform,
    log_likelihood,
    model_residual,
    predictive_pit,
    transition_gap,
)
from posterity.systems import LinearAdvection, Lorenz96, NaKL, Step, StochasticFitzHughNagumo


@pytest.fixture
def truth(device) -> tuple[Problem, Twin]:
    problem = Problem(
        LinearAdvection(size=6),
        Observation(Identity((1, 6)), std=(0.5, 1.0), masks=(RandomMask(0.5),)),
        window=4,
        forecast=2,
        background_std=(0.5, 1.5),
    )
    return problem, problem.sample((500,))


def test_of_the_truth_itself_the_transform_is_that_of_new_noise(truth) -> None:
    """Which is independent of the noise of the observations that there were."""
    problem, twin = truth
    draws = Ensemble(twin.x.expand(3, *twin.x.shape), twin.theta, range(problem.steps))
    u = predictive_pit(problem, twin, draws)[:, :4]
    seen = ~twin.window.y.isnan()
    assert torch.equal(~u.isnan(), seen)
    noise = ((twin.window.y - twin.x[:, :4]) / twin.window.std)[seen]
    new = torch.as_tensor(norm.ppf(u[seen].cpu()))
    count = len(new) ** 0.5
    assert abs(float(new.mean())) < 4 / count
    assert abs(float(new.square().mean()) - 1) < 4 * 2**0.5 / count
    assert abs(float((new * noise.cpu()).mean())) < 4 / count


def test_draws_that_leave_times_out_are_held_against_the_others(truth) -> None:
    problem, twin = truth
    u = predictive_pit(problem, twin, Ensemble(twin.x[None, :, 3:], twin.theta, range(3, problem.steps)))
    assert u.shape == (500, 3, 1, 6)
    assert torch.equal(~u[:, 0].isnan(), ~twin.window.y[:, 3].isnan())
    assert u[:, 1:].isnan().all()


def test_the_log_likelihood_is_that_of_each_draw_over_the_window(truth) -> None:
    problem, twin = truth
    window = twin.window
    draws = Ensemble(torch.stack((twin.x, twin.x + 0.5)), twin.theta, range(problem.steps))
    found = log_likelihood(problem, window, draws)
    density = torch.distributions.Normal(draws.x[:, :, :4], window.std).log_prob(window.y.nan_to_num())
    expected = torch.where(window.y.isnan(), 0, density).flatten(2).sum(dim=-1)
    torch.testing.assert_close(found, expected)
    assert log_likelihood(problem, window, draws._replace(x=draws.x[:, :, 3:], steps=range(3, 6))) is None


def test_trajectories_of_the_model_have_no_residual(device) -> None:
    """Each of its own parameter; and model errors are what is left."""
    system = Lorenz96(size=6, spinup=0.5)
    problem = Problem(system, Observation(Identity((1, 6))), window=4, parameters={"forcing": Uniform(6.0, 10.0)})
    twin = problem.sample((3,))
    theta = torch.stack((twin.theta, twin.theta + 1))
    x = torch.stack([problem.system_at(part).rollout(twin.x[:, 0], 3) for part in theta])
    found = model_residual(problem, twin.window, Ensemble(x, theta, range(4)))
    assert found[:, 0].isnan().all()
    torch.testing.assert_close(found[:, 1:], torch.zeros_like(found[:, 1:]), atol=1e-12, rtol=0)
    error = 0.3 * torch.randn_like(x[:, :, 1:])
    weak = torch.stack([problem.system_at(p).rollout(twin.x[:, 0], 3, e) for p, e in zip(theta, error, strict=True)])
    expected = error.square().flatten(3).mean(dim=(0, 3)).sqrt()
    torch.testing.assert_close(model_residual(problem, twin.window, Ensemble(weak, theta, range(4)))[:, 1:], expected)


def test_the_residual_of_a_driven_or_noisy_model(device) -> None:
    """At the time of each state; and of a stochastic one from a step without noise."""
    observation = Observation(Identity((4,)))
    driven = Problem(NaKL(stimulus=Step(begin=1.0, end=2.0), substeps=1), observation, window=3, start=(0, 4))
    twin = driven.sample((5,))
    draws = Ensemble(twin.x[None, :, 1:], twin.theta[None], range(1, 3))
    torch.testing.assert_close(model_residual(driven, twin.window, draws)[:, 1:], torch.zeros(5, 1), atol=1e-12, rtol=0)
    noisy = Problem(StochasticFitzHughNagumo(dt=0.02, substeps=2), Observation(Identity((2,))), window=3)
    twin = noisy.sample((5,))
    found = model_residual(noisy, twin.window, Ensemble(twin.x[None], twin.theta[None], range(3)))
    quiet = noisy.system.rollout(twin.x[:, :2], 1, torch.zeros(5, 2, 1, *noisy.system.noise_shape))[:, :, 1]
    torch.testing.assert_close(found[:, 1:], (twin.x[:, 1:] - quiet).square().mean(dim=-1).sqrt())


def test_the_log_density_of_transitions_is_that_of_the_model_error(device) -> None:
    """Less its mean: that of a trajectory with twice the error of the model is three halves of a nat per entry less."""
    system = Lorenz96(size=6, spinup=0.5)
    problem = Problem(system, Observation(Identity((1, 6))), window=4, model_error=0.3)
    twin = problem.sample((400,))
    theta = twin.theta.expand(2, 400, 0)
    error = 0.3 * torch.randn(400, 3, *problem.shape)
    x = torch.stack([system.rollout(twin.x[:, 0], 3, part) for part in (error, 2 * error)])
    found = transition_gap(problem, twin.window, Ensemble(x, theta, range(4)))
    density = torch.distributions.Normal(0.0, 0.3).log_prob(torch.stack((error, 2 * error))).flatten(2).sum(dim=-1)
    mean = -0.5 * 18 * torch.log(torch.tensor(2 * torch.pi * torch.e * 0.09))
    torch.testing.assert_close(found, density - mean)
    assert abs(float(found[0].mean())) < 4 * (18 / 2 / 400) ** 0.5
    assert transition_gap(problem, twin.window, Ensemble(x[:, :, 1:], theta, range(1, 4))) is None
    strong = Problem(system, Observation(Identity((1, 6))), window=4)
    assert transition_gap(strong, twin.window, Ensemble(x, theta, range(4))) is None
