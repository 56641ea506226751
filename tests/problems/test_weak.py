"""Model errors and unknown parameters in the control."""

from dataclasses import replace

import pytest
import torch

from posterity.problems import (
    Control,
    GaussianStations,
    Identity,
    LogitNormal,
    LogNormal,
    Normal,
    Observation,
    Pointwise,
    Problem,
    Quadratic,
    RandomMask,
    Uniform,
    exact_posterior,
)
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96, TwoScaleLorenz96

MASKS = (RandomMask(0.6),)
RING = (1, 6)
STRONG = Problem(
    Lorenz96(size=6, dt=0.1), Observation(Quadratic(RING), (1.0, 2.0), MASKS), 4, 2, background_std=(0.5, 1.5)
)
WEAK = replace(STRONG, model_error=0.3)
JOINT = replace(STRONG, parameters={"forcing": Uniform(6.0, 10.0)})
CONVECTION = Problem(
    Lorenz63(dt=0.05),
    Observation(Pointwise((3,), "atan", 9.0), (0.1, 0.2), MASKS),
    4,
    2,
    background_std=(0.5, 1.0),
    model_error=(0.1, 0.2, 0.3),
    parameters={"rho": Normal(28.0, 2.0), "beta": LogNormal(2.7, 0.1)},
)
PROBLEMS = {"weak": WEAK, "joint": JOINT, "weak and joint": CONVECTION}
each_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@each_problem
def test_encode_is_the_inverse_of_decode(problem):
    control = Control(problem, problem.sample((5,)).window)
    u = torch.randn(3, 5, control.size)
    x, theta = control.decode(u)
    assert x.shape == (3, 5, problem.steps, *problem.shape)
    assert theta.shape == (3, 5, len(problem.parameters))
    torch.testing.assert_close(control.encode(x, theta), u)


@each_problem
def test_decoded_trajectories_obey_the_model(problem):
    """x_{t+1} - M(x_t; theta) is the scaled error inside the window, and has its statistics behind it."""
    control = Control(problem, problem.sample((5,)).window)
    u = torch.randn(2000, 5, control.size)
    x, theta = control.decode(u)
    system = problem.system_at(theta.unsqueeze(-2))
    error = x[:, :, 1:] - system.step(x[:, :, :-1])
    inside, behind = error[:, :, : problem.window - 1], error[:, :, problem.window - 1 :]
    expected = control.errors(u)
    torch.testing.assert_close(inside, torch.zeros_like(inside) if expected is None else expected)
    std = problem.error_std()
    ratio = torch.where(std > 0, behind.square().mean(dim=(0, 1, 2)) / std.square(), 1)
    count = behind[..., 0].numel() if behind.ndim == 4 else behind[..., 0, 0].numel()
    assert ((ratio - 1).abs() < 4 * (2 / count) ** 0.5 + 1e-12).all()
    assert problem.weak or behind.abs().max() < 1e-12


@each_problem
def test_twins_come_from_the_prior_of_the_control(problem):
    """The control of the truth is standard normal, under the background joint."""
    twin = problem.sample((4000,))
    u = Control(problem, twin.window).encode(twin.x, twin.theta)
    assert (u.mean(dim=0).abs() < 4.5 / 4000**0.5).all()
    assert ((u.square().mean(dim=0) - 1).abs() < 4.5 * (2 / 4000) ** 0.5).all()


@each_problem
def test_the_density_is_prior_times_likelihood(problem):
    window = problem.sample((5,)).window
    control = Control(problem, window)
    u = torch.randn(3, 5, control.size)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(dim=-1)
    x, _ = control.decode(u)
    likelihood = problem.observation.log_prob(window.y, x[:, :, : problem.window], window.std)
    torch.testing.assert_close(control.log_prob(u), prior + likelihood)


@each_problem
def test_the_gradient_is_that_of_finite_differences(problem):
    control = Control(problem, problem.sample((2,)).window)
    torch.autograd.gradcheck(control.cost, torch.randn(2, 2, control.size, requires_grad=True))


@each_problem
def test_the_linearisation_is_that_of_autograd(problem):
    window = problem.sample((2,)).window
    control = Control(problem, window)
    u = torch.randn(3, 2, control.size)
    for states in (1, 3, problem.window):
        cost, gradient, hessian, _ = control.linearize(u, states).quadratic()
        torch.testing.assert_close(cost, control.cost(u, states))
        leaf = u.clone().requires_grad_()
        (expected,) = torch.autograd.grad(control.cost(leaf, states).sum(), leaf)
        torch.testing.assert_close(gradient, expected)

        def residual(v, states=states):
            """The whitened misfits of one control of the first case."""
            x = control.trajectory(v.expand(1, 2, -1), states)[0, 0]
            seen = ~window.y[0, :states].isnan()
            return ((problem.observation.operator(x) - window.y[0, :states]) / window.std[0, :states])[seen]

        slope = torch.autograd.functional.jacobian(residual, u[0, 0])
        torch.testing.assert_close(hessian[0, 0], torch.eye(control.size) + slope.mT @ slope)


def test_no_model_error_is_the_strong_constraint():
    """Q = 0: the same states whatever the errors, and a cost that differs by their prior alone."""
    window = STRONG.sample((5,)).window
    strong, weak = Control(STRONG, window), Control(replace(STRONG, model_error=0.0), window)
    u = torch.randn(5, weak.size)
    torch.testing.assert_close(weak.decode(u)[0], strong.decode(u[:, : strong.size])[0])
    torch.testing.assert_close(weak.misfit(u), strong.misfit(u[:, : strong.size]))


def test_a_selection_keeps_its_cases():
    control = Control(CONVECTION, CONVECTION.sample((5,)).window)
    u = torch.randn(2, 5, control.size)
    index = torch.tensor([3, 0])
    part = control.select(index)
    torch.testing.assert_close(part.cost(u[:, index]), control.cost(u)[:, index])


def test_parameters_are_those_of_the_truth():
    """Trajectories of a twin are runs of the system with the drawn parameters."""
    twin = JOINT.sample((7,))
    assert twin.theta.shape == (7, 1)
    for case in range(7):
        system = replace(JOINT.system, forcing=float(twin.theta[case, 0]))
        torch.testing.assert_close(twin.x[case], system.rollout(twin.x[case, 0], JOINT.steps - 1))


@pytest.mark.parametrize("prior", [
    Uniform(-1.0, 3.0), Normal(2.0, 0.5), LogNormal(3.0, 0.4), LogitNormal(1.0, 2000.0, 0.2, 0.7),
], ids=repr)  # fmt: skip
def test_priors_are_the_images_of_a_standard_normal(prior):
    v = torch.linspace(-4, 4, 101)
    theta = prior.forward(v)
    assert (theta.diff() > 0).all()
    torch.testing.assert_close(prior.inverse(theta), v)
    reference = {
        "Uniform": torch.distributions.Uniform(-1.0, 3.0),
        "Normal": torch.distributions.Normal(2.0, 0.5),
        "LogNormal": torch.distributions.LogNormal(torch.tensor(3.0).log(), 0.4),
        "LogitNormal": torch.distributions.TransformedDistribution(
            torch.distributions.Normal(0.2, 0.7),
            [torch.distributions.SigmoidTransform(), torch.distributions.AffineTransform(1.0, 1999.0)],
        ),
    }[type(prior).__name__]
    torch.testing.assert_close(reference.cdf(theta), torch.special.ndtr(v))


def test_model_errors_are_given_for_all_for_channels_or_for_entries():
    assert (replace(STRONG, model_error=0.3).error_std() == 0.3).all()
    entries = replace(STRONG, model_error=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).error_std()
    torch.testing.assert_close(entries, torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]))
    assert CONVECTION.error_std().tolist() == pytest.approx([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="model_error: 2 numbers"):
        replace(STRONG, model_error=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"model_error: .* negative"):
        replace(STRONG, model_error=-0.1)


@pytest.mark.parametrize(("change", "message"), [
    ({"parameters": {"forcings": Normal(0.0, 1.0)}}, "no parameter 'forcings'; it has forcing"),
    ({"parameters": {"size": Normal(0.0, 1.0)}}, "no parameter 'size'"),
    ({"cycles": 0}, "cycles: at least one"),
    ({"cycles": 3}, r"forecast: not supported with cycles > 1 .*; set it to 0"),
    ({"truth": Lorenz96(size=6, dt=0.1)}, "truth: .* climatology"),
    ({"truth": Lorenz96(size=8, dt=0.1), "joint": "climatology"}, "truth: has states"),
    ({"truth": Lorenz96(size=6, dt=0.05), "joint": "climatology"}, "truth: has dt"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(STRONG, **change)


@pytest.mark.parametrize("make", [
    lambda: Uniform(1.0, 1.0), lambda: Normal(0.0, 0.0), lambda: LogNormal(-1.0, 1.0), lambda: LogNormal(1.0, 0.0),
    lambda: LogitNormal(2.0, 1.0), lambda: LogitNormal(0.0, 1.0, 0.0, 0.0),
], ids=["uniform", "normal", "median", "sigma", "interval", "logit"])  # fmt: skip
def test_priors_without_a_width_are_refused(make):
    with pytest.raises(ValueError, match=r"low|std|median|sigma"):
        make()


def test_every_cycle_draws_its_own_mask():
    problem = replace(STRONG, forecast=0, cycles=5)
    twin = problem.sample((3,))
    assert twin.x.shape == (3, 20, *RING)
    assert twin.window.y.shape == (3, 20, *RING)
    patterns = twin.window.y.isnan().unflatten(1, (5, 4))
    assert (patterns[:, 0] != patterns[:, 1]).any()
    assert problem.cycle().steps == 5
    with pytest.raises(ValueError, match="cycles: a control is of one window; split the record"):
        Control(problem, twin.window)


def test_another_truth_is_seen_by_its_first_channel():
    truth = TwoScaleLorenz96(size=6, fast=4, dt=0.1, spinup=1.0)
    problem = replace(JOINT, truth=truth, joint="climatology")
    twin = problem.sample((4,))
    assert twin.x.shape == (4, problem.steps, *RING)
    assert twin.theta.isnan().all()
    miss = twin.x[:, 1:] - problem.system.step(twin.x[:, :-1])
    assert miss.abs().max() > 0.01


WEAK_LINEAR = Problem(
    LinearAdvection(size=5, speed=0.8, damping=0.1, diffusion=0.2),
    Observation(GaussianStations((1, 5)), std=(0.5, 1.0), masks=MASKS),
    window=4,
    forecast=2,
    background_std=(0.5, 1.5),
    model_error=[0.1, 0.2, 0.3, 0.4, 0.5],
)


def kalman(problem, window):
    """The Kalman filter and the Rauch–Tung–Striebel smoother, by the textbook, one case at a time."""
    a, q = problem.system.transition(), torch.diag(problem.error_std().flatten() ** 2)
    basis = torch.eye(len(a)).unflatten(-1, problem.shape)
    h = problem.observation.operator(basis).flatten(1).mT
    result = []
    for case in range(len(window.y)):
        mean, cov = window.background[case].flatten(), torch.diag(window.background_std[case].flatten() ** 2)
        forecast, analysis = [], []
        for t in range(problem.steps):
            if t:
                mean, cov = a @ mean, a @ cov @ a.mT + q
            forecast.append((mean, cov))
            if t < problem.window:
                seen = ~window.y[case, t].flatten().isnan()
                rows, noise = h[seen], torch.diag(window.std[case, t].flatten()[seen] ** 2)
                gain = cov @ rows.mT @ torch.linalg.inv(rows @ cov @ rows.mT + noise)
                mean = mean + gain @ (window.y[case, t].flatten()[seen] - rows @ mean)
                cov = cov - gain @ rows @ cov
            analysis.append((mean, cov))
        smooth = [analysis[-1]]
        for t in range(problem.steps - 2, -1, -1):
            gain = analysis[t][1] @ a.mT @ torch.linalg.inv(forecast[t + 1][1])
            mean = analysis[t][0] + gain @ (smooth[0][0] - forecast[t + 1][0])
            cov = analysis[t][1] + gain @ (smooth[0][1] - forecast[t + 1][1]) @ gain.mT
            smooth.insert(0, (mean, cov))
        result.append((torch.stack([m for m, _ in smooth]), torch.stack([c for _, c in smooth])))
    return torch.stack([m for m, _ in result]), torch.stack([c for _, c in result])


def test_the_exact_weak_posterior_is_that_of_the_kalman_smoother():
    window = WEAK_LINEAR.sample((4,)).window
    exact = exact_posterior(WEAK_LINEAR, window)
    mean, covariance = kalman(WEAK_LINEAR, window)
    torch.testing.assert_close(exact.mean, mean)
    torch.testing.assert_close(exact.covariance, covariance)


def test_the_exact_posterior_tends_to_the_strong_one():
    window = WEAK_LINEAR.sample((4,)).window
    weak = exact_posterior(replace(WEAK_LINEAR, model_error=1e-7), window)
    strong = exact_posterior(replace(WEAK_LINEAR, model_error=None), window)
    torch.testing.assert_close(weak.mean, strong.mean)
    torch.testing.assert_close(weak.covariance, strong.covariance)


def test_the_exact_posterior_draws_from_itself():
    exact = exact_posterior(WEAK_LINEAR, WEAK_LINEAR.sample((2,)).window)
    x = exact.sample(20_000)
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert (((x.mean(dim=0) - exact.mean) / std).abs() < 4.5 / 20_000**0.5).all()
    assert ((x.var(dim=0) / std.square() - 1).abs() < 4.5 * (2 / 20_000) ** 0.5).all()


@pytest.mark.parametrize("change", [
    {"parameters": {"speed": Normal(1.0, 0.1)}}, {"cycles": 2, "forecast": 0},
], ids=["parameters", "cycles"])  # fmt: skip
def test_what_has_no_exact_posterior_is_refused(change):
    problem = replace(WEAK_LINEAR, **change)
    with pytest.raises(TypeError, match="the exact posterior"):
        exact_posterior(problem, problem.sample((2,)).window)


def test_errors_of_a_weak_control_count_from_its_own_window():
    """One state has no step, hence no error."""
    problem = Problem(Lorenz96(size=6), Observation(Identity(RING)), window=1, model_error=0.1)
    control = Control(problem, problem.sample((2,)).window)
    assert control.size == 6
    x, _ = control.decode(torch.zeros(2, 6))
    assert x.shape == (2, 1, *RING)
