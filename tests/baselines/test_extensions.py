"""Every method of the control, with model errors and with unknown parameters."""

from dataclasses import replace

import pytest
import torch

from posterity.baselines import (
    EnsembleFourDVar,
    FourDVar,
    HamiltonianMonteCarlo,
    ImportanceSampling,
    RejectionABC,
    SequentialMonteCarlo,
    VariationalInference,
)
from posterity.problems import Normal, RandomMask, exact_posterior
from posterity.testing import check_gaussian, linear_gaussian

STRONG = linear_gaussian(5, masks=(RandomMask(0.6),))
WEAK = replace(STRONG, model_error=0.4)
#: So narrow a prior that what the speed does is linear.
JOINT = replace(STRONG, model_error=0.1, parameters={"speed": Normal(1.0, 0.05)})

METHODS = {
    "4dvar": (FourDVar, {}),
    "ensemble 4dvar": (EnsembleFourDVar, {}),
    "vi": (VariationalInference, {}),
    "importance": (ImportanceSampling, {}),
    "smc": (SequentialMonteCarlo, {"particles": 400}),
    "hmc": (HamiltonianMonteCarlo, {"particles": 128, "iterations": 200, "warmup": 50, "chains": 8}),
}
each_method = pytest.mark.parametrize("name", METHODS)


@pytest.mark.slow
@each_method
def test_draws_follow_the_exact_weak_posterior(name):
    window = WEAK.sample((32,)).window
    kind, options = METHODS[name]
    draws = kind(WEAK, **options).sample(window, 400)
    exact = exact_posterior(WEAK, window)
    if name in ("smc", "hmc", "importance"):
        # Particles, iterations and resampled draws depend on each other: their errors are a little larger.
        std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        z = (draws.x.flatten(3).mean(dim=0) - exact.mean) / std
        assert float(z.square().mean()) < 2.0 / 400
        ratio = draws.x.flatten(3).var(dim=0) / std.square()
        assert abs(float(ratio.mean()) - 1) < 0.03
    else:
        check_gaussian(draws.x, exact)


@pytest.fixture(scope="module")
def joint(device):
    """Windows with an unknown speed, and their posterior by Monte Carlo."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        window = JOINT.sample((32,)).window
        return window, SequentialMonteCarlo(JOINT, particles=512).sample(window, 512)


@pytest.mark.slow
@each_method
def test_states_and_parameters_are_those_of_monte_carlo(name, joint):
    """Means and variances of the speed and of the last state, over all cases together, in Monte Carlo errors."""
    window, reference = joint
    kind, options = METHODS[name]
    draws = kind(JOINT, **options).sample(window, 400)
    assert draws.theta.shape == (400, 32, 1)
    last = JOINT.window - 1
    pairs = [(draws.theta, reference.theta), (draws.x[:, :, last].flatten(2), reference.x[:, :, last].flatten(2))]
    for ours, theirs in pairs:
        std = theirs.std(dim=0)
        z = (ours.mean(dim=0) - theirs.mean(dim=0)) / std
        assert float(z.square().mean()) < 2.5 * (1 / 400 + 1 / 512)
        assert abs(float(z.mean())) < 4 * (2 * (1 / 400 + 1 / 512) / 32) ** 0.5
        assert abs(float((ours.var(dim=0) / std.square()).mean()) - 1) < 0.08


@pytest.mark.slow
def test_the_speed_is_learned():
    """Its posterior is narrower than its prior, and holds the truth as often as it says."""
    problem = replace(JOINT, window=8, parameters={"speed": Normal(1.0, 0.2)})
    twin = problem.sample((256,))
    draws = VariationalInference(problem).sample(twin.window, 200)
    std = draws.theta.std(dim=0)
    assert float(std.mean()) < 0.75 * 0.2
    z = (draws.theta.mean(dim=0) - twin.theta) / std
    assert abs(float(z.square().mean()) - 1) < 4 * (2 / 256) ** 0.5


def test_abc_draws_parameters_with_their_states():
    problem = replace(JOINT, model_error=None)
    window = problem.sample((2,)).window
    draws = RejectionABC(problem, trials=2000, fraction=0.1).sample(window, 100)
    system = problem.system_at(draws.theta.unsqueeze(-2))
    torch.testing.assert_close(draws.x[:, :, 1:], system.step(draws.x[:, :, :-1]))
