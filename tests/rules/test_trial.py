"""The rules of systems and operators: what breaks one is named, what keeps them passes; lost gradients are found."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from posterity.problems import Composed, Identity, Observation, Operator, Problem, Quadratic, Uniform
from posterity.rules import check_rules, lost_gradients, obey
from posterity.systems import LinearAdvection, Lorenz63, System, TwoScaleLorenz96
from posterity.testing import Breaking


@dataclass(frozen=True, kw_only=True)
class Plug(LinearAdvection):
    """A user's system, with something wrong."""

    size: int = 4
    gain: float | Tensor = 0.9

    @classmethod
    def named(cls, **methods):
        return type("Plug", (cls,), methods)()


def problem(system: System, *operators: Operator, **options) -> Problem:
    return Problem(system, Observation(Composed(system.shape, operators)), window=2, **options)


@dataclass(frozen=True, kw_only=True)
class Plane(System):
    """A field on a plane, whose damping is one number or one of each case."""

    channels: ClassVar[tuple[str, ...]] = ("u", "v")
    damping: float | Tensor = 0.1
    dt: float = 1.0
    shape: ClassVar[tuple[int, ...]] = (2, 4, 6)

    def initial(self, batch: Sequence[int]) -> Tensor:
        return torch.randn(*batch, *self.shape)

    def step(self, x: Tensor) -> Tensor:
        damping = torch.as_tensor(self.damping)
        return (1 - damping.reshape(*damping.shape, 1, 1, 1)) * x.roll(1, -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "sound",
    [
        problem(Plane()),
        problem(Plane(), parameters={"damping": Uniform(0.0, 0.5)}, joint="climatology"),
        problem(LinearAdvection(size=4), Quadratic((1, 4)), parameters={"speed": Uniform(0.0, 2.0)}),
        problem(Lorenz63(spinup=0.1), joint="climatology", truth=Lorenz63(rho=30.0, spinup=0.1)),
        problem(TwoScaleLorenz96(size=4, fast=2, spinup=0.0)),
        problem(Breaking()),
        # 1e5 and a spread of one hundred: much of single precision goes into what is common to all.
        problem(Plug.named(initial=lambda self, b: 1e5 + 100 * torch.randn(*b, 1, 4), step=lambda s, x: x.roll(1, -1))),
        # A constant, which moves nowhere.
        problem(Plug.named(initial=lambda self, b: torch.full((*b, 1, 4), 5.0), step=lambda self, x: x.clone())),
    ],
)  # fmt: skip
def test_what_keeps_the_rules_passes(sound, dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert lost_gradients(sound, check_rules(sound)) == {}
    finally:
        torch.set_default_dtype(before)


def writes(self, x):
    x *= 0.9
    return x


def counts(self, x):
    self.calls.append(1)
    return x * len(self.calls)


@dataclass(frozen=True, kw_only=True)
class Counting(Plug):
    calls: list = field(default_factory=list)
    step = counts


GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (Plug.named(step=writes), "system: Plug: step writes into its argument"),
        (Plug.named(step=lambda self, x: x + torch.randn_like(x)), "step gives other values when it is called again"),
        (Counting(), "step gives other values when it is called again"),
        (Plug.named(step=lambda self, x: x[..., :2]), r"step has shape \(2, 3, 1, 2\) .*, not \(2, 3, 1, 4\)"),
        (Plug.named(step=lambda self, x: x.float()), "step has dtype torch.float32, not torch.float64"),
        (Plug.named(step=lambda self, x: x.numpy()), "step gives ndarray, not a tensor; .*BlackBox"),
        (Plug.named(step=lambda self, x: x - x.mean(0)), "step treats batch elements otherwise than alone"),
        (Plug.named(step=lambda self, x: x.flip(0) if x.ndim > 2 else x), "step treats batch elements otherwise"),
        (Plug.named(step=lambda self, x: x * torch.nan), "step has no finite value"),
        (Plug.named(step=lambda self, x: x @ torch.ones(3)), r"step raised RuntimeError: .*test_trial.py, line \d+\)"),
        (Plug.named(initial=lambda self, b: torch.randn(6, 1, 4)), r"initial has shape \(6, 1, 4\) for batch \(2, 3\)"),
        (
            Plug.named(initial=lambda self, batch: torch.as_tensor(GENERATOR.standard_normal((*batch, 1, 4)))),
            "initial draws other states from the same seed",
        ),
        (
            Plug.named(initial=lambda self, b: torch.as_tensor(np.random.default_rng(0).standard_normal((*b, 1, 4)))),
            "initial draws the same states from every seed",
        ),
        (Plug.named(channels=()), r"has channels \(\), and shape \(1, 4\) has 1"),
        (Breaking(inner=Plane(dt=0.0)), "dt, the time between two states, must be positive"),
        (Plug.named(lengths=(1.0, 2.0)), r"lengths \(1\.0, 2\.0\) must be one positive number for each of the 1 axes"),
        (Plug.named(lengths=(0.0,)), "must be one positive number"),
        (Plug.named(axes=2), "says that it has 2 axes, and its grid has 1; correct its attribute `axes`"),
        (Plug.named(shape=(1, 2, 2, 2)), "shape .* must be .channel, .grid., with a grid of at most two dimensions"),
    ],
)  # fmt: skip
def test_a_broken_rule_of_a_system_is_named(system, message):
    with pytest.raises(ValueError, match=message):
        check_rules(problem(system))


def test_a_system_that_is_no_dataclass_is_named():
    class Plain(System):
        channels = ("x",)
        shape = (1, 4)
        dt = 1.0
        initial = Plug.initial

        def step(self, x):
            return x

    with pytest.raises(ValueError, match="system: Plain: must be a frozen dataclass"):
        check_rules(problem(Plain()))


def test_parameters_that_do_not_broadcast_are_named():
    """Each state has its own: with as many cases as sites it would be silently wrong."""
    system = Plug.named(step=lambda self, x: self.gain * x)
    with pytest.raises(ValueError, match="step with parameters of each state"):
        check_rules(problem(system, parameters={"gain": Uniform(0.5, 0.9)}))


def test_the_truth_keeps_the_rules_too():
    with pytest.raises(ValueError, match="truth: Plug: step writes into its argument"):
        check_rules(problem(Plug(), joint="climatology", truth=Plug.named(step=writes)))


class Seen(Identity):
    """A user's operator, with something wrong."""

    @classmethod
    def named(cls, **methods):
        return type("Seen", (cls,), methods)((1, 4))


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Seen.named(out_shape=(1, 5)), r"operator: Seen: __call__ has shape \(2, 3, 1, 4\) .*, not \(2, 3, 1, 5\)"),
        (Seen.named(__call__=writes), "operator: Seen: __call__ writes into its argument"),
        (Seen.named(__call__=lambda self, x: x + torch.randn_like(x)), "gives other values when it is called again"),
        (Seen.named(__call__=lambda self, x: x.numpy() ** 2), "gives ndarray, not a tensor; .*BlackBoxOperator"),
    ],
)
def test_a_broken_rule_of_an_operator_is_named(operator, message):
    for operators in ([operator], [Identity((1, 4)), operator]):
        with pytest.raises(ValueError, match=message):
            check_rules(problem(Plug(), *operators))


def through_numpy(self, x):
    return torch.from_numpy(np.square(x.detach().numpy())).to(x)


def in_part(self, x):
    """One of four sites is computed outside torch."""
    return torch.cat((x[..., :3], torch.from_numpy(np.square(x[..., 3:].detach().numpy())).to(x)), dim=-1)


def not_finite(self, x):
    """The slope of a root at zero is infinite, of a constant times it NaN."""
    return x + 0 * (0 * x).abs().sqrt()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (through_numpy, "passes no gradient on"),
        (lambda self, x: torch.from_numpy(x.numpy() ** 2), "raised RuntimeError: Can't call numpy"),
        (in_part, r"has a gradient that is 0\.\d+ times that of finite differences"),
        (not_finite, "has a gradient that is not finite where the value is"),
    ],
)
def test_a_lost_gradient_is_found(function, message, dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        plugged = problem(Plug.named(step=function), Identity((1, 4)), Seen.named(__call__=function))
        found = lost_gradients(plugged, torch.randn(2, 3, 1, 4))
    finally:
        torch.set_default_dtype(before)
    assert set(found) == {"system", "operator"}
    for reason in found.values():
        assert re.search(message, reason), reason


def test_single_precision_within_a_step_is_no_lost_gradient():
    """As of an emulator whose weights are floats."""
    system = Plug.named(step=lambda self, x: torch.tanh(x.float() / sqrt(2)).to(x))
    assert lost_gradients(problem(system), torch.randn(2, 3, 1, 4)) == {}


def test_what_is_drawn_behind_a_trial_stays_the_same():
    """So that nobody has to seed again."""
    tried = problem(Plane(), parameters={"damping": Uniform(0.0, 0.5)}, joint="climatology")
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    obey(tried, {"vi": ("system", "operator")})
    assert torch.equal(torch.randn(4), expected)
