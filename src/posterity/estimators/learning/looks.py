"""What an estimator sees of draws, which is found once for all steps and epochs that see the same."""

from collections.abc import Callable, Hashable
from typing import Any

from ...problems import Twin
from ..learned import Learned


class Looks:
    """Draws and what an estimator sees of them, see :meth:`.Learned.look`.

    Args:
        estimator: The estimator.
        hold: Whether to hold what was found until :meth:`forget`.
    """

    def __init__(self, estimator: Learned, hold: bool) -> None:
        self.estimator, self.hold = estimator, hold
        self._held: dict[Hashable, tuple[Any, ...]] = {}

    def at(self, key: Hashable, draw: Callable[[], Twin]) -> tuple[Any, ...]:
        """Draws of the joint and what is seen of them: what a loss takes.

        Args:
            key: What tells them from others.
            draw: Makes the draws, where they are not held; it seeds their random numbers, and those of the look.
        """
        if key in self._held:
            return self._held[key]
        twin = draw()
        found = twin, *self.estimator.look(twin)
        if self.hold:
            self._held[key] = found
        return found

    def forget(self) -> None:
        """Forgets all."""
        self._held.clear()
