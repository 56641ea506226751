"""Shapes of tensors: the one helper that every room of tensors may use."""

from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value", float, Tensor, float | Tensor)


def append_dims(value: Value, dims: int) -> Value:
    """Appends dimensions of length one to a tensor, so that it broadcasts against one with more; numbers pass.

    Args:
        value: One value per batch element, with shape ``(*batch,)``; or one number for all.
        dims: The number of dimensions to append.

    Returns:
        The tensor, with shape ``(*batch, 1, …, 1)``; or the number.
    """
    return value.reshape(*value.shape, *([1] * dims)) if isinstance(value, Tensor) else value
