"""Approximations of posteriors, as proposals of importance sampling."""

import abc
from dataclasses import dataclass, field

from ...algebra import Density
from ...errors import check_part
from ...problems import Control, Problem, Window, laplace
from ...problems.linearized.solvers import Solver
from ...problems.minimize import check_eigenpairs, check_options, minimize
from ..variational.families import Family, Full
from ..variational.optimizers import NaturalGradient, Optimizer


class Proposal(abc.ABC):
    r"""Abstract proposal, which fits a density :math:`q(u)` to the posterior, such as :math:`N(\mu, \Lambda^{-1})`."""

    def control(self, problem: Problem, window: Window) -> Control:
        """The coordinates of the density: the control, unless a subclass has others."""
        return Control(problem, window)

    @abc.abstractmethod
    def fit(self, control: Control) -> Density:
        """Fits a density to each case."""


@dataclass(frozen=True)
class Laplace(Proposal):
    r"""The Laplace approximation of 4DVAR, :math:`N(\hat u, (I + G^T R^{-1} G)^{-1})` at the minimum of the cost.

    Args:
        iterations: The most Levenberg–Marquardt iterations on the full window.
        increment: The number of states by which the window grows in quasi-static minimisation.
        tolerance: The relative decrease of the cost below which a case has converged.
        restarts: The most prior draws from which a case starts again if its minimum is implausibly high.
        solver: How steps are solved for; by matrices for small controls and products for large ones if omitted.
        eigenpairs: The directions in which it differs from the prior, where the control is too large for matrices.
    """

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

    def fit(self, control: Control) -> Density:
        """Minimises the cost of each case."""
        minimum = minimize(control, self.iterations, self.increment, self.tolerance, self.restarts, solver=self.solver)
        return laplace(minimum.model, self.eigenpairs)


@dataclass(frozen=True)
class Variational(Proposal):
    """Variational proposal: the density of VI-4DVAR.

    Args:
        family: The densities allowed.
        optimizer: How the bound is optimised.
    """

    family: Family = field(default_factory=Full)
    optimizer: Optimizer = field(default_factory=NaturalGradient)

    def __post_init__(self) -> None:
        """Checks that family and optimiser are components."""
        check_part("family", self.family, Family, Full)
        check_part("optimizer", self.optimizer, Optimizer, NaturalGradient)

    def control(self, problem: Problem, window: Window) -> Control:
        """The coordinates of the family."""
        return self.family.control(problem, window)

    def fit(self, control: Control) -> Density:
        """Optimises the bound of each case."""
        return self.family.refine(control, self.optimizer.fit(control, self.family).q)[0]
