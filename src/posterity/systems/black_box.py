"""Systems that know nothing of torch: simulators in NumPy, in another language, or behind a command."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..tensors import append_dims
from .system import System, parameter_names


@dataclass(frozen=True, kw_only=True)
class BlackBox(System):
    """Abstract system of arrays, through which no gradients pass: methods that need them are refused.

    Subclasses are frozen dataclasses as all systems, with :meth:`draw` and :meth:`move` instead of ``initial`` and
    ``step``. They are given double precision, and may write into it. A state that a simulator fails on is returned as
    NaN: it is then replaced and counted, where an exception would end the run.
    """

    differentiable: ClassVar[bool] = False

    @abc.abstractmethod
    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Draws states at the start of the system's ensemble, after its spin-up.

        Args:
            generator: What to draw with; it follows torch's seed.
            count: The number of states.

        Returns:
            The states, with shape ``(count, *shape)``.
        """

    @abc.abstractmethod
    def move(self, x: np.ndarray, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        """Advances states by one ``dt``.

        Args:
            x: The states, with shape ``(count, *shape)``.
            parameters: The value of each parameter (fields that may hold a tensor) for each state, by name, with shape
                ``(count, 1, …)``, so that they broadcast against the states.

        Returns:
            The states one ``dt`` later, with the same shape.
        """

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws states by :meth:`draw`; shape ``(*batch, *shape)``."""
        seed = int(torch.randint(2**31, (), device="cpu"))
        count = prod(batch)
        x = _checked(self.draw(np.random.default_rng(seed), count), (count, *self.shape), self, "draw")
        return (
            torch.as_tensor(x, dtype=torch.get_default_dtype())
            .to(torch.get_default_device())
            .reshape(*batch, *self.shape)
        )

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, *shape)`` by :meth:`move`."""
        batch = x.shape[: x.ndim - len(self.shape)]
        parameters = {}
        for name in parameter_names(self):
            value = torch.as_tensor(getattr(self, name)).detach().to("cpu", torch.double).expand(batch).flatten()
            parameters[name] = append_dims(value, len(self.shape)).numpy()
        return through_arrays(lambda rows: self.move(rows, parameters), x, self.shape, self.shape, self, "move")


def through_arrays(
    f: Callable[[np.ndarray], np.ndarray],
    x: Tensor,
    shape: Sequence[int],
    out_shape: Sequence[int],
    owner: object,
    name: str,
) -> Tensor:
    """The values of a function of arrays at tensors, in one call for the whole batch; gradients are lost.

    Args:
        f: The function, from ``(count, *shape)`` to ``(count, *out_shape)``, in double precision.
        x: The arguments, with shape ``(*batch, *shape)``.
        shape: The event shape of an argument.
        out_shape: The event shape of a value.
        owner: Whose function it is, for messages.
        name: The function's name, for messages.

    Returns:
        The values, with shape ``(*batch, *out_shape)``, and the dtype and device of ``x``.

    Raises:
        ValueError: If the function gives another shape.
    """
    batch = x.shape[: x.ndim - len(shape)]
    rows = x.detach().to("cpu", torch.double, copy=True).reshape(prod(batch), *shape).numpy()
    value = _checked(f(rows), (len(rows), *out_shape), owner, name)
    return torch.as_tensor(value, dtype=x.dtype, device=x.device).reshape(*batch, *out_shape)


def _checked(value: np.ndarray, shape: tuple[int, ...], owner: object, name: str) -> np.ndarray:
    """An array of a function of the user, whose shape must be as it says."""
    value = np.asarray(value, dtype=np.float64)
    if value.shape != shape:
        raise ValueError(
            f"{type(owner).__name__}.{name}: must return shape {shape}, one row for each state, not {value.shape}"
        )
    return value
