"""The two joints, and what a problem refuses."""

from dataclasses import replace

import pytest
import torch

from posterity.problems import GaussianStations, Identity, Observation, Problem, RandomMask
from posterity.systems import LinearAdvection, Lorenz96

PROBLEM = Problem(
    system=LinearAdvection(size=8),
    observation=Observation(GaussianStations((1, 8)), std=(0.5, 1.0), masks=(RandomMask(0.5),)),
    window=4,
    forecast=3,
    background_std=(0.5, 1.5),
)


def check_standard(z: torch.Tensor) -> None:
    """Independent draws of N(0, 1), by mean and variance, within 4 Monte Carlo errors."""
    assert abs(float(z.mean())) < 4 / z.numel() ** 0.5
    assert abs(float(z.var()) - 1) < 4 * (2 / z.numel()) ** 0.5


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """The correlation over all entries, in Monte Carlo errors of independent draws."""
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1]) * a.numel() ** 0.5


def test_shapes():
    x, theta, window = PROBLEM.sample((2, 3))
    assert x.shape == (2, 3, 7, 1, 8)
    assert theta.shape == (2, 3, 0)
    assert window.y.shape == window.std.shape == (2, 3, 4, 1, 2)
    assert window.background.shape == window.background_std.shape == (2, 3, 1, 8)
    assert window.start.shape == (2, 3)
    assert PROBLEM.steps == 7


def test_states_obey_the_system():
    x = PROBLEM.sample((5,)).x
    torch.testing.assert_close(x, PROBLEM.system.rollout(x[:, 0], 6))


def test_the_background_joint_draws_the_state_around_a_climatological_background():
    """Climatology is N(0, 1) here: u is independent of the background, and the state varies more than it."""
    x, _, window = PROBLEM.sample((4000,))
    u = (x[:, 0] - window.background) / window.background_std
    check_standard(u)
    check_standard(window.background)
    assert abs(correlation(u, window.background)) < 4
    assert correlation(u, x[:, 0]) > 40


def test_the_climatology_joint_draws_the_background_around_a_climatological_state():
    x, _, window = replace(PROBLEM, joint="climatology").sample((4000,))
    u = (window.background - x[:, 0]) / window.background_std
    check_standard(u)
    check_standard(x[:, 0])
    assert abs(correlation(u, x[:, 0])) < 4
    assert correlation(u, window.background) > 40


def test_the_background_std_is_drawn_from_its_interval():
    std = PROBLEM.sample((1000,)).window.background_std
    assert float(std.min()) >= 0.5
    assert float(std.max()) <= 1.5
    assert abs(float(std.mean()) - 1.0) < 4 / 12**0.5 / std.numel() ** 0.5


@pytest.mark.parametrize("joint", ["background", "climatology"])
def test_observations_are_noise_around_the_operator(joint):
    x, _, window = replace(PROBLEM, joint=joint).sample((2000,))
    z = (window.y - PROBLEM.observation.operator(x[:, :4])) / window.std
    check_standard(z[~z.isnan()])
    assert abs(float(z.isnan().double().mean()) - 0.5) < 4 * 0.5 / z.numel() ** 0.5


def test_a_climatology_may_come_without_a_background():
    problem = replace(PROBLEM, joint="climatology", background_std=None)
    window = problem.sample((3,)).window
    assert window.background.isnan().all()
    assert window.background_std.isnan().all()
    assert window.background.shape == (3, 1, 8)


def test_nothing_is_drawn_before_it_is_asked_for():
    before = torch.random.get_rng_state()
    Problem(Lorenz96(size=8), Observation(GaussianStations((1, 8))), window=3)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 0}, "window: at least one state"),
        ({"forecast": -1}, "forecast: must not be negative, not -1"),
        ({"background_std": (0.0, 1.0)}, "background_std: needs 0 < low <= high"),
        ({"background_std": None}, "background_std: the background joint needs one"),
        ({"joint": "climate"}, "joint: must be 'background' or 'climatology', not 'climate'"),
        ({"observation": Observation(Identity((1, 9)))}, r"observation: .*\(1, 9\).*\(1, 8\)"),
    ],
)
def test_bad_arguments_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        replace(PROBLEM, **change)


def test_windows_start_when_they_say_they_do() -> None:
    """Without noise in the dynamics, each first state is that of its ensemble, so many steps later."""
    system = LinearAdvection(size=5)
    observation = Observation(Identity((1, 5)))
    problem = Problem(system, observation, window=2, joint="climatology", background_std=None, start=(2, 9))
    torch.manual_seed(3)
    twin = problem.sample((400,))
    start = twin.window.start
    assert start.min() == 2
    assert start.max() == 9
    torch.manual_seed(3)
    torch.randn(400, 0)
    torch.randint(2, 10, (400,))
    x = system.rollout(system.initial((400,)), 9)
    torch.testing.assert_close(twin.x[:, 0], x[torch.arange(400), start.long()])


def test_a_start_before_the_ensemble_is_refused() -> None:
    system = LinearAdvection(size=5)
    for start in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="start: needs 0 <= first <= last"):
            Problem(system, Observation(Identity((1, 5))), window=2, start=start)
