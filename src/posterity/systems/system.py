"""The abstract dynamical system, with the only loops over its steps, and the Jacobian of a batched function."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, cached_property
from math import prod
from typing import ClassVar, get_args, get_type_hints

import torch
from torch import Tensor

from ..tensors import append_dims, identity, kept_bytes
from .equations.misfits import Misfit, Sight

#: Examples of methods that need no gradients, for messages.
WITHOUT_GRADIENTS = "such as enkf, ienks, particle-smoother or npe"


class System(abc.ABC):
    r"""Abstract discrete-time dynamical system :math:`x_{t+1} = M(x_t; \theta)`.

    All others advance states through :meth:`advance`, :meth:`advance_each` and :meth:`rollout`, so that a subclass can
    bring a fused kernel for any of them. Subclasses are frozen dataclasses whose fields are the parameters: a float, or
    a tensor that carries one value per batch element. States have shape ``(*batch, *shape)`` with
    ``shape = (channel, *grid)``.
    """

    #: Names and units of the state's channels, for files and figures.
    channels: ClassVar[tuple[str, ...]]
    units: ClassVar[str] = "1"

    #: The units of the model's time: where they are those of a clock, as ``ms``, times of files are told by them.
    time_units: ClassVar[str] = "model time units"

    #: The number of axes of the grid or, if options decide, the one that has a number of sites for each axis, and one
    #: number for one axis. It tells which figures show something before anything runs; without it all are drawn.
    axes: ClassVar[int | str]

    #: Whether gradients pass through a step: methods that need them refuse a system that says no.
    differentiable: ClassVar[bool] = True

    #: Whether a step draws noise; see :class:`~posterity.systems.Stochastic`, which such systems derive from.
    stochastic: ClassVar[bool] = False

    #: Time between two states, in model time units. (A field of every subclass.)
    dt: float

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Event shape of a state, ``(channel, *grid)``."""

    @property
    def lengths(self) -> tuple[float, ...]:
        """Lengths of the periodic domain along the axes of the grid, for wave numbers and derivatives of figures."""
        return tuple(float(size) for size in self.shape[1:])

    @property
    def landscape(self) -> Tensor:
        """Fields that tell the sites of the grid apart, with shape ``(channel, *grid)``, on the processor.

        What steps depend on at a site, whatever time and parameters are, such as the pattern of a forcing, of a size of
        about one. No channels, if not overridden: all sites are alike.
        """
        return torch.zeros(0, *self.shape[1:], device="cpu")

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The event shape of the white noise of a step; of a system that draws none, of no entries."""
        return (0,)

    def at(self, time: Tensor | float) -> "System":
        """The system for states at a given time; itself, unless it is :class:`~posterity.systems.Driven`.

        Args:
            time: The time, in steps since the start of the system's ensemble; a number, or one per batch element.
        """
        return self

    @abc.abstractmethod
    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws states at the start of the system's ensemble, after its spin-up.

        Args:
            batch: The batch shape.

        Returns:
            States with shape ``(*batch, *shape)``, in torch's default dtype and on its default device.
        """

    @abc.abstractmethod
    def step(self, x: Tensor) -> Tensor:
        """Advances states by one ``dt``.

        Args:
            x: States, with shape ``(*batch, *shape)``.

        Returns:
            The states one ``dt`` later, with the same shape, differentiable in ``x``.
        """

    def stepper(self) -> Callable[[Tensor], Tensor]:
        """The function that the loops below apply at each step, made once for each of them.

        A subclass may bring a fused one here, with derivatives of its own, as long as it equals :meth:`step`, or
        prepare what all steps share.
        """
        return self.step

    def retracer(self, device: torch.device) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The function of a state and the one after it, known already, that has the derivatives of a step.

        Tangents and adjoints along a trajectory that is kept need no other. None, if not overridden: derivatives of
        ordinary operations need what these have computed, so that the step is done again.

        Args:
            device: Where the states are.
        """
        return None

    def admissible(self, x: Tensor) -> Tensor:
        """The nearest states that the system can be in, such as velocities without divergence; all, if not overridden.

        Args:
            x: States of users, with shape ``(*batch, *shape)``.

        Returns:
            States with the same shape.
        """
        return x

    def shuffled(self, x: Tensor) -> Tensor:
        """Applies to each state a random element of the system's symmetries, so of what commutes with its steps.

        Args:
            x: States, with shape ``(*batch, *shape)``.

        Returns:
            States of the same climatology, with the same shape; the same ones, unless a subclass knows symmetries.
        """
        return x

    def advance(self, x: Tensor, steps: int) -> Tensor:
        """Advances states by several ``dt``, of which only the last states are kept.

        Args:
            x: States, with shape ``(*batch, *shape)``.
            steps: The number of steps.

        Returns:
            The states ``steps * dt`` later, with the same shape.
        """
        step = self._checked()
        for _ in range(steps):
            x = step(x)
        return x

    def advance_each(self, x: Tensor, steps: Tensor, most: int) -> Tensor:
        """Advances each batch element by its own number of steps.

        Args:
            x: States, with shape ``(*batch, *shape)``.
            steps: The numbers of steps, with shape ``(*batch,)``; those above ``most`` count as ``most``.
            most: The largest number of steps, known without a look at the tensor.

        Returns:
            The advanced states, with the same shape.
        """
        steps, step = append_dims(steps, len(self.shape)), self._checked()
        for t in range(most):
            x = torch.where(steps > t, step(x), x)
        return x

    def kept(self, device: torch.device) -> float:
        """The number of entries that the adjoint of one step keeps, for each entry of the state: measured once.

        Batches are cut by it, to fit the memory. A system whose adjoint is fused may say it itself.

        Args:
            device: Where the states are.
        """
        return self._measured

    @cached_property
    def _measured(self) -> float:
        """What derivatives of the step itself keep."""
        with torch.inference_mode(False):
            x = torch.zeros(8, *self.shape, requires_grad=True)
        return sum(kept_bytes(lambda: self.step(x))) / (x.element_size() * x.numel())

    def rollout(self, x0: Tensor, steps: int, error: Tensor | None = None) -> Tensor:
        r"""The trajectory :math:`x_{t+1} = M(x_t) + \eta_t`.

        Args:
            x0: Initial states, with shape ``(*batch, *shape)``.
            steps: The number of steps :math:`L`.
            error: Model errors :math:`\eta`, with shape ``(*batch, steps, *shape)``; none if omitted. Of a stochastic
                system the white noise of its steps, ``(*batch, steps, *noise_shape)``, which is drawn if omitted.

        Returns:
            The states :math:`x_0, …, x_L`, with shape ``(*batch, steps + 1, *shape)``.
        """
        axis, step = -len(self.shape) - 1, self._checked()
        states = [x0]
        for t in range(steps):
            x = step(states[-1])
            states.append(x if error is None else x + error.select(axis, t))
        return torch.stack(states, dim=axis)

    def retrace(self, x0: Tensor, path: Tensor, error: Tensor | None = None) -> Tensor:
        """The trajectory, which is known, with the derivatives that :meth:`rollout` would give it.

        Args:
            x0: Initial states, with shape ``(*batch, *shape)``.
            path: The values of the trajectory from them, with shape ``(*batch, steps + 1, *shape)``.
            error: Model errors, as for :meth:`rollout`.

        Returns:
            The trajectory, with the same shape.
        """
        axis, step = -len(self.shape) - 1, self.retracer(path.device)
        if step is None:
            return self.rollout(x0, path.shape[axis] - 1, error)
        states = [x0]
        for t, after in enumerate(path.unbind(dim=axis)[1:]):
            if error is None:
                states.append(step(states[-1], after))
            else:
                moved = error.select(axis, t)
                states.append(step(states[-1], after - moved.detach()) + moved)
        return torch.stack(states, dim=axis)

    def misfit(
        self, x0: Tensor, y: Tensor, precision: Tensor, sight: Sight, error: Tensor | None, gradient: bool
    ) -> Misfit | None:
        r"""Half the squares of misfits, :math:`\frac12 \sum_t \|p_t (H(x_t) - y_t)\|^2`, where it has a sweep for them.

        Args:
            x0: Initial states, with shape ``(*batch, case, *shape)``.
            y: What is seen of the trajectory, with shape ``(case, states, *seen)``.
            precision: The factors :math:`p`, with the same shape.
            sight: What sees a state.
            error: Model errors, as for :meth:`rollout`.
            gradient: Whether its gradients are wanted, too.

        Returns:
            What was found; None where :meth:`rollout` and the sight of its states do as well.
        """
        return None

    def gauss_newton(
        self, x0: Tensor, dx0: Tensor, dtheta: Mapping[str, Tensor], y: Tensor, precision: Tensor, sight: Sight
    ) -> Tensor | None:
        r"""The matrix :math:`(G, r)^T (G, r)` of misfits :math:`r` and their changes :math:`G`; see :meth:`misfit`.

        Args:
            x0: As there.
            dx0: What directions do to it, with shape ``(directions, *batch, case, *shape)``.
            dtheta: What they do to unknown parameters, by name, with shape ``(directions, *batch, case)``.
            y: As there.
            precision: As there.
            sight: As there.

        Returns:
            The products, in double precision, with shape ``(*batch, case, directions + 1, directions + 1)``; or None.
        """
        return None

    def _checked(self) -> Callable[[Tensor], Tensor]:
        """One step, with the gradient that its argument carries."""
        step, what = self.stepper(), f"system: the step of {type(self).__name__}"
        return lambda x: with_gradient(step(x), x, what)


def parameter_names(system: System) -> tuple[str, ...]:
    """The names of the parameters that may be unknown: the fields that may hold a tensor, one value per case.

    Raises:
        ValueError: If the annotations name something that the system's module does not know when it runs.
    """
    return parameters_of(type(system))


@cache
def parameters_of(cls: type[System]) -> tuple[str, ...]:
    """The names of the parameters of a class; see :func:`parameter_names`."""
    try:
        # Under `from __future__ import annotations` they are text, and Tensor may be imported for type checkers alone.
        hints = get_type_hints(cls, localns={"Tensor": Tensor, "torch": torch})
    except (NameError, TypeError) as error:
        raise ValueError(
            f"system: the annotations of {cls.__name__} cannot be read ({error}); import what they name where the "
            "module runs, not for type checkers alone"
        ) from error
    return tuple(f.name for f in fields(cls) if Tensor in get_args(hints[f.name]))  # type: ignore[arg-type]


def with_gradient(value: Tensor, x: Tensor, what: str) -> Tensor:
    """The value of a function, unless it has lost the gradient that its argument carries.

    Else a cost would be differentiated without it, and methods be silently wrong.

    Args:
        value: The value.
        x: The argument.
        what: The function, for the message.

    Raises:
        ValueError: If the argument carries a gradient, and the value does not.
    """
    if x.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
        raise ValueError(
            f"{what} passes no gradient on, as functions outside torch do; write it in torch, "
            f"or choose a method that needs no gradients, {WITHOUT_GRADIENTS}"
        )
    return value


def jacobian(f: Callable[[Tensor], Tensor], x: Tensor, event: int, output: int | None = None) -> tuple[Tensor, Tensor]:
    r"""The value and the Jacobian matrix of a batched function, all batch elements at once.

    One forward pass, then one reverse pass that carries every output as its own cotangent.

    Args:
        f: A function from ``(*batch, *event)`` to ``(*batch, *output)`` that keeps batch elements apart.
        x: Where to linearise, with shape ``(*batch, *event)``.
        event: The number of event dimensions of ``x``.
        output: The number of event dimensions of ``f(x)``; as many as ``x`` has if omitted.

    Returns:
        ``f(x)``, and :math:`\partial f / \partial x` with shape ``(*batch, m, n)`` over flattened events.
    """
    output = event if output is None else output
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = with_gradient(f(x), x, type(f).__name__)
    batch, n = x.shape[: x.ndim - event], prod(x.shape[x.ndim - event :])
    shape = y.shape[y.ndim - output :]
    m = prod(shape)
    seeds = identity(y, m).reshape(m, *([1] * len(batch)), *shape)
    rows = torch.func.vmap(lambda seed: torch.autograd.grad(y, x, seed)[0])(seeds.expand(m, *y.shape))
    return y.detach(), rows.reshape(m, *batch, n).movedim(0, -2)
