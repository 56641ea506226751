"""Shared by all checks: messages, and draws that are the same each time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def reproducible(seed: int = 0) -> Iterator[None]:
    """Double precision and draws from a seed, within a block; afterwards dtype and generators are as they were."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextmanager
def asserted() -> Iterator[None]:
    """Raises a rule that is broken, a ValueError, as an AssertionError with its message, within a block."""
    try:
        yield
    except ValueError as error:
        raise AssertionError(str(error)) from error


def expect(holds: bool | Tensor, message: str) -> None:
    """Raises an AssertionError with a message unless something holds, also where Python leaves out assertions."""
    if not holds:
        raise AssertionError(message)


def expect_close(actual: Tensor, expected: Tensor, message: str, atol: float | None = None) -> None:
    """Raises an AssertionError with a message unless two tensors are close, as ``torch.testing.assert_close`` says.

    Args:
        actual: What was found.
        expected: What it should be.
        message: What is wrong if it is not; where and by how much is appended.
        atol: The absolute tolerance; that of ``assert_close``, with its relative one, if omitted.
    """
    rtol = None if atol is None else 0.0
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, msg=lambda text: f"{message}\n{text}")


def expect_derivative(f: Callable[[Tensor], Tensor], x: Tensor, message: str) -> None:
    """Raises an AssertionError unless a function's derivatives are those of finite differences."""
    try:
        torch.autograd.gradcheck(f, (x.detach().clone().requires_grad_(),))
    except RuntimeError as error:
        raise AssertionError(f"{message}\n{error}") from error
