"""Driven systems: those whose step depends on time."""

import abc
from collections.abc import Callable
from copy import copy
from itertools import count
from typing import ClassVar, Self

import torch
from torch import Tensor

from .system import System


class Driven(System):
    r"""Abstract system that is driven, :math:`x_{t+1} = M(x_t, t; \theta)`, as by a current that somebody injects.

    Subclasses are frozen dataclasses as all systems, with :meth:`move` instead of ``step``. Time counts from the start
    of the system's ensemble: a window that starts later (``start``) sees what drives the system from there. A system
    is one for states at one time, :attr:`clock`, from which its loops count on; :meth:`at` gives that of another time.
    """

    #: The time of the states that the system is given, in steps since the start of its ensemble, with shape
    #: ``(*batch,)`` or one number. No option: :meth:`at` sets it, behind ``dataclasses.replace``, which forgets it.
    clock: ClassVar[Tensor | float] = 0.0

    def at(self, time: Tensor | float) -> Self:
        """The system for states at a given time; see :meth:`.System.at`."""
        moved = copy(self)
        object.__setattr__(moved, "clock", time)
        return moved

    @abc.abstractmethod
    def move(self, x: Tensor, time: Tensor) -> Tensor:
        """Advances states by one ``dt``.

        Args:
            x: States, with shape ``(*batch, *shape)``.
            time: Their times, in model time units, with shape ``(*batch,)``, or one that broadcasts against it.

        Returns:
            The states one ``dt`` later, with shape ``(*batch, *shape)``.
        """

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, *shape)`` by ``dt``, from the time of the clock."""
        return self.stepper()(x)

    def stepper(self) -> Callable[[Tensor], Tensor]:
        """A function that moves states from the clock on, by one step more at each call."""
        start, passed = torch.as_tensor(self.clock), count()

        def step(x: Tensor) -> Tensor:
            """The next step."""
            return self.move(x, (start.to(x) + next(passed)) * self.dt)

        return step
