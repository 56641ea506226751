"""Ordinary differential equations that are written once, for torch and for compiled loops."""

import abc
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from math import inf, prod
from typing import Any

import torch
from torch import Tensor

from ...tensors import append_dims
from ..integrators import rk4
from ..system import System, parameter_names, parameters_of
from . import misfits, rollouts
from .expressions import Equations, Integration, Neighbours, traced
from .misfits import Misfit, Seen, Sight

#: Entries of the states that are held at once where the last ones alone are wanted.
HELD = 2**20
#: Entries of the largest state that is compiled for: on a GPU it stays in the registers of one program, and larger ones
#: keep it busy by steps of torch.
LARGEST = {"cpu": inf, "cuda": 2**12}


class ODE(System):
    r"""Abstract system of ordinary differential equations that are the same at all sites of a ring,

    .. math:: \dot x_{c, i} = f_c(x_{\cdot, i - r}, …, x_{\cdot, i + r}; \theta) ,

    integrated with the classical Runge–Kutta scheme, in ``substeps`` for each ``dt``. States have shape ``(channel,)``,
    of one site, or ``(channel, site)``.

    Subclasses are frozen dataclasses as all systems, with :meth:`equations` instead of ``step``. On a CPU rollouts,
    tangents and adjoints are loops that are compiled from the equations (:mod:`posterity.systems.compiled`): once for
    each precision, within seconds, and kept on disk. On a GPU they are kernels (:mod:`posterity.systems.kernels`).
    ``step`` is what they are held against, and what other devices do. A subclass of a system that has another ``step``
    goes by that one.
    """

    #: Integration steps per ``dt``. (A field of every subclass.)
    substeps: int

    @staticmethod
    @abc.abstractmethod
    def equations(state: Neighbours, parameters: Sequence[Any]) -> Sequence[Any]:
        """The tendency of each channel at a site, in sums, differences, products, quotients and whole powers.

        Args:
            state: The state: ``state[channel, offset]`` is the value so many sites further on, and
                ``state.channels`` the number of channels.
            parameters: The parameters that may be unknown, in the order of the fields.
        """

    def tendency(self, x: Tensor) -> Tensor:
        r"""The right-hand sides :math:`\dot x`, with the shape of ``x``."""
        axes = len(self.shape) - 1
        parameters = [append_dims(value, axes) for value in self._values]
        return torch.stack(list(self.equations(_Shifted(x, axes), parameters)), dim=-1 - axes)

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, *shape)`` by ``dt``."""
        for _ in range(self.substeps):
            x = rk4(self.tendency, x, self.dt / self.substeps)
        return x

    def stepper(self) -> Callable[[Tensor], Tensor]:
        """The step, compiled where that is possible."""
        axis, otherwise = -len(self.shape) - 1, super().stepper()
        return lambda x: self.rollout(x, 1).select(axis, 1) if self._compiled(x) else otherwise(x)

    def kept(self, device: torch.device) -> float:
        """Half as much as a state, by the allocator's account, where loops are compiled; else what is measured."""
        return 0.5 if self._has_loops(device) else super().kept(device)

    def advance(self, x: Tensor, steps: int) -> Tensor:
        """Advances states by several ``dt``; see :meth:`.System.advance`."""
        if not self._compiled(x):
            return super().advance(x, steps)
        axis = -len(self.shape) - 1
        at_once = max(1, HELD // max(1, x.numel()))
        for done in range(0, steps, at_once):
            # A copy, since a part of a trajectory holds all of its memory.
            x = self.rollout(x, min(at_once, steps - done)).select(axis, -1).clone()
        return x

    def rollout(self, x0: Tensor, steps: int, error: Tensor | None = None) -> Tensor:
        """The trajectory; see :meth:`.System.rollout`."""
        return self._by_loops(x0, steps, error) if self._compiled(x0, error) else super().rollout(x0, steps, error)

    def retracer(self, device: torch.device) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The derivatives of a step, which need its argument only, where loops are compiled."""
        if not self._has_loops(device):
            return None
        axis = -len(self.shape) - 1
        return lambda x, after: self.retrace(x, torch.stack((x.detach(), after), dim=axis)).select(axis, 1)

    def retrace(self, x0: Tensor, path: Tensor, error: Tensor | None = None) -> Tensor:
        """The derivatives of a known trajectory; see :meth:`.System.retrace`."""
        steps = path.shape[-len(self.shape) - 1] - 1
        if not self._compiled(x0, error) or path.dtype != x0.dtype:
            return self.rollout(x0, steps, error)
        return self._by_loops(x0, steps, error, path.detach().flatten(-len(self.shape)))

    def _by_loops(self, x0: Tensor, steps: int, error: Tensor | None, known: Tensor | None = None) -> Tensor:
        """The trajectory by compiled loops, or the derivatives of one whose flat states are known."""
        path = rollouts.Rollout.apply(self._integration, steps, *self._flat(x0, steps, error), known)
        return path.unflatten(-1, self.shape)

    def misfit(
        self, x0: Tensor, y: Tensor, precision: Tensor, sight: Sight, error: Tensor | None, gradient: bool
    ) -> Misfit | None:
        """Half the squares of misfits, by one compiled sweep there and back; see :meth:`.System.misfit`."""
        seen, steps = self._seen(x0, y, sight, error), y.shape[1] - 1
        if seen is None:
            return None
        names = parameter_names(self)
        unknown = [place for place, value in enumerate(self._values) if isinstance(value, Tensor)]
        wanted = gradient, gradient and bool(unknown), gradient and error is not None
        given = *self._flat(x0, steps, error), y.flatten(2), precision.flatten(2)
        cost, first, theta, errors = misfits.loops().misfit(self._integration, seen.pull, *given, wanted)
        return Misfit(
            cost,
            first.unflatten(-1, self.shape) if gradient else first,
            {names[place]: theta[..., place] for place in unknown if gradient},
            errors.unflatten(-1, self.shape) if wanted[2] else None,
        )

    def gauss_newton(
        self, x0: Tensor, dx0: Tensor, dtheta: Mapping[str, Tensor], y: Tensor, precision: Tensor, sight: Sight
    ) -> Tensor | None:
        """Products of misfits and their changes, by one compiled sweep; see :meth:`.System.gauss_newton`."""
        seen = self._seen(x0, y, sight)
        if seen is None:
            return None
        from ..compiled.gauss_newton import products

        flat, theta, _ = self._flat(x0, y.shape[1] - 1, None)
        changes = theta.new_zeros(len(dx0), *theta.shape)
        for place, name in enumerate(parameter_names(self)):
            if name in dtheta:
                changes[..., place] = dtheta[name]
        given = flat, theta, dx0.flatten(-len(self.shape)), changes, y.flatten(2), precision.flatten(2)
        return products(self._integration, seen, *given)

    def _seen(self, x0: Tensor, y: Tensor, sight: Sight, error: Tensor | None = None) -> Seen | None:
        """What compiled sweeps evaluate of what is seen of trajectories; None where there are none."""
        # There are none for GPUs: a trajectory and what is seen of it are two kernels there.
        if x0.device.type != "cpu" or not self._compiled(x0, error) or y.dtype != x0.dtype:
            return None
        seen = misfits.seen_of(sight, self.shape[0])
        if seen is None:
            return None
        if y.shape[2:] != (seen.number, *self.shape[1:]):
            raise ValueError(
                f"{type(sight).__name__}: at_site gives {seen.number} values for each of the sites {self.shape[1:]}, "
                f"and observations have the shape {tuple(y.shape[2:])}"
            )
        fits = misfits.loops().fits(self._integration, y.shape[1] - 1, seen.number, y.element_size())
        return seen if fits else None

    def _flat(self, x0: Tensor, steps: int, error: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Initial states, parameters and errors, flat, of one batch."""
        axes, values = len(self.shape), self._values
        batch = x0.shape[: x0.ndim - axes]
        others = [value.shape for value in values if isinstance(value, Tensor)]
        if error is not None:
            error = error.narrow(-axes - 1, 0, steps).flatten(-axes)
            others.append(error.shape[:-2])
        x0 = x0.flatten(-axes)
        if any(other != batch for other in others):
            batch = torch.broadcast_shapes(batch, *others)
            x0, error = x0.expand(*batch, -1), None if error is None else error.expand(*batch, *error.shape[-2:])
        # Numbers are not kept as a tensor: one that is made under a transform of torch.func belongs to it.
        if any(isinstance(value, Tensor) for value in values):
            parts = [torch.as_tensor(value, dtype=x0.dtype, device=x0.device).expand(batch) for value in values]
            theta = torch.stack(parts, dim=-1)
        else:
            theta = torch.tensor(values, dtype=x0.dtype, device=x0.device)
        return x0, theta, error

    @cached_property
    def _integration(self) -> Integration:
        """The integration, without the values of parameters."""
        sites = self.shape[1] if len(self.shape) > 1 else 1
        return Integration(_equations(type(self), self.shape[0]), sites, self.substeps, self.dt / self.substeps)

    @cached_property
    def _values(self) -> tuple[float | Tensor, ...]:
        """The parameters that may be unknown, in order."""
        return tuple(getattr(self, name) for name in parameter_names(self))

    def _compiled(self, x: Tensor, error: Tensor | None = None) -> bool:
        """Whether states are advanced by compiled loops."""
        tensors = (x, *(value for value in (error, *self._values) if isinstance(value, Tensor)))
        return x.dtype in (torch.float32, torch.float64) and all(
            value.dtype == x.dtype and self._has_loops(value.device) for value in tensors
        )

    def _has_loops(self, device: torch.device) -> bool:
        """Whether there are compiled loops for the system and a device."""
        fits = prod(self.shape) <= LARGEST.get(device.type, 0)
        return fits and _is_own(type(self)) and rollouts.compiled(device.type) is not None


class _Shifted:
    """The states around all sites at once.

    Args:
        x: States, with shape ``(*batch, channel, *grid)``.
        axes: The number of axes of the grid, none or one.
    """

    def __init__(self, x: Tensor, axes: int) -> None:
        self.values, self.axes = x.unbind(dim=-1 - axes), axes
        self.channels = len(self.values)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        channel, offset = key
        return self.values[channel].roll(-offset, -1) if offset and self.axes else self.values[channel]


@cache
def _equations(cls: type[ODE], channels: int) -> Equations:
    """The equations of a class, and their derivatives."""
    return traced(cls.__name__, cls.equations, channels, len(parameters_of(cls)))


@cache
def _is_own(cls: type[ODE]) -> bool:
    """Whether the step of a class is that of its equations, and not of a class derived from where they are written."""

    def depth(name: str) -> int:
        return next(place for place, base in enumerate(cls.__mro__) if name in vars(base))

    return min(depth("step"), depth("tendency")) >= depth("equations")
