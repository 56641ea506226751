"""Shapes, dtypes, devices and random numbers of tensors: the helpers that every room of tensors may use."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
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


def white_noise(like: Tensor, *shape: int) -> Tensor:
    """Draws white noise of a shape, in the dtype and on the device of another tensor."""
    return torch.randn(shape, dtype=like.dtype, device=like.device)


def identity(like: Tensor, size: int) -> Tensor:
    """The identity matrix of a size, in the dtype and on the device of another tensor."""
    return torch.eye(size, dtype=like.dtype, device=like.device)


@contextmanager
def defaults_of(like: Tensor) -> Iterator[None]:
    """Makes the dtype and the device of a tensor torch's defaults.

    Systems draw initial states, and masks entries, in torch's defaults: beside data, these are the data's own.

    Args:
        like: The tensor, of floating-point numbers.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(like.dtype)
    try:
        # A device's context slows every call of torch down a little.
        with nullcontext() if torch.get_default_device() == like.device else like.device:
            yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread: decompositions of many small matrices, which threads inside each of them slow down.

    Measured for the eigenvectors of 40 x 40 matrices: a tenth of a millisecond each on one thread, half of one on two.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Constant:
    """A constant tensor, copied once for each dtype and device that asks for it.

    Args:
        value: The tensor.
    """

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._copies: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """The tensor in the dtype and on the device of another one."""
        key = (x.dtype, x.device)
        if key not in self._copies:
            # Gradients pass through what it is multiplied with, which a tensor made in inference mode does not allow.
            with torch.inference_mode(False):
                self._copies[key] = self.value.to(x)
        return self._copies[key]

    def __eq__(self, other: object) -> bool:
        """Whether the other is a constant of the same values."""
        return isinstance(other, Constant) and torch.equal(self.value, other.value)

    def __hash__(self) -> int:
        """By the shape."""
        return hash(self.value.shape)

    def __getstate__(self) -> dict[str, object]:
        """Leaves the copies out, which belong to devices."""
        return {"value": self.value, "_copies": {}}


@contextmanager
def own_random_numbers(seed: int | None = None) -> Iterator[None]:
    """Gives what is drawn inside random numbers of its own: however many they are, those drawn behind stay the same.

    So that a case that needs more numbers than others, or other ones, changes none of theirs.

    Args:
        seed: The seed, for numbers that are always the same; drawn if omitted.
    """
    seed = int(torch.randint(2**62, (), device="cpu")) if seed is None else seed
    # All GPUs are seeded together; but none is woken up for that.
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
        torch.manual_seed(seed)
        yield


def kept_bytes(compute: Callable[[], Tensor | tuple[Tensor, ...]], *without: Tensor) -> list[int]:
    """The size of each piece of memory that derivatives of what is computed keep, in bytes.

    Args:
        compute: What computes, of something that requires gradients.
        without: Tensors that are there anyway, such as weights: their memory is left out.
    """
    there = {part.untyped_storage().data_ptr() for part in without}
    sizes: dict[int, int] = {}

    def note(saved: Tensor) -> Tensor:
        """Notes the memory of a tensor, once for all of its views."""
        if (place := saved.untyped_storage().data_ptr()) not in there:
            sizes[place] = saved.untyped_storage().nbytes()
        return saved

    saving = torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved)
    with torch.inference_mode(False), torch.enable_grad(), saving:
        # Kept alive until all is noted, so that no memory is used, and counted, twice.
        computed = compute()
    del computed
    return list(sizes.values())
