"""The linearised model: tangents, adjoints and matrices of one another, in every kind of control."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch

from posterity.baselines.variational.ensemble_fourdvar import PerturbedControl
from posterity.problems import Control, Normal, Observation, Operator, Problem, Quadratic, RandomMask, StateControl
from posterity.problems.chunks import CACHE
from posterity.problems.linearized.solvers import ConjugateGradients
from posterity.problems.minimize import levenberg_marquardt
from posterity.systems import Kolmogorov, Lorenz96, System, known

MASKS = (RandomMask(0.6),)
STRONG = Problem(Lorenz96(size=6, dt=0.1), Observation(Quadratic((1, 6)), (1.0, 2.0), MASKS), 4, background_std=0.7)


@dataclass(frozen=True, kw_only=True)
class Diffusion(System):
    """Two channels on a torus that diffuse, and feed on each other."""

    channels: ClassVar[tuple[str, ...]] = ("u", "v")
    rate: float = 0.3
    dt: float = 0.5
    shape: ClassVar[tuple[int, ...]] = (2, 3, 4)

    def initial(self, batch):
        return torch.randn(*batch, *self.shape)

    def step(self, x):
        spread = sum(x.roll(shift, axis) for axis in (-1, -2) for shift in (-1, 1)) - 4 * x
        return x + self.dt * (self.rate * spread / 4 + 0.2 * torch.tanh(x.flip(-3)))


#: A system of which derivatives need the states alone.
FLOW = Problem(
    Kolmogorov(size=(8, 6), wavenumber=2, reynolds=50.0, dt=0.1, substeps=2, spinup=0.5),
    Observation(Quadratic((2, 8, 6)), 0.2, MASKS),
    4,
    background_std=0.3,
    model_error=0.1,
    parameters={"drag": Normal(0.1, 0.02), "reynolds": Normal(50.0, 5.0)},
)


def perturbed(problem, window):
    size = Control(problem, window).size
    return PerturbedControl(problem, window, torch.randn(len(window.y), size))


CONTROLS = {
    "strong": (Control, STRONG),
    "weak": (Control, replace(STRONG, model_error=0.3)),
    "parameters": (Control, replace(STRONG, model_error=0.3, parameters={"forcing": Normal(8.0, 1.0)})),
    "perturbed": (perturbed, replace(STRONG, model_error=0.3, parameters={"forcing": Normal(8.0, 1.0)})),
    "states": (StateControl, replace(STRONG, model_error=0.3, parameters={"forcing": Normal(8.0, 1.0)})),
    "two dimensions": (
        Control,
        Problem(Diffusion(), Observation(Quadratic((2, 3, 4)), (0.5, 1.0), MASKS), 3, model_error=0.2),
    ),
    "flow": (perturbed, FLOW),
}


@pytest.fixture(params=CONTROLS.values(), ids=CONTROLS)
def control(request):
    kind, problem = request.param
    return kind(problem, problem.sample((3,)).window)


def test_the_tangent_is_that_of_finite_differences_and_the_adjoint_its_transpose(control):
    u = 0.3 * torch.randn(3, control.size)
    model = control.linearize(u)
    du, dy = torch.randn(5, 3, control.size), torch.randn(5, *model.residual.shape)
    change, back = model.tangent(du), model.adjoint(dy)
    torch.testing.assert_close((change * dy).sum(-1), (du * back).sum(-1), rtol=1e-10, atol=1e-10)
    step = 1e-6
    window = control.problem.window
    difference = (control.residual(u + step * du, window) - control.residual(u - step * du, window)) / (2 * step)
    torch.testing.assert_close(change, difference, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model.residual, control.residual(u, window))


@pytest.mark.parametrize("states", [1, 3])
def test_the_matrix_is_the_products_with_the_identity(control, states):
    model = control.linearize(0.3 * torch.randn(3, control.size), states)
    basis = torch.eye(control.size).unsqueeze(1).expand(-1, 3, -1)
    torch.testing.assert_close(model.hessian(basis).permute(1, 2, 0), model.dense(), rtol=1e-10, atol=1e-10)


def test_cost_and_gradient_are_those_of_the_matrices(control):
    u = 0.3 * torch.randn(2, 3, control.size)
    model, matrices = control.linearize(u), control.linearize(u).quadratic()
    torch.testing.assert_close(model.cost, matrices.cost)
    torch.testing.assert_close(model.gradient, matrices.gradient)
    one = model.adjoint(model.residual)
    torch.testing.assert_close(model.gradient, one + u if control.white else one)


def test_pieces_change_nothing(control, monkeypatch):
    """One case and direction at a time, or all at once: the same products and the same work."""
    u, du = 0.3 * torch.randn(2, 3, control.size), torch.randn(4, 2, 3, control.size)
    before = control.gradients.clone()
    whole = control.linearize(u)
    together = whole.hessian(du), whole.hessian(du[0]), whole.gradient, whole.residual
    work = control.gradients - before
    monkeypatch.setitem(CACHE, control.y.device.type, 1)
    cut = control.linearize(u)
    torch.testing.assert_close((cut.hessian(du), cut.hessian(du[0]), cut.gradient, cut.residual), together)
    assert torch.equal(control.gradients - before, 2 * work)


def test_a_selection_is_the_case_alone(control):
    model = control.linearize(0.3 * torch.randn(3, control.size))
    index = torch.tensor([2, 0])
    du = torch.randn(2, control.size)
    full = torch.zeros(3, control.size).index_copy(0, index, du)
    expected = model.hessian(full)[index]
    torch.testing.assert_close(model.select(index).hessian(du), expected)
    model.quadratic()
    torch.testing.assert_close(model.select(index).dense(), model.dense()[index])


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, 1e-11), (torch.float32, 1e-4)])
@pytest.mark.parametrize("parameters", [{}, {"forcing": Normal(8.0, 1.0)}], ids=["known", "unknown"])
def test_matrices_of_compiled_tangents_are_those_of_chained_steps(parameters, dtype, precision, monkeypatch):
    """Parameters are of each control, so a batch of their own; a chain takes no tangent but of torch's operations."""
    problem = replace(STRONG, parameters=parameters)
    window = problem.sample((3,)).window
    window = type(window)(*(value.to(dtype) for value in window))
    control = Control(problem, window)
    u = 0.3 * torch.randn(2, 3, control.size, dtype=dtype)
    found = [control.linearize(u, states).quadratic() for states in (1, 3, 4)]
    work = control.gradients.clone()
    monkeypatch.setattr("posterity.systems.equations.rollouts.compiled", lambda kind: None)
    expected = [control.linearize(u, states).quadratic() for states in (1, 3, 4)]
    assert torch.equal(control.gradients, 2 * work)
    for one, other in zip(found, expected, strict=True):
        for value, by_steps in zip(one[:3], other[:3], strict=True):
            assert value.dtype == by_steps.dtype
            torch.testing.assert_close(value, by_steps, rtol=precision, atol=precision * float(by_steps.abs().max()))


class Cube(torch.autograd.Function):
    """A function with an adjoint that can be differentiated, and no forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class Fused(torch.autograd.Function):
    """A rollout of x + dt sin x that keeps its states alone, with a tangent and an adjoint of its own."""

    @staticmethod
    def forward(ctx, x, dt, steps):
        states = [x]
        for _ in range(steps):
            states.append(states[-1] + dt * states[-1].sin())
        path = torch.stack(states, dim=-3)
        ctx.dt = dt
        ctx.save_for_backward(path)
        ctx.save_for_forward(path)
        return path

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (path,) = ctx.saved_tensors
        total = torch.zeros_like(grad.select(-3, 0))
        for t in reversed(range(path.shape[-3])):
            total = total * (1 + ctx.dt * path.select(-3, t).cos()) if t < path.shape[-3] - 1 else total
            total = total + grad.select(-3, t)
        return total, None, None

    @staticmethod
    def jvp(ctx, dx, *_):
        (path,) = ctx.saved_tensors
        moved = [dx]
        for t in range(path.shape[-3] - 1):
            moved.append(moved[-1] * (1 + ctx.dt * path.select(-3, t).cos()))
        return torch.stack(moved, dim=-3)


@dataclass(frozen=True, kw_only=True)
class Sine(System):
    """Independent sites, x + dt sin x, run by a fused rollout or step by step."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    dt: float = 0.2
    shape: ClassVar[tuple[int, ...]] = (1, 4)
    fused: bool = True
    runs: list[int] = field(default_factory=list)

    def initial(self, batch):
        return torch.randn(*batch, *self.shape)

    def step(self, x):
        return x + self.dt * x.sin()

    def rollout(self, x0, steps, error=None):
        if not self.fused:
            return super().rollout(x0, steps, error)
        self.runs.append(steps)
        return Fused.apply(x0, self.dt, steps)


class Forgetful(Kolmogorov):
    """The flow, run again for each derivative."""

    def retracer(self, device):
        return None


@pytest.mark.parametrize("states", [1, 3])
def test_along_the_states_that_are_kept_no_product_runs_the_model(monkeypatch, states):
    """One run at first, then none: not by the control's count, nor by the steps that are taken."""
    taken = []
    step = known.Fused.forward
    monkeypatch.setattr(known.Fused, "forward", staticmethod(lambda *args: taken.append(1) or step(*args)))
    window = FLOW.sample((2,)).window
    control = Control(FLOW, window)
    u, du = 0.3 * torch.randn(2, control.size), torch.randn(3, 2, control.size)
    model = control.linearize(u, states)
    taken.clear()
    dy = torch.randn(3, *model.residual.shape)
    assert len(taken) == states - 1
    assert control.model_steps.tolist() == [states - 1] * 2
    found = model.cost, model.gradient, model.tangent(du), model.adjoint(dy), model.hessian(du[0]), model.hessian(du)
    changes = model.states_tangent(du)
    assert len(taken) == states - 1
    assert control.model_steps.tolist() == [states - 1] * 2

    options = {name: getattr(FLOW.system, name) for name in ("size", "wavenumber", "dt", "substeps")}
    again = Control(replace(FLOW, system=Forgetful(**options)), window).linearize(u, states)
    expected = again.cost, again.gradient, again.tangent(du), again.adjoint(dy), again.hessian(du[0]), again.hessian(du)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(changes, again.states_tangent(du), rtol=1e-10, atol=1e-10)


def test_a_minimisation_runs_the_model_once_for_each_control_it_tries():
    problem = replace(FLOW, model_error=None, parameters={})
    control = Control(problem, problem.sample((1,)).window)
    found = levenberg_marquardt(control, control.zero(), increment=4, tolerance=1e-2, solver=ConjugateGradients())
    assert found.converged.all()
    assert control.model_steps.tolist() == [3 * (1 + int(found.iterations))]
    found.model.hessian(found.u)
    assert control.model_steps.tolist() == [3 * (1 + int(found.iterations))]


def test_fused_rollouts_have_their_own_tangents_and_adjoints():
    problem = Problem(Sine(), Observation(Quadratic((1, 4)), 0.5), 4)
    window = problem.sample((3,)).window
    u, du = torch.randn(3, 4), torch.randn(2, 3, 4)
    problem.system.runs.clear()
    fused = Control(problem, window).linearize(u).hessian(du)
    assert problem.system.runs
    loop = Control(replace(problem, system=Sine(fused=False)), window).linearize(u)
    torch.testing.assert_close(fused, loop.hessian(du), rtol=1e-12, atol=1e-12)


class Cubed(Operator):
    """Sees the cube of the states, by a function of several kinds."""

    def __init__(self, shape, through=Cube.apply):
        super().__init__(shape)
        self.through = through

    def __call__(self, x):
        return self.through(x)


def test_without_forward_mode_tangents_are_adjoints_of_adjoints():
    problem = replace(STRONG, observation=Observation(Cubed((1, 6)), 1.0))
    window = problem.sample((3,)).window
    u, du = 0.3 * torch.randn(3, 6), torch.randn(2, 3, 6)
    found = Control(problem, window).linearize(u).tangent(du)
    plain = replace(problem, observation=Observation(Cubed((1, 6), through=lambda x: x**3), 1.0))
    torch.testing.assert_close(found, Control(plain, window).linearize(u).tangent(du), rtol=1e-12, atol=1e-12)


class Once(Cube):
    """A function that knows its adjoint alone."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return Cube.backward(ctx, grad)


@pytest.mark.parametrize(
    ("through", "message"),
    [
        (Once.apply, "give its torch.autograd.Function a jvp"),
        (lambda x: torch.as_tensor(x.detach().cpu().numpy() ** 3).to(x), "passes no derivative on"),
    ],
)
def test_tangents_that_cannot_be_taken_are_refused_in_words(through, message):
    problem = replace(STRONG, observation=Observation(Cubed((1, 6), through=through), 1.0))
    model = Control(problem, problem.sample((3,)).window).linearize(torch.zeros(3, 6))
    with pytest.raises(ValueError, match=message):
        model.tangent(torch.ones(3, 6))


def test_a_diverging_case_spoils_no_other():
    control = Control(STRONG, STRONG.sample((3,)).window)
    u, du = 0.3 * torch.randn(3, 6), torch.randn(2, 3, 6)
    expected = control.linearize(u).hessian(du)
    u[1] = 1e6
    model = control.linearize(u)
    assert model.cost.isposinf().tolist() == [False, True, False]
    torch.testing.assert_close(model.hessian(du)[:, [0, 2]], expected[:, [0, 2]])


def test_in_single_precision_all_but_matrices_stays_single():
    window = STRONG.sample((3,)).window
    single = Control(STRONG, type(window)(*(value.float() for value in window)))
    model = single.linearize(single.zero())
    du = torch.ones(3, 6, dtype=torch.float32)
    assert {model.cost.dtype, model.gradient.dtype, model.tangent(du).dtype, model.hessian(du).dtype} == {torch.float32}
    assert model.dense().dtype == torch.float64
