"""Every system: order, derivatives, batches, spin-up, refusals."""

import sys
from dataclasses import replace
from functools import partial
from types import ModuleType

import pytest
import torch

from posterity.problems import Identity, Observation, Problem, Uniform
from posterity.systems import LinearAdvection, Lorenz63, Lorenz96, jacobian, parameter_names
from posterity.systems.integrators import rk4
from posterity.testing import check_system

SMALL = [
    Lorenz63(spinup=1.0),
    Lorenz96(size=6, spinup=1.0),
    Lorenz96(size=5, dt=0.1, substeps=2, spinup=1.0),
    LinearAdvection(size=5),
    LinearAdvection(size=6),
]
each_system = pytest.mark.parametrize("system", SMALL, ids=lambda s: f"{type(s).__name__}{s.shape[-1]}")


def slope(x, y):
    """The least-squares slope of log y over log x."""
    x, y = torch.tensor(x).log(), torch.tensor(y).log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def test_rk4_on_a_linear_equation_is_the_taylor_polynomial():
    x, a, dt = torch.tensor([1.0, -2.0]), -1.3, 0.7
    z = a * dt
    polynomial = 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
    torch.testing.assert_close(rk4(lambda x: a * x, x, dt), polynomial * x)


@pytest.mark.slow
@pytest.mark.parametrize("system", [Lorenz63(dt=0.4, spinup=5.0), Lorenz96(size=8, dt=0.4, spinup=5.0)])
def test_integrator_is_of_fourth_order(system):
    x = replace(system, dt=0.02).initial((16,))
    reference = replace(system, substeps=2048).step(x)
    substeps = [32, 64, 128, 256]
    errors = [float((replace(system, substeps=n).step(x) - reference).square().mean().sqrt()) for n in substeps]
    # The next term of the error shifts the slope by O(dt): 0.02 to 0.1 at these steps.
    assert -slope(substeps, errors) == pytest.approx(4.0, abs=0.15)


@pytest.mark.parametrize("system", [Lorenz63(spinup=1.0), Lorenz96(size=5, substeps=2, spinup=1.0)])
def test_substeps_refine_the_step_and_not_the_time(system):
    x = system.initial((4,))
    fine = replace(system, dt=system.dt / 5, substeps=system.substeps)
    torch.testing.assert_close(fine.rollout(x, 5)[:, -1], replace(system, substeps=5 * system.substeps).step(x))


@each_system
def test_shapes(system):
    for batch in ((), (3,), (2, 3)):
        x = system.initial(batch)
        assert x.shape == (*batch, *system.shape)
        assert system.step(x).shape == x.shape
        assert system.rollout(x, 4).shape == (*batch, 5, *system.shape)
        assert system.rollout(x, 0).shape == (*batch, 1, *system.shape)


@each_system
def test_what_is_taken_for_granted(system):
    """Channels, shapes and batches; steps that write nothing in place, and have derivatives."""
    check_system(system)


@each_system
def test_batched_is_looped(system):
    x = system.initial((2, 3))
    together = system.rollout(x, 5)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(together[i, j], system.rollout(x[i, j], 5))


@each_system
def test_the_jacobian_of_a_step_is_autograd_s(system):
    x = system.initial((2, 2))
    following, matrix = jacobian(system.step, x, len(system.shape))
    n = matrix.shape[-1]
    torch.testing.assert_close(following, system.step(x))
    assert matrix.shape == (2, 2, n, n)
    for i in range(2):
        for j in range(2):
            expected = torch.autograd.functional.jacobian(system.step, x[i, j]).reshape(n, n)
            torch.testing.assert_close(matrix[i, j], expected)


@each_system
def test_the_jacobian_of_a_step_works_without_gradients(system):
    x = system.initial((2,))
    with torch.no_grad():
        following, matrix = jacobian(system.step, x, len(system.shape))
    assert not following.requires_grad
    assert not matrix.requires_grad
    torch.testing.assert_close(matrix, jacobian(system.step, x, len(system.shape))[1])


def test_jacobian_of_a_function_between_shapes():
    weight = torch.randn(2, 7, 3, 4)

    def f(x):
        return torch.einsum("abij,...ij->...ab", weight, x.sin())

    x = torch.randn(5, 3, 4)
    value, matrix = jacobian(f, x, event=2, output=2)
    torch.testing.assert_close(value, f(x))
    assert matrix.shape == (5, 14, 12)
    for i in range(5):
        torch.testing.assert_close(matrix[i], torch.autograd.functional.jacobian(f, x[i]).reshape(14, 12))


def test_jacobian_of_a_function_with_fewer_outputs_dimensions():
    x = torch.randn(5, 3, 4)
    value, matrix = jacobian(lambda x: x.square().sum(dim=-1), x, event=2, output=1)
    assert value.shape == (5, 3)
    assert matrix.shape == (5, 3, 12)
    expected = torch.einsum("ij,bjk->bijk", torch.eye(3), 2 * x).reshape(5, 3, 12)
    torch.testing.assert_close(matrix, expected)


@each_system
def test_rollout_adds_the_error_after_each_step(system):
    x0 = system.initial((3,))
    error = 0.1 * torch.randn(3, 4, *system.shape)
    x = system.rollout(x0, 4, error)
    torch.testing.assert_close(x[:, 0], x0)
    for t in range(4):
        torch.testing.assert_close(x[:, t + 1], system.step(x[:, t]) + error[:, t])


@each_system
def test_rollout_without_error_is_rollout_with_none(system):
    x0 = system.initial((3,))
    torch.testing.assert_close(system.rollout(x0, 4), system.rollout(x0, 4, torch.zeros(3, 4, *system.shape)))


@pytest.mark.parametrize(
    ("system", "parameters"),
    [
        (partial(Lorenz63, spinup=1.0), {"sigma": (9.0, 11.0), "rho": (26.0, 30.0), "beta": (2.4, 2.9)}),
        (partial(Lorenz96, size=6, spinup=1.0), {"forcing": (4.0, 10.0)}),
        (partial(LinearAdvection, size=6), {"speed": (0.0, 2.0), "damping": (0.0, 0.1), "diffusion": (0.0, 0.3)}),
    ],
    ids=["Lorenz63", "Lorenz96", "LinearAdvection"],
)
def test_batched_parameters_are_looped_ones(system, parameters):
    values = {name: torch.linspace(low, high, 3) for name, (low, high) in parameters.items()}
    x0 = system().initial((2, 3))
    together = system(**values).rollout(x0, 5)
    assert system(**values).initial((2, 3)).shape == x0.shape
    for case in range(3):
        alone = system(**{name: float(value[case]) for name, value in values.items()})
        torch.testing.assert_close(together[:, case], alone.rollout(x0[:, case], 5))
    # One parameter may be batched on its own.
    for name, value in values.items():
        one = system(**{name: value}).rollout(x0, 5)
        torch.testing.assert_close(one[:, 1], system(**{name: float(value[1])}).rollout(x0[:, 1], 5))


@each_system
def test_advance_is_the_end_of_the_rollout(system):
    x = system.initial((3,))
    assert torch.equal(system.advance(x, 4), system.rollout(x, 4)[:, -1])
    assert torch.equal(system.advance(x, 0), x)


@each_system
def test_each_element_advances_by_its_own_number_of_steps(system):
    x = system.initial((2, 3))
    steps = torch.tensor([[0, 3, 1], [2, 5, 4]])
    end = system.advance_each(x, steps, 4)
    path = system.rollout(x, 4)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(end[i, j], path[i, j, min(int(steps[i, j]), 4)])


@pytest.mark.slow
@pytest.mark.parametrize("system", [Lorenz63(), Lorenz96(size=40)], ids=["Lorenz63", "Lorenz96"])
def test_spinup_reaches_the_attractor(system):
    """The mean after the spin-up is that of ten time units later, within 4 Monte Carlo errors."""
    x = system.initial((400,))
    later = system.advance(x, round(10 / system.dt))
    # Sites are alike on the ring; Lorenz-63's z is its only coordinate with a mean.
    early, late = (s.flatten(1).mean(dim=1) if s.ndim == 3 else s[:, 2] for s in (x, later))
    error = ((early.var() + late.var()) / 400).sqrt()
    assert abs(early.mean() - late.mean()) < 4 * error


@pytest.mark.parametrize(
    ("system", "arguments", "message"),
    [
        (Lorenz96, {"size": 3}, "size: Lorenz-96 needs at least 4 sites, not 3"),
        (Lorenz96, {"dt": 0.0}, "dt: .* must be positive, not 0"),
        (Lorenz96, {"substeps": 0}, "substeps: at least one"),
        (Lorenz96, {"spinup": -1.0}, "spinup: .* not be negative, not -1"),
        (Lorenz63, {"dt": -0.1}, "dt: .* must be positive, not -0.1"),
        (Lorenz63, {"substeps": 0}, "substeps: at least one"),
        (Lorenz63, {"spinup": -1.0}, "spinup: .* not be negative, not -1"),
        (LinearAdvection, {"size": 1}, "size: a ring needs at least 2 sites, not 1"),
        (LinearAdvection, {"dt": 0.0}, "dt: .* must be positive, not 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(system, arguments, message):
    with pytest.raises(ValueError, match=message):
        system(**arguments)


FUTURE = """
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Optional, Union

from posterity.systems import Lorenz63

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Slow(Lorenz63):
    scheme: ClassVar[str] = "rk4"
    steps: int = 3
    first: Tensor | float = 1.0
    second: Optional[Union[float, Tensor]] = None
    third: None | float | Tensor = None
    matrix: tuple[float, ...] = ()
"""


def test_parameters_are_found_however_their_types_are_written(monkeypatch):
    """As text, in any order, under Optional, and imported for type checkers alone."""
    module = ModuleType("future_system")
    monkeypatch.setitem(sys.modules, "future_system", module)
    exec(compile(FUTURE, "future_system", "exec"), module.__dict__)
    names = ("sigma", "rho", "beta", "first", "second", "third")
    assert parameter_names(module.Slow()) == names
    problem = Problem(module.Slow(), Observation(Identity((3,))), window=2, parameters={"first": Uniform(0.0, 1.0)})
    assert problem.system_at(torch.tensor([[0.5]])).first.tolist() == [0.5]


def test_an_annotation_that_cannot_be_read_is_named(monkeypatch):
    module = ModuleType("future_system")
    monkeypatch.setitem(sys.modules, "future_system", module)
    exec(compile(FUTURE.replace("steps: int", "steps: Missing"), "future_system", "exec"), module.__dict__)
    with pytest.raises(ValueError, match=r"annotations of Slow cannot be read .*'Missing' is not defined.* import"):
        parameter_names(module.Slow())
