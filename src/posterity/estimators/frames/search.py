"""The search for the centre of a frame, by a function of the window alone."""

from collections.abc import Callable

from torch import Tensor

from ...problems import Control
from ...problems.linearized.minimum import Minimum
from ...problems.minimize import highest_plausible, levenberg_marquardt

#: The predicted decrease, relative to the cost, at which a search ends.
TOLERANCE = 1e-5


def search(control: Control, iterations: int, increment: int) -> Minimum:
    r"""Minimises the 4DVAR cost of every case from the background, along other paths where the minimum is implausible.

    Minima depend on how the window grows: that of some states may lie in the valley of another mode. A case whose
    minimum is implausibly high (see :func:`~posterity.problems.minimize.minimize`) is minimised again with a window
    that grows by one state more at a time, and keeps the lower minimum; then by two states more, up to the whole window
    at once, until it is plausible, or until a path has led to the same minimum. All of this depends on the window
    alone, not on random numbers, and moves with translations of the problem.

    Args:
        control: The control.
        iterations: As for :func:`~posterity.problems.minimize.levenberg_marquardt`, as is ``increment``; other paths
            have twice as many.
        increment: See there.

    Returns:
        The minima.
    """

    def along(growth: int) -> Callable[[Control, Tensor], Minimum]:
        return lambda part, _: levenberg_marquardt(part, part.zero(), 2 * iterations, growth, TOLERANCE)

    minimum = levenberg_marquardt(control, control.zero(), iterations, increment, TOLERANCE)
    others = map(along, range(increment + 1, control.problem.window + 1))
    return minimum.retried(control, highest_plausible(control), others, TOLERANCE)
