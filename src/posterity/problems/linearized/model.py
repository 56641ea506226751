"""The linearised model of a control: tangents, adjoints and the Gauss–Newton Hessian, as products or as a matrix."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ...tensors import identity
from ..chunks import chunks
from .sweeps import descent, gauss_newton, residual_graph
from .tangents import basis, sensitivities, tangent

if TYPE_CHECKING:
    from ..control import Control


class Linearization(NamedTuple):
    r"""Cost, gradient and Gauss–Newton Hessian at a control, and the trajectory.

    Args:
        cost: :math:`J(u)`, with shape ``(*batch,)``; infinite where the model diverged.
        gradient: :math:`\nabla J(u)`, with shape ``(*batch, n)``.
        hessian: :math:`I + G^T R^{-1} G` with :math:`G = \partial H(x(u)) / \partial u`, with shape ``(*batch, n, n)``,
            in double precision: its eigenvalues span more than single precision can hold, and must stay positive. None
            where it is not held.
        path: The states :math:`x_t(u)` that count, with shape ``(*batch, states, *shape)``; None where they are not
            kept.
    """

    cost: Tensor
    gradient: Tensor
    hessian: Tensor | None = None
    path: Tensor | None = None

    def take(self, index: Tensor | slice, axis: int = 0) -> "Linearization":
        """Those of some of the cases, which are the dimension ``axis``."""
        where = (*[slice(None)] * axis, index)
        hessian, path = (None if field is None else field[where] for field in self[2:])
        return Linearization(self.cost[where], self.gradient[where], hessian, path)

    def put(self, index: Tensor, part: "Linearization") -> "Linearization":
        """All, with those of some cases, which are the first dimension, replaced."""

        def merged(old: Tensor | None, new: Tensor | None) -> Tensor | None:
            return None if old is None or new is None else old.index_copy(0, index, new)

        return Linearization(
            self.cost.index_copy(0, index, part.cost),
            self.gradient.index_copy(0, index, part.gradient),
            merged(self.hessian, part.hessian),
            merged(self.path, part.path),
        )


class LinearModel:
    r"""The Gauss–Newton model of a control's cost,

    .. math::
        J(u + \delta u) \approx J(u) + \nabla J^T \delta u + \tfrac12 \delta u^T (I + G^T R^{-1} G)\, \delta u, \qquad
        G = \partial H(x(u)) / \partial u ,

    by products with :math:`R^{-1/2} G` and its transpose. In the control of states, whose prior is not white, the rows
    of the prior stand before those of the observations, and the Hessian is their product alone.

    Nothing is computed before it is asked for. A tangent is one run of the model with numbers that carry their
    derivative (or two adjoints, where some function knows no forward mode); an adjoint is a sweep back over the states
    of one run, which is kept if it fits the memory, and else repeated chunk by chunk. Where the system's derivatives
    need its states alone (:meth:`.System.retracer`), these are kept, and neither runs the model again. Both count as
    ``gradients`` of the control, one per direction.

    Directions have the shape of the control or of the residual, with any dimensions more on their left: several
    directions at once.

    Args:
        control: The control.
        u: Where it is linearised, with shape ``(*batch, case, size)``.
        states: The number of states of the window that count.
        known: What is known of it already.
    """

    def __init__(self, control: "Control", u: Tensor, states: int, known: Linearization | None = None) -> None:
        self.control = control
        self.u = u.detach()
        self.states = states
        self.size = u.shape[-1]
        self._known = known

    @cached_property
    def _descent(self) -> tuple[Tensor, Tensor]:
        """Cost and gradient."""
        if self._known is not None:
            return self._known.cost, self._known.gradient

        def sweep(control: "Control", u: Tensor, _: Tensor) -> Tensor:
            cost, gradient = descent(control, u, self.states)
            return torch.cat((cost.unsqueeze(-1), gradient), dim=-1)

        both = self._sweep(sweep, self.u)
        return both[..., 0], both[..., 1:]

    @cached_property
    def path(self) -> Tensor | None:
        """The states that count, ``(*batch, case, states, *shape)``; None where keeping them saves nothing."""
        if self._known is not None and self._known.path is not None:
            return self._known.path
        if self.control.problem.system.retracer(self.u.device) is None:
            return None
        with torch.no_grad():
            return self._run(lambda control, u, _: control.trajectory(u, self.states), self.u, None)

    @property
    def cost(self) -> Tensor:
        """The cost :math:`J(u)`, with shape ``(*batch, case)``; infinite where the model diverged."""
        return self._descent[0]

    @property
    def gradient(self) -> Tensor:
        r"""The gradient :math:`\nabla J(u)`, with shape ``(*batch, case, size)``."""
        return self._descent[1]

    @cached_property
    def residual(self) -> Tensor:
        """What the cost is the sum of squares of, beside a white prior, with shape ``(*batch, case, rows)``."""
        return self._sweep(lambda control, u, _: control.residual(u, self.states), self.u)

    def tangent(self, du: Tensor) -> Tensor:
        r"""The product :math:`R^{-1/2} G\, \delta u`.

        Args:
            du: The directions, with shape ``(*directions, *batch, case, size)``.

        Returns:
            What they do to the residual, with shape ``(*directions, *batch, case, rows)``.
        """

        def sweep(control: "Control", u: Tensor, du: Tensor) -> Tensor:
            control.gradients += control.members(u)
            return tangent(lambda u: control.residual(u, self.states), u, du)

        return self._sweep(sweep, du)

    def states_tangent(self, du: Tensor) -> Tensor:
        r"""The product :math:`\partial x / \partial u\, \delta u`: what directions do to the states of the window.

        Args:
            du: The directions, with shape ``(*directions, *batch, case, size)``.

        Returns:
            The changes, with shape ``(*directions, *batch, case, states, *shape)``.
        """

        def sweep(control: "Control", u: Tensor, du: Tensor) -> Tensor:
            control.gradients += control.members(u)
            return tangent(lambda u: control.trajectory(u, self.states), u, du)

        return self._sweep(sweep, du)

    def adjoint(self, dy: Tensor) -> Tensor:
        r"""The product :math:`G^T R^{-1/2}\, \delta y`.

        Args:
            dy: The directions, with shape ``(*directions, *batch, case, rows)``.

        Returns:
            What they are pulled back to, with shape ``(*directions, *batch, case, size)``.
        """
        if dy.shape[:-1] == self.u.shape[:-1] and self._fits:
            u, residual = self._graph
            self.control.gradients += self.control.members(u)
            return torch.autograd.grad(residual, u, dy, retain_graph=True)[0]

        def sweep(control: "Control", u: Tensor, dy: Tensor) -> Tensor:
            control.gradients += control.members(u)
            leaf, residual = residual_graph(control, u, self.states)
            return torch.autograd.grad(residual, leaf, dy)[0]

        return self._sweep(sweep, dy)

    def hessian(self, du: Tensor) -> Tensor:
        r"""The product :math:`(I + G^T R^{-1} G)\, \delta u`, with the shape of the directions."""
        product = self.adjoint(self.tangent(du))
        return du + product if self.control.white else product

    def dense(self) -> Tensor:
        """The Gauss–Newton Hessian as a matrix, in double precision, with shape ``(*batch, case, size, size)``."""
        hessian = self.quadratic().hessian
        assert hessian is not None
        return hessian

    def quadratic(self) -> Linearization:
        """Cost, gradient and Hessian as matrices, computed once."""
        if self._known is None or self._known.hessian is None:
            self._known = self._matrices()._replace(path=None if self._known is None else self._known.path)
        return self._known

    def select(self, index: Tensor | slice) -> "LinearModel":
        """The model of some of the cases, which counts its own work."""
        # Cases are the last dimension of the batch.
        known = None if self._known is None else self._known.take(index, self.u.ndim - 2)
        return LinearModel(self.control.select(index), self.u[..., index, :], self.states, known)

    def put(self, index: Tensor, part: "LinearModel") -> "LinearModel":
        """The model of all cases, with those of some of them replaced; controls have no batch dimension more."""
        known = None
        if self._known is not None and part._known is not None:
            known = self._known.put(index, part._known)
        return LinearModel(self.control, self.u.index_copy(0, index, part.u), self.states, known)

    def _matrices(self) -> Linearization:
        """Cost, gradient and Hessian as matrices, as many cases at a time as fit a chunk."""
        members, axis = prod(self.u.shape[:-2]), self.u.ndim - 2
        parts = []
        for cases in chunks(self.control.cases, members * self.states * self.size**2, self.u.device):
            with selected(self.control, cases) as control:
                parts.append(control.quadratic(self.u[..., cases, :], self.states))
        fields = ([field for field in some if field is not None] for some in zip(*parts, strict=True))
        return Linearization(*(torch.cat(some, dim=axis) for some in fields if some))

    @property
    def _fits(self) -> bool:
        """Whether the adjoint of all of it fits the memory at once."""
        return len(list(self._pieces(prod(self.u.shape[:-2])))) == 1

    @cached_property
    def _graph(self) -> tuple[Tensor, Tensor]:
        """The control and its residual, with the graph between them."""
        control = self.control if self.path is None else self.control.along(self.path)
        return residual_graph(control, self.u, self.states)

    def _pieces(self, members: int) -> Iterator[tuple[slice, slice]]:
        """Cuts cases, and controls of each, into pieces of which the adjoint fits the memory."""
        control, size = self.control, self.states * self.control.states
        kept = control.adjoint_size() / control.cases
        for cases in chunks(control.cases, size, self.u.device, kept):
            number = len(range(control.cases)[cases])
            for some in chunks(members, number * size, self.u.device, number * kept):
                yield cases, some

    def _sweep(self, run: Callable[["Control", Tensor, Tensor], Tensor], direction: Tensor) -> Tensor:
        """Runs the model, or derives along the trajectory that is kept; see :meth:`_run`."""
        return self._run(run, direction, self.path)

    def _run(
        self, run: Callable[["Control", Tensor, Tensor], Tensor], direction: Tensor, path: Tensor | None
    ) -> Tensor:
        """Runs the model piece by piece.

        Args:
            run: What is done with a control, some of its ``u``, and the direction of each of them, with shapes
                ``(members, case, …)``.
            direction: The directions, with shape ``(*directions, *batch, case, …)``.
            path: The trajectories, where they are known.

        Returns:
            What it gives, with shape ``(*directions, *batch, case, …)``.
        """
        batch = direction.shape[:-2]
        direction = direction.reshape(-1, *direction.shape[-2:])
        u = self.u.reshape(-1, *self.u.shape[-2:])
        # Directions are the first dimensions: each goes through all controls.
        of = torch.arange(len(direction), device=u.device) % max(1, len(u))
        trajectories = None if path is None else path.reshape(len(u), *path.shape[self.u.ndim - 2 :])
        rows: dict[int, list[Tensor]] = {}
        for cases, members in self._pieces(len(direction)):
            with selected(self.control, cases) as control:
                if trajectories is not None:
                    control = control.along(trajectories[of[members], cases])
                rows.setdefault(cases.start, []).append(run(control, u[of[members], cases], direction[members, cases]))
        value = torch.cat([torch.cat(row) for row in rows.values()], dim=1)
        return value.unflatten(0, batch) if batch else value.squeeze(0)


@contextmanager
def selected(control: "Control", cases: slice | Tensor) -> Iterator["Control"]:
    """The control of some of the cases, in order, whose work counts; the control itself if these are all."""
    if (len(cases) if isinstance(cases, Tensor) else len(range(control.cases)[cases])) == control.cases:
        yield control
        return
    part = control.select(cases)
    yield part
    control.absorb(part, cases)


def matrices(control: "Control", u: Tensor, states: int) -> Linearization:
    """The model of a cost as matrices: dense in the control, so meant for some hundred entries.

    Some systems have a sweep for them. Of others, where entries are fewer than those of the state, one run of the model
    carries all of them, as of a stochastic system, whose noise is no term of a sum; else see :func:`.sensitivities`.

    Args:
        control: The control, whose prior is white.
        u: Where it is linearised, with shape ``(*batch, case, size)``.
        states: The number of states of the window that count.
    """
    system, n = control.problem.system, control.size
    products = gauss_newton(control, u, states)
    if products is None:
        if system.stochastic or (n < control.states and system.retracer(u.device) is None):
            model = LinearModel(control, u, states)
            residual, changes = model.residual, model.tangent(basis(u))
        else:
            residual, changes = sensitivities(control, u, states)
        both = torch.cat((changes, residual.unsqueeze(0))).double().movedim(0, -2)
        products = both @ both.mT
    cost = 0.5 * (u.square().sum(dim=-1) + products[..., n, n])
    return Linearization(
        cost.to(u).nan_to_num(nan=torch.inf, posinf=torch.inf),
        u + products[..., :n, n].to(u),
        identity(products, n) + products[..., :n, :n],
    )
