"""4DVAR: the mode, with the Laplace approximation around it."""

from dataclasses import dataclass
from typing import ClassVar

from ...problems import Control, Ensemble, Joint, Posterior, Problem, Window, decode_ensemble, laplace
from ...problems.linearized.solvers import Solver
from ...problems.minimize import check_eigenpairs, check_options, minimize


@dataclass(frozen=True)
class FourDVar(Posterior):
    r"""4DVAR, with draws from its Laplace approximation:

    .. math::
        q(u) = N(\hat u, (I + G^T R^{-1} G)^{-1}), \qquad \hat u = \arg\min_u J(u) ,

    with the Gauss–Newton Hessian at the mode; see :mod:`~posterity.baselines.variational`. Exact if the problem is
    linear and Gaussian. Targets :math:`p(x_{0:T+F} | y, x_b)` with the Gaussian prior of the background.

    Args:
        problem: The problem.
        iterations: The most Levenberg–Marquardt iterations on the full window.
        increment: The number of states by which the window grows in quasi-static minimisation.
        tolerance: The relative decrease of the cost below which a case has converged.
        restarts: The most prior draws from which a case starts again if its minimum is implausibly high.
        solver: How steps are solved for; by matrices for small controls and products for large ones if omitted.
        eigenpairs: The directions in which draws differ from those of the prior, where the control is too large for
            matrices; each takes a tangent and an adjoint of the window.

    References:
        | Variational algorithms for analysis and assimilation of meteorological observations
          (Le Dimet & Talagrand, 1986), https://doi.org/10.1111/j.1600-0870.1986.tb00459.x
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True
    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    problem: Problem
    iterations: int = 50
    increment: int = 3
    tolerance: float = 1e-5
    restarts: int = 8
    solver: Solver | None = None
    eigenpairs: int = 128

    def __post_init__(self) -> None:
        """Checks the options of the minimisation, and the number of eigenpairs."""
        check_options(self.iterations, self.increment, self.tolerance, self.restarts, self.solver)
        check_eigenpairs(self.eigenpairs)

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the Laplace approximation of each case."""
        control = Control(self.problem, window)
        minimum = minimize(control, self.iterations, self.increment, self.tolerance, self.restarts, solver=self.solver)
        q = laplace(minimum.model, self.eigenpairs)
        u = (q.mean + q.transport(control.noise(samples))).to(minimum.u)
        return decode_ensemble(control, u, minimum.info)
