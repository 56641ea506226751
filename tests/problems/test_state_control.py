"""The control in coordinates of the trajectory, against the one of model errors."""

from dataclasses import replace

import pytest
import torch

from posterity.problems import (
    Control,
    Identity,
    Observation,
    Problem,
    Quadratic,
    RandomMask,
    StateControl,
    Uniform,
    Window,
)
from posterity.systems import Lorenz96, StochasticFitzHughNagumo

PROBLEM = Problem(
    Lorenz96(size=4, dt=0.1, spinup=1.0),
    Observation(Quadratic((1, 4)), std=(2.0, 4.0), masks=(RandomMask(0.6),)),
    window=5,
    forecast=2,
    background_std=(0.6, 1.2),
    model_error=0.3,
    parameters={"forcing": Uniform(6.0, 10.0)},
)


@pytest.fixture
def controls():
    window = PROBLEM.sample((3,)).window
    return Control(PROBLEM, window), StateControl(PROBLEM, window)


def test_both_controls_stand_for_the_same(controls):
    """A draw of one has the same cost, trajectory and parameters in the other."""
    errors, states = controls
    u = errors.prior(10)
    x, theta = errors.decode(u)
    z = states.encode(x, theta)
    torch.testing.assert_close(states.whiten(z), u)
    torch.testing.assert_close(states.cost(z), errors.cost(u))
    torch.testing.assert_close(states.cost(z, 3), errors.cost(u, 3))
    torch.testing.assert_close(states.log_prob(z), errors.log_prob(u))
    decoded = states.decode(z)
    torch.testing.assert_close(decoded[0][:, :, :5], x[:, :, :5])
    torch.testing.assert_close(decoded[1], theta)
    zero = torch.zeros(3, states.size)
    torch.testing.assert_close(states.trajectory(zero, 5), errors.trajectory(zero, 5))


def test_the_map_between_them_has_determinant_one(controls):
    """So that densities over one are densities over the other."""
    _, states = controls
    z = states.prior(1)[0]
    jacobian = torch.autograd.functional.jacobian(lambda z: states.whiten(z).sum(dim=0), z).movedim(1, 0)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], torch.zeros(3), rtol=0, atol=1e-10)


def test_draws_of_the_prior_are_white_in_errors(controls):
    _, states = controls
    samples = 2000
    white = states.whiten(states.prior(samples))
    total = white.square().sum(dim=(0, 1))
    assert ((total - 3 * samples).abs() < 4 * (2 * 3 * samples) ** 0.5).all()


def test_forecasts_go_on_with_errors_of_their_own(controls):
    errors, states = controls
    z = states.encode(*errors.decode(errors.prior(1))).expand(3000, 3, -1)
    x, theta = states.decode(z)
    mean = PROBLEM.system_at(theta).step(x[:, :, 4])
    deviation = (x[:, :, 5] - mean) / 0.3
    assert abs(float(deviation.square().sum()) - deviation.numel()) < 4 * (2 * deviation.numel()) ** 0.5


@pytest.mark.parametrize("states", [2, 5])
def test_linearisations_agree_with_autograd(controls, states):
    """Cost and gradient; and the Hessian where residuals vanish, up to what second derivatives are left."""
    _, control = controls
    z = control.prior(2)
    model = control.linearize(z, states)
    with torch.enable_grad():
        z.requires_grad_()
        cost = control.cost(z, states)
        (gradient,) = torch.autograd.grad(cost.sum(), z)
    torch.testing.assert_close(model.cost, cost.detach())
    torch.testing.assert_close(model.gradient, gradient)


def test_hessians_are_those_of_gauss_and_newton():
    """Observed as it is, and without an error of the model, the states' terms leave no second derivative."""
    problem = Problem(Lorenz96(size=4, dt=0.1, spinup=1.0), Observation(Identity((1, 4))), window=4, model_error=0.3)
    control = StateControl(problem, problem.sample((2,)).window)
    z = torch.zeros(2, control.size)
    assert torch.equal(control.whiten(z), z)
    hessian = torch.autograd.functional.hessian(lambda z: control.cost(z).sum(), z)
    exact = torch.stack([hessian[case, :, case] for case in range(2)])
    torch.testing.assert_close(control.linearize(z).dense(), exact)


def test_work_is_counted_and_selections_are_parts(controls):
    _, control = controls
    before = control.model_steps.clone()
    z = control.prior(2)
    steps = control.model_steps - before
    assert (steps == 2 * 6).all()
    control.cost(z)
    assert (control.model_steps - before - steps == 2 * 4).all()
    part = control.select(torch.tensor([2]))
    torch.testing.assert_close(part.cost(z[:, 2:]), control.cost(z)[:, 2:])


def test_single_precision_keeps_its_digits():
    """Errors of the model are small beside the states: what is lost of these must not be divided by those."""
    problem = replace(PROBLEM, model_error=1e-4, parameters={})
    x, theta, window = problem.sample((3,))
    x, theta, window = x.float(), theta.float(), Window(*(field.float() for field in window))
    exact = StateControl(problem, Window(*(field.double() for field in window)))
    single = StateControl(problem, window)
    z = single.encode(x, theta)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.double(), exact.encode(x.double(), theta.double()), rtol=1e-6, atol=1e-6)
    expected = exact.whiten(z.double())
    torch.testing.assert_close(single.whiten(z).double(), expected, rtol=1e-6, atol=1e-6)


def test_a_stochastic_system_has_no_density_of_its_next_state():
    observation = Observation(Identity((2,)), std=0.1)
    problem = Problem(StochasticFitzHughNagumo(substeps=1), observation, window=3, background_std=1.0)
    with pytest.raises(ValueError, match="density of the next state given this one, and nobody knows"):
        StateControl(problem, problem.sample((2,)).window)
