"""The control: density, derivatives, batches, counts of work."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch

from posterity.problems import (
    Control,
    GaussianStations,
    Identity,
    Normal,
    Observation,
    Pointwise,
    Problem,
    Quadratic,
    RandomMask,
    Window,
)
from posterity.problems.chunks import CACHE
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96, System

MASKS = (RandomMask(0.6),)
RING = (1, 6)
PROBLEMS = {
    "linear": Problem(
        LinearAdvection(size=6), Observation(GaussianStations(RING), (0.5, 1.0), MASKS), 4, 2, background_std=(0.5, 1.5)
    ),
    "Lorenz-63": Problem(
        Lorenz63(dt=0.05), Observation(Pointwise((3,), "atan", 9.0), (0.1, 0.2), MASKS), 4, 2, background_std=(0.5, 1.0)
    ),
    "Lorenz-96": Problem(
        Lorenz96(size=6, dt=0.1), Observation(Quadratic(RING), (1.0, 2.0), MASKS), 4, 2, background_std=(0.5, 1.5)
    ),
}
each_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
LINEAR = PROBLEMS["linear"]


class ByRollout(Control):
    """A control without sweeps."""

    def swept(self, u, states, gradient):
        """None."""
        return


@each_problem
def test_the_control_of_nought_is_the_background(problem):
    window = problem.sample((5,)).window
    control = Control(problem, window)
    x, theta = control.decode(torch.zeros(5, control.size))
    assert theta.shape == (5, 0)
    torch.testing.assert_close(x, problem.system.rollout(window.background, problem.steps - 1))


@each_problem
def test_decode_scales_the_control_by_the_background_std(problem):
    window = problem.sample((5,)).window
    control = Control(problem, window)
    u = torch.randn(3, 5, control.size)
    x, _ = control.decode(u)
    assert x.shape == (3, 5, problem.steps, *problem.shape)
    x0 = window.background + window.background_std * u.unflatten(-1, problem.shape)
    torch.testing.assert_close(x, problem.system.rollout(x0, problem.steps - 1))


@each_problem
def test_the_density_is_prior_times_likelihood(problem):
    window = problem.sample((5,)).window
    control = Control(problem, window)
    u = torch.randn(3, 5, control.size)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(dim=-1)
    x, _ = control.decode(u)
    likelihood = problem.observation.log_prob(window.y, x[:, :, : problem.window], window.std)
    torch.testing.assert_close(control.log_prob(u), prior + likelihood)
    torch.testing.assert_close(control.cost(u), control.misfit(u) + 0.5 * u.square().sum(dim=-1))


@each_problem
def test_a_shorter_window_drops_the_later_terms(problem):
    window = problem.sample((5,)).window
    control = Control(problem, window)
    u = torch.randn(5, control.size)
    y = window.y.clone()
    y[:, 2:] = torch.nan
    cut = Control(problem, window._replace(y=y))
    torch.testing.assert_close(control.misfit(u, states=2), cut.misfit(u))
    for short, long in zip(
        control.linearize(u, states=2).quadratic()[:3], cut.linearize(u).quadratic()[:3], strict=True
    ):
        torch.testing.assert_close(short, long)


@each_problem
def test_gradients_are_right(problem):
    control = Control(problem, problem.sample((3,)).window)
    u = torch.randn(2, 3, control.size, requires_grad=True)
    assert torch.autograd.gradcheck(control.cost, (u,), fast_mode=True)
    cost, gradient = control.cost_and_gradient(u)
    torch.testing.assert_close(cost, control.cost(u.detach()))
    (expected,) = torch.autograd.grad(control.cost(u).sum(), u)
    torch.testing.assert_close(gradient, expected)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("members", [(), (5,), (2, 3)], ids=["one", "five", "two by three"])
def test_pieces_change_nothing(members, monkeypatch):
    """Each member by itself, or all at once: the same costs, gradients and work."""
    problem = PROBLEMS["Lorenz-96"]
    window = problem.sample((3,)).window
    whole, cut = Control(problem, window), Control(problem, window)
    u = torch.randn(*members, 3, whole.size)
    together = whole.cost_and_gradient(u)
    monkeypatch.setitem(CACHE, "cpu", 1)
    monkeypatch.setitem(CACHE, "cuda", 1)
    assert len(list(cut.chunks(6))) == 6
    apart = cut.cost_and_gradient(u)
    assert apart[0].shape == (*members, 3)
    assert apart[1].shape == u.shape
    torch.testing.assert_close(together, apart)
    assert torch.equal(whole.gradients, cut.gradients)
    assert torch.equal(whole.model_steps, cut.model_steps)


@pytest.mark.parametrize("options", [{}, {"model_error": 0.3}, {"parameters": {"forcing": Normal(8.0, 1.0)}}])
def test_one_sweep_there_and_back_is_a_rollout_and_its_adjoint(options, device):
    problem = replace(PROBLEMS["Lorenz-96"], **options)
    window = problem.sample((5,)).window
    one, two = Control(problem, window), ByRollout(problem, window)
    u = torch.randn(3, 5, one.size)
    assert (one.swept(u, 3, gradient=True) is None) == (device.type != "cpu")
    for states in (1, 3, 4):
        found, expected = one.cost_and_gradient(u, states), two.cost_and_gradient(u, states)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    # The first of them looked at three states more.
    assert torch.equal(one.model_steps, two.model_steps + 3 * 2 * (device.type == "cpu"))
    assert torch.equal(one.gradients, two.gradients)


@each_problem
def test_linearisation_has_the_cost_and_its_gradient(problem):
    control = Control(problem, problem.sample((3,)).window)
    u = torch.randn(2, 3, control.size)
    cost, gradient, hessian, _ = control.linearize(u).quadratic()
    exact = control.cost_and_gradient(u)
    torch.testing.assert_close(cost, exact[0])
    torch.testing.assert_close(gradient, exact[1])
    assert hessian.shape == (2, 3, control.size, control.size)
    torch.testing.assert_close(hessian, hessian.mT)
    assert float(torch.linalg.eigvalsh(hessian).min()) >= 1 - 1e-10


@each_problem
def test_the_model_of_the_cost_is_gauss_newton_s(problem):
    """I + GᵀG, with G the derivative of the standardised residuals, taken by brute force."""
    control = Control(problem, problem.sample((2,)).window)
    u = torch.randn(2, control.size)

    def residuals(u):
        x = control.trajectory(u, problem.window)
        return ((problem.observation.operator(x) - control.y) * control.precision).flatten(1).sum(dim=0)

    # Cases do not mix, so the derivative of the sum over cases holds each case's own in its own columns.
    G = torch.autograd.functional.jacobian(residuals, u).movedim(1, 0)
    expected = torch.eye(control.size) + G.mT @ G
    torch.testing.assert_close(control.linearize(u).dense(), expected)


def test_the_hessian_of_a_linear_problem_is_exact():
    control = Control(LINEAR, LINEAR.sample((3,)).window)
    u = torch.randn(3, control.size)
    exact = torch.autograd.functional.hessian(lambda u: control.cost(u).sum(), u)
    for i in range(3):
        torch.testing.assert_close(control.linearize(u).dense()[i], exact[i, :, i])


@each_problem
def test_batched_is_looped(problem):
    window = problem.sample((4,)).window
    control = Control(problem, window)
    u = torch.randn(3, 4, control.size)
    cost, (_, gradient, hessian, _), (x, _) = control.cost(u), control.linearize(u).quadratic(), control.decode(u)
    for case in range(4):
        alone = control.select(torch.tensor([case]))
        for member in range(3):
            one = u[member, case].unsqueeze(0)
            torch.testing.assert_close(cost[member, case], alone.cost(one)[0])
            torch.testing.assert_close(gradient[member, case], alone.linearize(one).gradient[0])
            torch.testing.assert_close(hessian[member, case], alone.linearize(one).dense()[0])
            torch.testing.assert_close(x[member, case], alone.decode(one)[0][0])


def test_select_takes_cases_and_absorb_gives_their_work_back():
    control = Control(LINEAR, LINEAR.sample((5,)).window)
    index = torch.tensor([3, 0])
    part = control.select(index)
    assert part.cases == 2
    u = torch.randn(5, control.size)
    torch.testing.assert_close(part.cost(u[index]), control.cost(u)[index])
    control.model_steps.zero_()
    part.gradients += 7
    control.absorb(part, index)
    assert control.model_steps.tolist() == [3, 0, 0, 3, 0]
    assert control.gradients.tolist() == [7, 0, 0, 7, 0]
    assert control.select(slice(1, 4)).cases == 3


@dataclass(frozen=True, kw_only=True)
class Counted(System):
    """A system that counts the states that it has advanced."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    inner: LinearAdvection = field(default_factory=lambda: LinearAdvection(size=6))
    dt: float = 0.5
    calls: list[int] = field(default_factory=list)

    @property
    def shape(self):
        return self.inner.shape

    def initial(self, batch):
        return self.inner.initial(batch)

    def step(self, x):
        self.calls.append(x[..., 0, 0].numel())
        return self.inner.step(x)


@pytest.mark.parametrize("members", [(), (3,), (2, 3)])
def test_work_is_counted_as_it_is_done(members):
    system = Counted()
    problem = replace(LINEAR, system=system)
    window = problem.sample((4,)).window
    u = torch.randn(*members, 4, 6)
    per_case = len(u.reshape(-1, 6)) // 4
    actions = {
        "cost": (lambda c: c.cost(u), 0),
        "cost of two states": (lambda c: c.cost(u, states=2), 0),
        "decode": (lambda c: c.decode(u), 0),
        "cost_and_gradient": (lambda c: c.cost_and_gradient(u), per_case),
        "linearize": (lambda c: c.linearize(u).dense(), 6 * per_case),
        "linearize two states": (lambda c: c.linearize(u, states=2).dense(), 6 * per_case),
        "linearize one state": (lambda c: c.linearize(u, states=1).dense(), 6 * per_case),
    }
    assert system.kept(torch.device("cpu")) > 0  # measured once, by a step that belongs to no case
    for name, (act, gradients) in actions.items():
        control = Control(problem, window)
        system.calls.clear()
        act(control)
        assert control.model_steps.tolist() == [sum(system.calls) / 4] * 4, name
        assert control.gradients.tolist() == [gradients] * 4, name


def test_prior_is_white():
    control = Control(LINEAR, LINEAR.sample((5,)).window)
    u = control.prior(2000)
    assert u.shape == (2000, 5, 6)
    assert abs(float(u.mean())) < 4 / u.numel() ** 0.5
    assert abs(float(u.var()) - 1) < 4 * (2 / u.numel()) ** 0.5


def test_divergence_is_an_infinite_cost_of_its_own_case():
    problem = PROBLEMS["Lorenz-96"]
    window = problem.sample((3,)).window
    control = Control(problem, window)
    u = torch.randn(2, 3, 6)
    spoilt = u.clone()
    spoilt[1, 1] = 1e6
    cost, (linear_cost, *_) = control.cost(spoilt), control.linearize(spoilt).quadratic()
    for value in (cost, linear_cost, -control.log_prob(spoilt)):
        assert value.isposinf().nonzero().tolist() == [[1, 1]]
    clean = u.new_ones(2, 3, dtype=torch.bool)
    clean[1, 1] = False
    torch.testing.assert_close(cost[clean], control.cost(u)[clean])
    torch.testing.assert_close(control.linearize(spoilt).dense()[clean], control.linearize(u).dense()[clean])
    gradient = control.cost_and_gradient(spoilt)[1]
    torch.testing.assert_close(gradient[clean], control.cost_and_gradient(u)[1][clean])
    assert gradient[1, 1].isnan().all()


def test_missing_observations_may_have_no_std():
    """A user's own file has NaN for both."""
    window = LINEAR.sample((5,)).window
    hole = window._replace(std=torch.where(window.y.isnan(), torch.nan, window.std))
    u = torch.randn(5, 6)
    whole, holey = Control(LINEAR, window), Control(LINEAR, hole)
    torch.testing.assert_close(holey.log_prob(u), whole.log_prob(u))
    for a, b in zip(holey.linearize(u).quadratic()[:3], whole.linearize(u).quadratic()[:3], strict=True):
        torch.testing.assert_close(a, b)


def test_a_missing_background_is_refused():
    problem = Problem(LinearAdvection(), Observation(Identity((1, 16))), 3, joint="climatology", background_std=None)
    with pytest.raises(ValueError, match=r"background: missing, .*; give the problem a background_std"):
        Control(problem, problem.sample((2,)).window)


def test_no_observation_leaves_the_prior():
    window = LINEAR.sample((5,)).window
    blind = Control(LINEAR, Window(torch.full_like(window.y, torch.nan), *window[1:]))
    u = torch.randn(5, 6)
    torch.testing.assert_close(blind.log_prob(u), torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(dim=-1))
    torch.testing.assert_close(blind.linearize(u).dense(), torch.eye(6).expand(5, 6, 6))
