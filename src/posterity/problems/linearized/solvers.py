"""How the step of a minimisation is solved for: by matrices, or by products alone."""

import abc
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...algebra import conjugate_gradients
from ..chunks import LARGE, chunks
from ..control import Control
from .hessian import structured
from .model import Linearization, LinearModel, selected

#: Unknowns up to which matrices are faster, however many there are: a product has as many sweeps as a matrix has.
TINY = 64


class Step(NamedTuple):
    """A step, and what the quadratic model says of it.

    Args:
        du: The step, with shape ``(case, size)``.
        predicted: The decrease of the cost that the model predicts, with shape ``(case,)``.
        missed: A bound of the decrease that an exact solution would have had beyond it, with the same shape.
    """

    du: Tensor
    predicted: Tensor
    missed: Tensor


class Solver(abc.ABC):
    r"""Abstract solver of :math:`(\nabla^2_{GN} J + \lambda I)\, \delta u = -\nabla J`, each case on its own."""

    @abc.abstractmethod
    def evaluate(self, control: Control, u: Tensor, states: int) -> Linearization:
        """Cost and gradient at a control, and the Hessian if the solver holds it.

        Args:
            control: The control.
            u: Where, with shape ``(case, size)``.
            states: The number of states of the window that count.
        """

    @abc.abstractmethod
    def solve(
        self, control: Control, u: Tensor, states: int, here: Linearization, damping: Tensor, accuracy: Tensor
    ) -> Step:
        r"""Solves for a step.

        Args:
            control: The control.
            u: Where it starts, with shape ``(case, size)``.
            states: The number of states of the window that count.
            here: What :meth:`evaluate` found there.
            damping: The damping :math:`\lambda`, with shape ``(case,)``.
            accuracy: The norm of :math:`\nabla J` that may be left over, with shape ``(case,)``.
        """


@dataclass(frozen=True)
class Cholesky(Solver):
    """Cholesky: the Hessian as a matrix, and its factors; exact, for up to some hundred unknowns."""

    def evaluate(self, control: Control, u: Tensor, states: int) -> Linearization:
        """Cost, gradient and Hessian."""
        return control.linearize(u, states).quadratic()

    def solve(
        self, control: Control, u: Tensor, states: int, here: Linearization, damping: Tensor, accuracy: Tensor
    ) -> Step:
        """The exact step; zero where the factorisation breaks down."""
        shift = torch.diag_embed(damping.unsqueeze(-1).expand_as(here.gradient))
        assert here.hessian is not None
        factor, broken = torch.linalg.cholesky_ex(here.hessian + shift)
        du = -torch.cholesky_solve(here.gradient.to(factor).unsqueeze(-1), factor).squeeze(-1).to(u)
        du = torch.where((broken != 0).unsqueeze(-1), 0, du).nan_to_num()
        predicted = -0.5 * torch.einsum("ci,ci->c", du, here.gradient - damping.unsqueeze(-1) * du)
        return Step(du, predicted, torch.zeros_like(predicted))


@dataclass(frozen=True)
class Recursion(Solver):
    """Recursion in time, under the weak constraint: exact, by blocks of the size of a state.

    See :mod:`posterity.problems.linearized.markov`.
    """

    def evaluate(self, control: Control, u: Tensor, states: int) -> Linearization:
        """Cost and gradient."""
        return _descent(control, u, states)

    def solve(
        self, control: Control, u: Tensor, states: int, here: Linearization, damping: Tensor, accuracy: Tensor
    ) -> Step:
        """The exact step; zero where the factorisation breaks down."""
        factor = structured(control.linearize(u, states)).shifted(damping.double()).factor()
        du = -factor.covariance(here.gradient).to(u).nan_to_num()
        predicted = -0.5 * torch.linalg.vecdot(du, here.gradient - damping.unsqueeze(-1) * du)
        return Step(du, predicted, torch.zeros_like(predicted))


@dataclass(frozen=True)
class ConjugateGradients(Solver):
    """Conjugate gradients: products with the Hessian alone, each a tangent and an adjoint of the model.

    The control is whitened, so that they are preconditioned by the prior: as many products are needed as directions are
    seen by the observations better than by the prior. Each step is solved no further than it is worth.

    Args:
        products: The most products for one step.
    """

    products: int = 200

    def __post_init__(self) -> None:
        """Checks that there are products."""
        if self.products < 1:
            raise ValueError(f"products: at least one is needed, not {self.products}")

    def evaluate(self, control: Control, u: Tensor, states: int) -> Linearization:
        """Cost and gradient, as many cases at a time as fit the memory."""
        return _descent(control, u, states)

    def solve(
        self, control: Control, u: Tensor, states: int, here: Linearization, damping: Tensor, accuracy: Tensor
    ) -> Step:
        """The truncated step, as many cases at a time as fit the memory: one run of the model serves all adjoints."""
        steps = []
        for cases in chunks(
            control.cases, control.problem.window * control.states, u.device, control.adjoint_size() / control.cases
        ):
            gradient, shift = here.gradient[cases], damping[cases].unsqueeze(-1)
            with selected(control, cases) as part:
                model = part.linearize(u[cases], states, here.take(cases))
                found = conjugate_gradients(
                    partial(_damped, model, shift),
                    -gradient,
                    accuracy[cases],
                    min(self.products, control.size),
                )
            # With what is left over, r: δᵀ(H + λ)δ = -δᵀ(g + r).
            predicted = -0.5 * torch.linalg.vecdot(found.x, gradient - found.residual - shift * found.x)
            # No eigenvalue of the Hessian of a white prior is below one.
            missed = 0.5 * found.residual.square().sum(dim=-1)
            steps.append(Step(found.x, predicted, missed))
        return Step(*(torch.cat(parts) for parts in zip(*steps, strict=True)))


def _damped(model: LinearModel, shift: Tensor, du: Tensor) -> Tensor:
    """The product with the damped Hessian."""
    return model.hessian(du) + shift * du


def solver_of(control: Control, members: int = 1) -> Solver:
    """The solver that suits the size of a control, and the number of minimisations of each case.

    Products of all members are one batch, which pays for the dispatch of their operations, where each member has a
    matrix of its own. So products are chosen where all of these would have more entries than that of one control may
    have, unless they are tiny. Other cases do not count: a case is solved for as it would be alone.

    Args:
        control: The control.
        members: The number of controls of each case that are minimised at once.
    """
    if control.is_chain:
        return ConjugateGradients() if control.is_large else Recursion()
    many = members * control.size**2 > LARGE**2
    return ConjugateGradients() if many and control.size > TINY else Cholesky()


def _descent(control: Control, u: Tensor, states: int) -> Linearization:
    """Cost and gradient, and the trajectory where it is kept."""
    model = control.linearize(u, states)
    return Linearization(model.cost, model.gradient, path=model.path)
