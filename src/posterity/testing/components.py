"""Checks of what problems are made of: systems and operators."""

from dataclasses import FrozenInstanceError, is_dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..problems import Operator
from ..systems import System, parameter_names
from .expect import expect, expect_close, expect_derivative, reproducible

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
    expect(is_dataclass(system) and _is_frozen(system), f"{name}: must be a frozen dataclass")
    expect(system.dt > 0, f"{name}: dt must be positive, not {system.dt}")
    expect(
        len(system.channels) == system.shape[0],
        f"{name}: has channels {system.channels}, and shape {system.shape} has {system.shape[0]}",
    )
    with reproducible():
        for batch in BATCHES:
            _check_start(system, batch, steps)
        x = system.initial((2, 3))
        before, following = x.clone(), system.step(x)
        expect(torch.equal(x, before), f"{name}: step writes into its argument")
        alone = torch.stack([system.step(each) for each in x.flatten(0, 1)]).unflatten(0, (2, 3))
        expect_close(following, alone, f"{name}: step moves batch elements otherwise than alone")
        single = system.step(x.float()).dtype
        expect(single == torch.float32, f"{name}: step turns single precision into {single}")
        expect_derivative(system.step, x[0, :2], f"{name}: step has not the derivatives of finite differences")
        for parameter in parameter_names(system):
            _check_parameter(system, parameter, x[0, :2])


def _is_frozen(system: System) -> bool:
    """Whether fields cannot be set."""
    try:
        setattr(system, "dt", system.dt)  # noqa: B010  (mypy knows that it must fail)
    except FrozenInstanceError:
        return True
    return False


def _check_start(system: System, batch: tuple[int, ...], steps: int) -> None:
    """Checks the start of an ensemble, and the states that follow it."""
    name = type(system).__name__
    torch.manual_seed(1)
    x = start = system.initial(batch)
    torch.manual_seed(1)
    expect(torch.equal(start, system.initial(batch)), f"{name}: initial draws other states from the same seed")
    expect(start.dtype == torch.get_default_dtype(), f"{name}: initial has dtype {start.dtype}, not torch's default")
    for t in range(steps + 1):
        what = "step" if t else "initial"
        expected = (*batch, *system.shape)
        expect(x.shape == expected, f"{name}: {what} has shape {tuple(x.shape)} for batch {batch}, not {expected}")
        expect(x.isfinite().all(), f"{name}: state {t} from the start of the ensemble is not finite")
        x = system.step(x)


def _check_parameter(system: System, parameter: str, x: Tensor) -> None:
    """Checks that a parameter may differ from case to case; two of them here."""
    value = torch.as_tensor(getattr(system, parameter), dtype=x.dtype)
    values = value * torch.tensor([1.0, 1.01])
    together = replace(system, **{parameter: values}).step(x)  # type: ignore[type-var]
    alone = [replace(system, **{parameter: float(values[case])}).step(x[case]) for case in range(2)]  # type: ignore[type-var]
    expect_close(
        together,
        torch.stack(alone),
        f"{type(system).__name__}: parameter '{parameter}' with a value for each case is not that of each alone",
    )


def check_operator(operator: Operator, x: Tensor | None = None) -> None:
    """Checks what Posterity takes for granted of an observation operator, in double precision.

    Observations have the shape that it says for any batch, and the precision of the states. It leaves its argument as
    it is, sees batch elements as it would alone, has the derivatives of finite differences, and tangent and adjoint
    are transposes of each other. If it says at which sites it sees, there is one for each entry, on the grid.

    Args:
        operator: The operator.
        x: Two states at which it is differentiated, with shape ``(2, *shape)``; drawn from a standard normal if
            omitted.

    Raises:
        AssertionError: If it is not so; the message says what.
    """
    name = type(operator).__name__
    with reproducible():
        for batch in BATCHES:
            seen, expected = operator(torch.randn(*batch, *operator.shape)), (*batch, *operator.out_shape)
            expect(
                seen.shape == expected,
                f"{name}: observations have shape {tuple(seen.shape)} for batch {batch}, not {expected}",
            )
        x = torch.randn(2, *operator.shape) if x is None else x.to(torch.get_default_dtype())
        before, y = x.clone(), operator(x)
        expect(torch.equal(x, before), f"{name}: writes into its argument")
        expect_close(
            y, torch.stack([operator(each) for each in x]), f"{name}: sees batch elements otherwise than alone"
        )
        single = operator(x.float()).dtype
        expect(single == torch.float32, f"{name}: turns single precision into {single}")
        expect_derivative(operator, x, f"{name}: has not the derivatives of finite differences")
        direction, cotangent = torch.randn_like(x), torch.randn_like(y)
        tangent = torch.func.jvp(operator, (x,), (direction,))[1]
        (adjoint,) = torch.func.vjp(operator, x)[1](cotangent)
        products = (tangent * cotangent).sum(), (direction * adjoint).sum()
        expect_close(*products, f"{name}: tangent and adjoint are not transposes")
        _check_sites(operator)


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
