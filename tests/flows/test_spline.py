"""Monotone splines: bijections of the line whose slope is known."""

import pytest
import torch
from zuko.transforms import MonotonicRQSTransform

from posterity.flows.spline import BOUND, spline


@pytest.fixture
def raw() -> torch.Tensor:
    return torch.randn(3 * 6 - 1, 400)


@pytest.fixture
def x() -> torch.Tensor:
    return 3 * torch.randn(400)


def test_zero_parameters_are_the_identity(x) -> None:
    value, log_slope = spline(x, torch.zeros(17, 400))
    torch.testing.assert_close(value, x)
    torch.testing.assert_close(log_slope, torch.zeros(400), atol=1e-12, rtol=0)


def test_it_is_that_of_zuko(x, raw) -> None:
    """With gradients: the parameters are the same numbers."""
    x, raw = (3 * x).requires_grad_(), (4 * raw).requires_grad_()
    theirs = MonotonicRQSTransform(*raw.mT.split((6, 6, 5), dim=-1)).call_and_ladj(x)
    ours = spline(x, raw)
    torch.testing.assert_close(ours, theirs)
    wanted, found = (torch.autograd.grad(value.sum() + slope.sin().sum(), (x, raw)) for value, slope in (theirs, ours))
    torch.testing.assert_close(found, wanted)


def test_the_inverse_undoes_it(x, raw) -> None:
    value, log_slope = spline(x, raw)
    assert not torch.allclose(value, x)
    back, again = spline(value, raw, inverse=True)
    torch.testing.assert_close(back, x, atol=1e-10, rtol=0)
    torch.testing.assert_close(again, log_slope, atol=1e-8, rtol=0)


def test_the_slope_is_that_of_autograd(x, raw) -> None:
    x.requires_grad_()
    value, log_slope = spline(x, raw)
    (slope,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(log_slope, slope.log())


def test_it_is_monotone_and_ends_where_the_tails_begin(raw) -> None:
    x = torch.linspace(-6, 6, 2001)
    value, _ = spline(x, raw[:, :1].expand(-1, 2001))
    assert (value.diff() > 0).all()
    outside = x.abs() >= BOUND
    assert torch.equal(value[outside], x[outside])
    # Steps across the ends are as small as those around them: there is no jump.
    assert float(value.diff().max()) < 0.5


def test_gradients_are_finite_even_outside(raw) -> None:
    x = torch.cat((torch.tensor([-1e6, -BOUND, BOUND, 1e6]), torch.randn(396)))
    raw.requires_grad_()
    for inverse in (False, True):
        value, log_slope = spline(x, raw, inverse)
        (gradient,) = torch.autograd.grad(value.sum() + log_slope.sum(), raw)
        assert gradient.isfinite().all()
        assert float(gradient.abs().max()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("inverse", [False, True])
def test_the_written_gradient_is_that_of_finite_differences(x, raw, inverse) -> None:
    """On either side of the knots, and beyond the ends."""
    x, raw = (2 * x[:60]).requires_grad_(), (2 * raw[:, :60]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, raw: spline(x, raw, inverse), (x, raw))


def test_it_computes_in_the_precision_of_its_values(x, raw) -> None:
    """Under bfloat16 networks give their numbers in that, and knots would collapse."""
    raw = raw.bfloat16().requires_grad_()
    value, log_slope = spline(x, raw)
    assert value.dtype == log_slope.dtype == x.dtype
    torch.testing.assert_close((value, log_slope), spline(x, raw.to(x)))
    value.sum().backward()
    assert raw.grad is not None
    assert raw.grad.dtype == torch.bfloat16
