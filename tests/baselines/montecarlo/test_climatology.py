"""The climatology: draws of the joint, and its moments."""

from dataclasses import replace

import torch

from posterity.baselines import Climatology
from posterity.problems import Identity, Normal, Observation, Problem, Uniform
from posterity.problems.climatology import climatological_moments
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96, TwoScaleLorenz96

DRAWS = 4000


def problem(**options):
    return Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=3, forecast=2, **options)


def test_draws_have_the_covariance_of_the_joint():
    """The states start from unit variance, and the error of the background on top of it."""
    study = problem(background_std=(0.5, 0.5))
    drawn = Climatology(study).sample(study.sample((2,)).window, DRAWS)
    assert drawn.steps == range(5)
    step = study.system.transition()
    covariance = 1.25 * torch.eye(4)
    for t in drawn.steps:
        x = drawn.x[:, :, t].flatten(0, 1).flatten(1)
        variance = covariance.diagonal()
        error = ((covariance.square() + torch.outer(variance, variance)) / len(x)).sqrt()
        assert float(((x.mT @ x / len(x) - covariance) / error).abs().max()) < 4.5
        covariance = step @ covariance @ step.mT


def test_draws_are_blind():
    study = problem()
    window = study.sample((2,)).window
    torch.manual_seed(1)
    one = Climatology(study).sample(window, 5)
    torch.manual_seed(1)
    other = Climatology(study).sample(window._replace(y=window.y + 1, background=window.background + 1), 5)
    torch.testing.assert_close(one.x, other.x, rtol=0, atol=0)


def test_draws_are_of_the_assumed_system():
    truth = TwoScaleLorenz96(size=8, spinup=0.1)
    study = Problem(
        Lorenz96(size=8, dt=truth.dt, spinup=1.0),
        Observation(Identity((1, 8))),
        window=2,
        joint="climatology",
        truth=truth,
        parameters={"forcing": Uniform(6.0, 10.0)},
    )
    drawn = Climatology(study).sample(study.sample((3,)).window, 400)
    torch.testing.assert_close(drawn.x[:, :, 1], study.system_at(drawn.theta).step(drawn.x[:, :, 0]))
    assert drawn.theta.shape == (400, 3, 1)
    assert abs(float(drawn.theta.mean()) - 8) < 4 * (16 / 12 / 1200) ** 0.5


def test_moments():
    """Of states and whitened parameters together; under the strong link between them, their covariance too."""
    study = problem(parameters={"speed": Normal(1.0, 0.1)})
    mean, root = (field[0] for field in climatological_moments(study, torch.zeros(1), DRAWS))
    assert float(mean.abs().max()) < 4.5 / DRAWS**0.5
    error = ((1 + torch.eye(5)) / DRAWS).sqrt()
    assert float(((root.mT @ root - torch.eye(5)) / error).abs().max()) < 4.5
    study = Problem(
        Lorenz63(dt=0.05),
        Observation(Identity((3,))),
        window=1,
        joint="climatology",
        background_std=None,
        parameters={"rho": Normal(28.0, 4.0)},
    )
    root = climatological_moments(study, torch.zeros(1), DRAWS).root[0]
    covariance = root.mT @ root
    # The centre of the attractor is at rho - 1, so the third channel grows with it.
    assert float(covariance[2, 3]) > 1


def test_moments_of_fewer_draws_than_entries():
    root = climatological_moments(replace(problem(), window=1), torch.zeros(2), 3).root
    assert root.shape == (2, 3, 4)
    assert root.isfinite().all()


def test_draws_start_when_the_window_does():
    """The damped system has less variance later."""
    study = Problem(
        LinearAdvection(size=4, damping=0.5), Observation(Identity((1, 4))), window=1, joint="climatology",
        background_std=None, start=(0, 20),
    )  # fmt: skip
    window = study.sample((2,)).window._replace(start=torch.tensor([0.0, 20.0]))
    drawn = Climatology(study).sample(window, DRAWS).x[:, :, 0].flatten(2).var(dim=(0, 2))
    power = torch.linalg.matrix_power(study.system.transition(), 20)
    expected = torch.stack([torch.tensor(1.0), (power @ power.mT).diagonal().mean()])
    torch.testing.assert_close(drawn, expected, rtol=5 * (2 / (4 * DRAWS)) ** 0.5, atol=0)
