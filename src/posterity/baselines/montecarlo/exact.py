"""The exact posterior of linear-Gaussian problems."""

from dataclasses import dataclass

from ...problems import Ensemble, Posterior, Problem, Window, check_linear, exact_posterior


@dataclass(frozen=True)
class Exact(Posterior):
    r"""Exact method: draws from the posterior :math:`p(x_{0:T+F} | y, x_b)` of a linear system observed linearly.

    See :func:`~posterity.problems.gaussian.exact_posterior`. Under the weak constraint it is the Kalman smoother's.

    Args:
        problem: The problem.
    """

    problem: Problem

    def __post_init__(self) -> None:
        """Checks that system and operator are linear, and all parameters known."""
        check_linear(self.problem)

    @property
    def lost_without_background(self) -> bool:
        """Under the joint of the background alone: the other's prior is the climatology."""
        return self.problem.joint == "background"

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case."""
        x = exact_posterior(self.problem, window).sample(samples)
        theta = x.new_zeros(*x.shape[:2], 0)
        failed = x.new_zeros(x.shape[1])
        return Ensemble(x.unflatten(-1, self.problem.shape), theta, range(self.problem.steps), {"failed": failed})
