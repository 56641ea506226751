r"""Time steps of a vorticity that its own flow carries along: Lawson's scheme, its tangent and its adjoint.

The waves of a vorticity follow :math:`\dot{\hat\omega} = -\Lambda \hat\omega + \hat f + N(\hat\omega)`, with a damping
:math:`\Lambda` of each wave, a constant source and the advection :math:`N`. The scheme is the classical Runge–Kutta one
in the variable :math:`e^{\Lambda t} (\hat\omega - \hat\omega_*)`, where :math:`\hat\omega_* = \hat f / \Lambda`:
damping and source alone are exact, whatever the step. It is of fourth order, and costs four multiplications by one
factor, where exponential time differencing (ETDRK4) has five factors, each a contour integral of :math:`\Lambda`, and
these for every case if the damping is unknown. ETDRK4 is the better one where damping is stiff; here the waves kept
turn over much faster than they are damped, and both have the error of the advection.

References:
    | Generalized Runge–Kutta processes for stable systems with large Lipschitz constants (Lawson, 1967),
      https://doi.org/10.1137/0704033
    | Fourth-order time-stepping for stiff PDEs (Kassam & Trefethen, 2005), https://doi.org/10.1137/S1064827502410633
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .spectral import Waves, Workspace, regridded

#: Points of the fine grid that a CPU works on at once, so that the fields stay in its cache; on other devices, to bound
#: the memory of the stages.
TILE = {"cpu": 2**16, "cuda": 2**22}
#: Why a gradient of a gradient is refused.
ONCE = "the fused step of a flow has first derivatives only; differentiate `step` where second ones are needed"


class Stages(NamedTuple):
    """What tangent and adjoint of a substep need of it: the flow at each stage, and what its factor multiplied."""

    flows: tuple[Tensor, Tensor, Tensor, Tensor]
    start: Tensor
    first: Tensor
    middle: Tensor
    end: Tensor


@dataclass(frozen=True)
class Lawson:
    r"""Steps of velocities on one grid, integrated on another.

    Throughout, ``half`` is the factor of half a substep, :math:`e^{-\Lambda h / 2}`, and ``source`` what the source
    adds in it, both complex with shape ``(rows, columns)``, or one for each batch element.

    Args:
        coarse: The waves of the states' grid.
        fine: Those of the grid of the integration, which has all of these.
        h: The time of a substep.
        substeps: The substeps of a step.
    """

    coarse: Waves
    fine: Waves
    h: float
    substeps: int

    def begin(self, x: Tensor) -> Tensor:
        """The vorticity on the fine grid's waves, of velocities of shape ``(*batch, 2, height, width)``."""
        return self._refined(self.coarse.vorticity(x))

    def finish(self, w: Tensor) -> Tensor:
        """The velocities of a vorticity on the fine grid's waves."""
        return self.coarse.flow(self._coarsened(w))

    def stepped(self, x: Tensor, half: Tensor, source: Tensor, fused: bool = False) -> Tensor:
        """One step of velocities of shape ``(*batch, 2, height, width)``; if fused, without derivatives."""
        w = self.begin(x)
        fine = Workspace(self.fine, w) if fused else self.fine
        for _ in range(self.substeps):
            w, _ = self.substep(fine, w, half, source)
        return self.finish(w)

    def substep(self, fine: Waves | Workspace, w: Tensor, half: Tensor, source: Tensor) -> tuple[Tensor, Stages]:
        """One substep of a vorticity, and its stages."""
        h, flow, advection = self.h, fine.flow, fine.advection
        q1 = flow(w)
        k1 = advection(q1)
        damped = half * k1
        start = torch.addcmul(source, half, w)
        q2 = flow(torch.add(start, damped, alpha=h / 2))
        k2 = advection(q2)
        q3 = flow(torch.add(start, k2, alpha=h / 2))
        k3 = advection(q3)
        middle = torch.add(start, k3, alpha=h)
        q4 = flow(torch.addcmul(source, half, middle))
        k4 = advection(q4)
        end = start.add(damped, alpha=h / 6).add(k2 + k3, alpha=h / 3)
        after = torch.addcmul(source, half, end).add(k4, alpha=h / 6)
        return after, Stages((q1, q2, q3, q4), w, k1, middle, end)

    def tangent(self, x: Tensor, half: Tensor, source: Tensor, dx: Tensor, dhalf: Tensor, dsource: Tensor) -> Tensor:
        """The tangent of a step, for tangents of its arguments."""
        w, dw = self.begin(x), self.begin(dx)
        fine = Workspace(self.fine, w)
        for _ in range(self.substeps):
            w, stages = self.substep(fine, w, half, source)
            dw = self._tangent(fine, stages, half, dw, dhalf, dsource)
        return self.finish(dw)

    def adjoint(
        self, x: Tensor, half: Tensor, source: Tensor, gradient: Tensor, parameters: bool
    ) -> tuple[Tensor, ...]:
        """The adjoint of a step: the gradient of velocities; with parameters, those of factors and sources, batched."""
        w, taped = self.begin(x), []
        fine = Workspace(self.fine, w)
        for _ in range(self.substeps):
            w, stages = self.substep(fine, w, half, source)
            taped.append(stages if parameters else Stages(stages.flows, *[w.new_empty(0)] * 4))
        g = self._refined(self.coarse.gathered(gradient))
        dhalf, dsource = (torch.zeros_like(g), torch.zeros_like(g)) if parameters else (None, None)
        while taped:
            g = self._adjoint(taped.pop(), half, g, dhalf, dsource)
        dx = self.coarse.scattered(self._coarsened(g))
        if dhalf is None or dsource is None:
            return (dx,)
        # From means of products over the plane to sums over its points, and to the waves that are stored.
        weights = self.coarse.height * self.coarse.width * self.fine.weights.like(g)
        return dx, weights * dhalf, weights * dsource

    def _tangent(
        self, fine: Workspace, stages: Stages, half: Tensor, dw: Tensor, dhalf: Tensor, dsource: Tensor
    ) -> Tensor:
        """The tangent of a substep."""
        h, advection = self.h, fine.tangent
        q1, q2, q3, q4 = stages.flows
        k1 = advection(q1, dw)
        damped = torch.addcmul(dhalf * stages.first, half, k1)
        start = torch.addcmul(torch.addcmul(dsource, dhalf, stages.start), half, dw)
        k2 = advection(q2, torch.add(start, damped, alpha=h / 2))
        k3 = advection(q3, torch.add(start, k2, alpha=h / 2))
        middle = torch.add(start, k3, alpha=h)
        k4 = advection(q4, torch.addcmul(torch.addcmul(dsource, dhalf, stages.middle), half, middle))
        end = start.add(damped, alpha=h / 6).add(k2 + k3, alpha=h / 3)
        return torch.addcmul(torch.addcmul(dsource, dhalf, stages.end), half, end).add(k4, alpha=h / 6)

    def _adjoint(self, stages: Stages, half: Tensor, g: Tensor, dhalf: Tensor | None, dsource: Tensor | None) -> Tensor:
        """The adjoint of a substep, for means of products over the plane; adds to the parameters' gradients."""
        h, advection = self.h, self.fine.adjoint
        q1, q2, q3, q4 = stages.flows
        end = half * g
        last = advection(q4, g * (h / 6))
        middle = half * last
        third = advection(q3, torch.add(middle, end, alpha=1 / 3) * h)
        second = advection(q2, torch.add(end / 3, third, alpha=1 / 2) * h)
        start = end + middle + third + second
        damped = torch.add(end / 3, second) * (h / 2)
        if dhalf is not None and dsource is not None:
            dsource += g + last + start
            factors = (g, last, start, damped)
            for factor, value in zip(factors, (stages.end, stages.middle, stages.start, stages.first), strict=True):
                dhalf.addcmul_(factor, value.conj())
        return torch.add(half * start, advection(q1, half * damped))

    def _refined(self, w: Tensor) -> Tensor:
        return regridded(w, self.coarse.largest[0], self.fine.height, self.fine.largest[1] + 1)

    def _coarsened(self, w: Tensor) -> Tensor:
        return regridded(w, self.coarse.largest[0], self.coarse.height, self.coarse.largest[1] + 1)

    def tiled(self, step: Callable[..., Any], x: Tensor, *fields: Tensor) -> Any:
        """Does a few batch elements at once.

        Args:
            step: What to do, with batches of one dimension: a tensor, or a tuple of tensors or None.
            x: Velocities, with shape ``(*batch, 2, height, width)``.
            fields: What else may depend on the batch: two dimensions if it does not, its whole batch if so.

        Returns:
            What it gives for all of them, with the batch of ``x``.
        """
        batch = x.shape[:-3]
        size = max(1, TILE.get(x.device.type, TILE["cuda"]) // (self.fine.height * self.fine.width))
        if batch.numel() <= size:
            return step(x, *fields)
        count = -(-batch.numel() // size)
        parts = [(v,) * count if v.ndim == 2 else v.flatten(0, len(batch) - 1).split(size) for v in (x, *fields)]
        done = [step(*part) for part in zip(*parts, strict=True)]
        if isinstance(done[0], Tensor):
            return torch.cat(done).unflatten(0, batch)
        return tuple(torch.cat(values).unflatten(0, batch) for values in zip(*done, strict=True))


class Fused(torch.autograd.Function):
    """A step that keeps its arguments only: its derivatives compute the stages anew."""

    @staticmethod
    def forward(model: Lawson, x: Tensor, half: Tensor, source: Tensor) -> Tensor:
        """The step."""
        return model.tiled(partial(model.stepped, fused=True), x, half, source)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Lawson, Tensor, Tensor, Tensor], output: Tensor) -> None:
        """Keeps the arguments."""
        ctx.model, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor | None, Tensor | None]:
        """The adjoint, in a function of its own, which has no derivative and so refuses a second one."""
        x, half, source = ctx.saved_tensors
        parameters = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
        dx, *others = FusedAdjoint.apply(ctx.model, x, half, source, gradient, parameters)
        dhalf, dsource = (value.sum_to_size(half.shape) for value in others) if parameters else (None, None)
        return None, dx, dhalf, dsource

    @staticmethod
    def jvp(ctx: Any, _: None, dx: Tensor | None, dhalf: Tensor | None, dsource: Tensor | None) -> Tensor:
        """The tangent."""
        x, half, source = ctx.saved_tensors
        pairs = ((x, dx), (half, dhalf), (source, dsource))
        tangents = [torch.zeros_like(value) if tangent is None else tangent for value, tangent in pairs]
        return FusedTangent.apply(ctx.model, x, half, source, *tangents)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], model: Lawson, *tensors: Tensor) -> tuple[Tensor, int]:
        """Another batch dimension, in front."""
        return Fused.apply(model, *_in_front(info.batch_size, in_dims[1:], tensors)), 0


class Last(torch.autograd.Function):
    """A derivative that has none of its own, and says so."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps nothing."""

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        """Refuses."""
        raise NotImplementedError(ONCE)

    @staticmethod
    def jvp(ctx: Any, *_: Tensor) -> Any:
        """Refuses."""
        raise NotImplementedError(ONCE)


class FusedTangent(Last):
    """The tangent of a step."""

    @staticmethod
    def forward(model: Lawson, *tensors: Tensor) -> Tensor:
        """The tangent, for states, factors and sources, and the tangents of the three."""
        return model.tiled(model.tangent, *tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], model: Lawson, *tensors: Tensor) -> tuple[Tensor, int]:
        """Another batch dimension, in front."""
        return FusedTangent.apply(model, *_in_front(info.batch_size, in_dims[1:], tensors)), 0


class FusedAdjoint(Last):
    """The adjoint of a step."""

    @staticmethod
    def forward(
        model: Lawson, x: Tensor, half: Tensor, source: Tensor, gradient: Tensor, parameters: bool
    ) -> tuple[Tensor, ...]:
        """The gradient of states; with parameters also those of factors and sources, for each batch element."""
        return model.tiled(partial(model.adjoint, parameters=parameters), x, half, source, gradient)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], model: Lawson, *arguments: Any
    ) -> tuple[tuple[Tensor, ...], int]:
        """Another batch dimension, in front."""
        *tensors, parameters = arguments
        return FusedAdjoint.apply(model, *_in_front(info.batch_size, in_dims[1:-1], tensors), parameters), 0


def _in_front(size: int, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors with one more batch dimension in front; what does not depend on the batch at all stays as it is."""
    batch = tensors[0].ndim - 3 - (dims[0] is not None)
    front = []
    for dim, value in zip(dims, tensors, strict=True):
        if dim is not None:
            value = value.movedim(dim, 0)
            if value.ndim == 3:
                value = value.reshape(size, *([1] * batch), *value.shape[1:])
        elif value.ndim > 2:
            value = value.expand(size, *value.shape)
        front.append(value)
    whole = front[0].shape[:-3]
    return [v.expand(*whole, *v.shape[-2:]) if v.is_complex() and v.ndim > 2 else v for v in front]
