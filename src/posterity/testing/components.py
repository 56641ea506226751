"""Checks of what problems are made of: systems and operators."""

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from ..problems import Operator
from ..rules import check_start, check_structure, check_values, fixed_step, seen_by, step_of
from ..systems import System, parameter_names
from .expect import asserted, expect, expect_close, expect_derivative, reproducible

BATCHES = ((), (3,), (2, 3))


def check_system(system: System, steps: int = 5) -> None:
    """Checks what Posterity takes for granted of a system, in double precision.

    It is a frozen dataclass whose channels have names. Starts and steps have the right shape and dtype for any batch,
    the first of them are finite, and the same seed gives the same start. A step leaves its argument as it is, moves
    batch elements as it would alone, has the derivatives of finite differences, and takes parameters that differ
    from one batch element to another.

    Args:
        system: The system, small enough to take differences of every entry.
        steps: The number of steps from the start that must be finite.

    Raises:
        AssertionError: If it is not so; the message says what.
    """
    name = type(system).__name__
    with reproducible(), asserted():
        check_structure(system)
        for batch in BATCHES:
            x = check_start(system, batch=batch)
            check_values(step_of(system), x)
            for t in range(steps + 1):
                expect(x.isfinite().all(), f"{name}: state {t} from the start of the ensemble is not finite")
                x = system.step(x)
        x = system.initial((2, 3))
        check_values(step_of(system), x.float())
        if system.differentiable:
            step = fixed_step(system)
            expect_derivative(step, x[0, :2], f"{name}: step has not the derivatives of finite differences")
        for parameter in parameter_names(system):
            _check_parameter(system, parameter, x[0, :2])


def _check_parameter(system: System, parameter: str, x: Tensor) -> None:
    """Checks that a parameter may differ from case to case; two of them here."""
    value = torch.as_tensor(getattr(system, parameter), dtype=x.dtype)
    values = value * torch.tensor([1.0, 1.01])
    together = fixed_step(replace(system, **{parameter: values}))(x)  # type: ignore[type-var]
    alone = [fixed_step(replace(system, **{parameter: float(values[case])}))(x[case]) for case in range(2)]  # type: ignore[type-var]
    expect_close(
        together,
        torch.stack(alone),
        f"{type(system).__name__}: parameter '{parameter}' with a value for each case is not that of each alone",
    )


def check_operator(operator: Operator, x: Tensor | None = None) -> None:
    """Checks what Posterity takes for granted of an observation operator, in double precision.

    Observations have the shape that it says for any batch, and the precision of the states. It leaves its argument as
    it is, sees batch elements as it would alone, has the derivatives of finite differences, and tangent and adjoint
    are transposes of each other. If it says at which sites it sees, there is one for each entry, on the grid; if it
    says what it sees at a site, that is what it sees.

    Args:
        operator: The operator.
        x: Two states at which it is differentiated, with shape ``(2, *shape)``; drawn from a standard normal if
            omitted.

    Raises:
        AssertionError: If it is not so; the message says what.
    """
    with reproducible(), asserted():
        x = torch.randn(2, *operator.shape) if x is None else x.to(torch.get_default_dtype())
        for batch in BATCHES:
            check_values(seen_by(operator), x[torch.randint(2, batch)])
        check_values(seen_by(operator), x.float())
        _check_sites(operator)
        _check_at_site(operator, x)
        if operator.differentiable:
            _check_derivatives(operator, x)


def _check_derivatives(operator: Operator, x: Tensor) -> None:
    """Checks the derivatives of an operator, and that its adjoint is the transpose of its tangent."""
    name = type(operator).__name__
    expect_derivative(operator, x, f"{name}: has not the derivatives of finite differences")
    direction, cotangent = torch.randn_like(x), torch.randn(len(x), *operator.out_shape)
    tangent = torch.func.jvp(operator, (x,), (direction,))[1]
    (adjoint,) = torch.func.vjp(operator, x)[1](cotangent)
    products = (tangent * cotangent).sum(), (direction * adjoint).sum()
    expect_close(*products, f"{name}: tangent and adjoint are not transposes")


def _check_sites(operator: Operator) -> None:
    """Checks where observations stand; an operator need not say it."""
    try:
        sites = operator.sites
    except ValueError:
        return
    name, count = type(operator).__name__, prod(operator.out_shape[1:])
    expect(sites.shape == (count,), f"{name}: names {len(sites)} sites for observations of {count}")
    inside = (sites >= 0) & (sites < prod(operator.shape[1:]))
    expect(inside.all(), f"{name}: names sites that are not on the grid of {prod(operator.shape[1:])}")


def _check_at_site(operator: Operator, x: Tensor) -> None:
    """Checks what an operator sees at a site, if it says it for compiled loops."""
    axis = -len(operator.shape)
    seen = operator.at_site(x.unbind(dim=axis))
    if seen is not None:
        message = f"{type(operator).__name__}: sees something else than its at_site, which compiled loops go by"
        expect_close(torch.stack(list(seen), dim=axis), operator(x), message)
