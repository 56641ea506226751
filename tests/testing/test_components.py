"""The checks of systems and operators pass what is sound, and name what is not."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from posterity.problems import GaussianStations, Identity, Quadratic
from posterity.systems import LinearAdvection, Lorenz63, System, TwoScaleLorenz96
from posterity.testing import Breaking, ExplodingSystem, check_operator, check_system


@pytest.mark.parametrize(
    "system",
    [ExplodingSystem(), Breaking(threshold=10.0), TwoScaleLorenz96(size=4, fast=4, spinup=0.0)],
    ids=lambda system: type(system).__name__,
)
def test_sound_systems_pass_in_any_precision(system):
    torch.set_default_dtype(torch.float32)
    try:
        check_system(system)
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_default_dtype(torch.float64)


def test_checks_leave_the_generator_alone():
    before = torch.random.get_rng_state()
    check_system(Lorenz63(spinup=0.1))
    check_operator(Quadratic((1, 4)))
    assert torch.equal(before, torch.random.get_rng_state())


@dataclass(kw_only=True)
class Thawed(System):
    """A system whose fields can be set."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    dt: float = 1.0
    shape: ClassVar[tuple[int, ...]] = (1, 4)

    def initial(self, batch):
        return torch.randn(*batch, 1, 4)

    def step(self, x):
        return x


@dataclass(frozen=True, kw_only=True)
class Wrong(LinearAdvection):
    """Advection with something wrong."""

    size: int = 4

    @classmethod
    def named(cls, **methods):
        """One with other methods or attributes."""
        return type("Wrong", (cls,), methods)()


def writes(self, x):
    return x.mul_(0.5)


def mixes(self, x):
    return x - x.flatten(0, -3).mean(dim=0) if x.ndim > 2 else x


def detached(self, x):
    return 2 * x.detach() + 0 * x


def squeezed(self, x):
    return x[..., :2]


def double(self, x):
    return x.double()


def overflows(self, x):
    return x * 1e200


def one_for_all(self, x):
    return x * torch.as_tensor(self.speed).mean()


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (Thawed(), "Thawed: must be a frozen dataclass"),
        (Wrong.named(channels=("x", "y")), "has channels"),
        (
            Wrong.named(initial=lambda self, batch: torch.randn(3, 1, 4)),
            r"initial has shape \(3, 1, 4\) for batch \(\)",
        ),
        (Wrong.named(initial=lambda self, batch: torch.randn(*batch, 1, 4).float()), "initial has dtype torch.float32"),
        (Wrong.named(step=squeezed), r"step has shape \(1, 2\)"),
        (Wrong.named(step=writes), "step writes into its argument"),
        (Wrong.named(step=mixes), "step treats batch elements otherwise than alone"),
        (Wrong.named(step=detached), "step has not the derivatives of finite differences"),
        (Wrong.named(step=double), "step has dtype torch.float64, not torch.float32"),
        (Wrong.named(step=overflows), "state 2 from the start of the ensemble is not finite"),
        (Wrong.named(step=one_for_all), "parameter 'speed' with a value for each case"),
    ],
)
def test_what_is_wrong_with_a_system_is_named(system, message):
    with pytest.raises(AssertionError, match=message):
        check_system(system)


def test_a_start_that_does_not_follow_the_seed_is_named():
    numbers = iter(range(100))
    system = Wrong.named(initial=lambda self, batch: torch.full((*batch, 1, 4), float(next(numbers))))
    with pytest.raises(AssertionError, match="initial draws other states from the same seed"):
        check_system(system)


class Operated(Identity):
    """The identity with something wrong."""

    @classmethod
    def named(cls, **methods):
        return type("Operated", (cls,), methods)((1, 4))


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Operated.named(out_shape=(2, 4)), r"has shape \(1, 4\) for batch \(\), not \(2, 4\)"),
        (Operated.named(__call__=writes), "writes into its argument"),
        (Operated.named(__call__=mixes), "treats batch elements otherwise than alone"),
        (Operated.named(__call__=detached), "has not the derivatives of finite differences"),
        (Operated.named(__call__=double), "has dtype torch.float64, not torch.float32"),
        (
            Operated.named(at_site=lambda self, values: [2 * value for value in values]),
            "something else than its at_site",
        ),
        (Operated.named(sites=torch.arange(3)), "names 3 sites for observations of 4"),
        (Operated.named(sites=torch.arange(1, 5)), "names sites that are not on the grid of 4"),
    ],
)
def test_what_is_wrong_with_an_operator_is_named(operator, message):
    with pytest.raises(AssertionError, match=message):
        check_operator(operator)


def test_an_adjoint_that_is_none_is_named():
    class Backward(torch.autograd.Function):
        """Twice the state, whose tangent is right where its adjoint is not."""

        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

        @staticmethod
        def jvp(ctx, tangent):
            return 3 * tangent

    with pytest.raises(AssertionError, match="tangent and adjoint are not transposes"):
        check_operator(Operated.named(__call__=lambda self, x: Backward.apply(x)))


def test_states_to_differentiate_at_may_be_given():
    class Root(GaussianStations):
        """Square roots, of which there are none below zero."""

        def __call__(self, x):
            return super().__call__(x.sqrt())

    with pytest.raises(AssertionError):
        check_operator(Root((1, 8)))
    check_operator(Root((1, 8)), x=1 + torch.rand(2, 1, 8))


def test_breaking_breaks_beyond_its_threshold_alone():
    system, x = Breaking(inner=LinearAdvection(size=3), threshold=0.5), torch.tensor([[[0.6, 0, 0]], [[0.4, 1, 1]]])
    following = system.step(x)
    assert following[0].isnan().all()
    assert torch.equal(following[1], system.inner.step(x[1]))
    assert replace(system, threshold=0.7).step(x).isfinite().all()
