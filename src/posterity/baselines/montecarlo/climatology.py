"""The climatology: the distribution of a system before anything is observed."""

from dataclasses import dataclass, replace
from typing import ClassVar

from ...problems import Ensemble, Posterior, Problem, Window, replace_failed


@dataclass(frozen=True)
class Climatology(Posterior):
    r"""Climatology: draws of the joint itself, which use neither observations nor backgrounds.

    A method that scores worse has learned nothing.

    Targets :math:`p(x_{0:T+F}, \theta)`, the same for all cases that start at the same time.

    Args:
        problem: The problem.
    """

    takes_records: ClassVar[bool] = True

    problem: Problem

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws trajectories of the assumed system, anew for each case."""
        start = window.start.expand(samples, -1)
        twin = replace(self.problem, truth=None).sample(start.shape, start)
        x, theta, _, failed = replace_failed(twin.x, twin.theta, None)
        return Ensemble(x, theta, range(self.problem.steps), {"failed": failed})
