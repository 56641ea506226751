"""Observation operators: what of a state is seen, each as a differentiable map at one time."""

import abc
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...systems.black_box import through_arrays
from ...systems.system import with_gradient


class Operator(abc.ABC):
    """A time-local observation operator :math:`H`, from states ``(*batch, *shape)`` to ``(*batch, *out_shape)``.

    Args:
        shape: The event shape of what it observes, ``(channel, *grid)``.
    """

    #: Whether gradients pass through it: methods that need them refuse an operator that says no.
    differentiable: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Forgets what a class that it is derived from says of a site, if it sees otherwise and says nothing itself."""
        super().__init_subclass__()
        if "__call__" in vars(cls) and "at_site" not in vars(cls):
            cls.at_site = Operator.at_site  # type: ignore[method-assign]

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def __eq__(self, other: object) -> bool:
        """Whether the other is of the same class, with the same attributes."""
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """By class and shape."""
        return hash((type(self), self.shape))

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The event shape of an observation, ``(obs_channel, *obs_grid)``."""
        return self.shape

    @property
    def sites(self) -> Tensor:
        """The sites of the observations, for localisation: a site of the flattened grid for each entry of theirs.

        On the processor, as all that is made once, for any device.
        The grid of the state unless a subclass says otherwise.
        """
        if self.out_shape[1:] != self.shape[1:]:
            raise ValueError(
                f"operator: {type(self).__name__} does not say at which sites its observations stand; choose another "
                "operator, or a method that asks for no sites"
            )
        return torch.arange(prod(self.shape[1:]), device="cpu")

    @property
    def observes_state(self) -> bool:
        """Whether observations are of the state itself; no unless a subclass says otherwise."""
        return False

    @abc.abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Observes states of shape ``(*batch, *shape)`` without noise."""

    def at_site(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """What is seen at a site, for compiled loops; None unless a subclass says it.

        Args:
            values: The values of all channels at the site.

        Returns:
            Those of what is seen there, in sums, differences, products, quotients and whole powers; None if it is not
            made of these alone.
        """
        return None


class BlackBoxOperator(Operator):
    """Abstract operator of arrays, through which no gradients pass: methods that need them are refused.

    Subclasses define :meth:`see` instead of ``__call__``, and ``out_shape``.

    Args:
        shape: The event shape of what it observes, ``(channel, *grid)``.
    """

    differentiable: ClassVar[bool] = False

    @abc.abstractmethod
    def see(self, x: np.ndarray) -> np.ndarray:
        """Observes states without noise.

        Args:
            x: The states, with shape ``(count, *shape)``, in double precision.

        Returns:
            The observations, with shape ``(count, *out_shape)``.
        """

    def __call__(self, x: Tensor) -> Tensor:
        """Observes states of shape ``(*batch, *shape)`` by :meth:`see`."""
        return through_arrays(self.see, x, self.shape, self.out_shape, self, "see")


class Identity(Operator):
    """:math:`H(x) = x`."""

    @property
    def observes_state(self) -> bool:
        """Yes."""
        return True

    def __call__(self, x: Tensor) -> Tensor:
        """Returns ``x``."""
        return x

    def at_site(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values."""
        return values


class Channels(Operator):
    """Some of the channels, :math:`H(x)_k = x_{c_k}`.

    Args:
        shape: The event shape of what it observes.
        channels: The channels, by their numbers from 0; in experiment files also by their names.
    """

    def __init__(self, shape: Sequence[int], channels: Sequence[int] | Sequence[str]) -> None:
        super().__init__(shape)
        self.channels = check_channels(channels, self.shape)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(channels, *grid)``."""
        return (len(self.channels), *self.shape[1:])

    def __call__(self, x: Tensor) -> Tensor:
        """Chooses the channels of states of shape ``(*batch, *shape)``."""
        return x.index_select(x.ndim - len(self.shape), torch.tensor(self.channels, device=x.device))

    def at_site(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values of the channels."""
        return [values[channel] for channel in self.channels]


class Quadratic(Operator):
    """:math:`H(x) = x^2`, blind to the sign."""

    def __call__(self, x: Tensor) -> Tensor:
        """Squares each entry."""
        return x.square()

    def at_site(self, values: Sequence[Any]) -> Sequence[Any]:
        """The squares."""
        return [value**2 for value in values]


class Pointwise(Operator):
    """:math:`H(x) = f(x / s)`, entry by entry, for a function of torch.

    Args:
        shape: The event shape of what it observes.
        function: The name of the function in torch: ``atan``, ``tanh``, ``exp``, ``abs``, ``sin``, …
        scale: The scale :math:`s > 0` of the argument.
    """

    def __init__(self, shape: Sequence[int], function: str, scale: float = 1.0) -> None:
        super().__init__(shape)
        probe = torch.linspace(0.1, 0.9, 3, device="cpu")
        try:
            self.function = getattr(torch, function)
            values = self.function(probe)
        except (AttributeError, TypeError, RuntimeError):
            values = None
        if not isinstance(values, Tensor) or values.shape != probe.shape or not values.is_floating_point():
            raise ValueError(f"function: torch has no pointwise function '{function}' (try atan, tanh, exp, abs)")
        if scale <= 0:
            raise ValueError(f"scale: must be positive, not {scale}")
        self.scale = scale

    def __call__(self, x: Tensor) -> Tensor:
        """Applies the function entry by entry."""
        return self.function(x / self.scale)


class Arctan(Pointwise):
    r""":math:`H(x) = \arctan(x / s)`, entry by entry.

    Args:
        shape: The event shape of what it observes.
        scale: The scale :math:`s > 0`, in units of the state, beyond which it saturates.
    """

    def __init__(self, shape: Sequence[int], scale: float = 1.0) -> None:
        super().__init__(shape, "atan", scale)


class Saturation(Operator):
    r""":math:`H(x) = z / (1 + |z|)` with :math:`z = x / s`, entry by entry: between -1 and 1, of slope 1 / s at zero.

    Args:
        shape: The event shape of what it observes.
        scale: The scale :math:`s > 0`, in units of the state, at which it reaches one half.
    """

    def __init__(self, shape: Sequence[int], scale: float = 1.0) -> None:
        super().__init__(shape)
        if scale <= 0:
            raise ValueError(f"scale: must be positive, not {scale}")
        self.scale = scale

    def __call__(self, x: Tensor) -> Tensor:
        """Saturates each entry."""
        z = x / self.scale
        return z / (1 + z.abs())


class Composed(Operator):
    r""":math:`H = H_k \circ … \circ H_1`.

    Args:
        shape: The event shape of what it observes.
        operators: The operators, the first to act first.
    """

    def __init__(self, shape: Sequence[int], operators: Sequence[Operator]) -> None:
        super().__init__(shape)
        self.operators = tuple(operators)
        seen = self.shape
        for operator in self.operators:
            if operator.shape != seen:
                raise ValueError(f"operators: {type(operator).__name__} observes {operator.shape}, but is given {seen}")
            seen = operator.out_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The event shape of the last operator's observations."""
        return self.operators[-1].out_shape if self.operators else self.shape

    @property
    def sites(self) -> Tensor:
        """The sites of what the last operator observes, of what the one before observes, and so on."""
        sites = torch.arange(prod(self.shape[1:]), device="cpu")
        for operator in self.operators:
            sites = sites[operator.sites]
        return sites

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Whether gradients pass through all of the operators."""
        return all(operator.differentiable for operator in self.operators)

    @property
    def observes_state(self) -> bool:
        """Whether all of the operators pass the state on."""
        return all(operator.observes_state for operator in self.operators)

    def __call__(self, x: Tensor) -> Tensor:
        """Applies the operators in turn."""
        for operator in self.operators:
            x = with_gradient(operator(x), x, f"operator: {type(operator).__name__}")
        return x

    def at_site(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """What the operators see in turn."""
        seen: Sequence[Any] | None = values
        for operator in self.operators:
            seen = None if seen is None else operator.at_site(seen)
        return seen


def check_channels(channels: Sequence[int] | Sequence[str], shape: Sequence[int]) -> tuple[int, ...]:
    """Checks that channels are numbers of some of those of an event, each once, and returns them."""
    found = tuple(channel for channel in channels if type(channel) is int and 0 <= channel < shape[0])
    if not found or len(set(found)) < len(channels):
        raise ValueError(
            f"channels: must be some of the numbers 0 to {shape[0] - 1}, each once, not {list(channels)} (names of "
            "channels are known in experiment files alone)"
        )
    return found
