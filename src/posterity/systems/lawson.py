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

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .spectral import Waves, regridded


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
        return self.refined(self.coarse.vorticity(x))

    def finish(self, w: Tensor) -> Tensor:
        """The velocities of a vorticity on the fine grid's waves."""
        return self.coarse.flow(self.coarsened(w))

    def stepped(self, x: Tensor, half: Tensor, source: Tensor) -> Tensor:
        """One step of velocities of shape ``(*batch, 2, height, width)``."""
        return self.finish(self.advance(self.begin(x), half, source))

    def advance(self, w: Tensor, half: Tensor, source: Tensor) -> Tensor:
        """The substeps of a vorticity on the fine grid's waves."""
        for _ in range(self.substeps):
            w, _ = self.substep(w, half, source)
        return w

    def substep(self, w: Tensor, half: Tensor, source: Tensor) -> tuple[Tensor, Stages]:
        """One substep of a vorticity, and its stages."""
        h, flow, advection = self.h, self.fine.flow, self.fine.advection
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

    def tangent(self, w: Tensor, half: Tensor, source: Tensor, dw: Tensor, dhalf: Tensor, dsource: Tensor) -> Tensor:
        """The tangent of :meth:`advance`, for tangents of its arguments."""
        for _ in range(self.substeps):
            w, stages = self.substep(w, half, source)
            dw = self._tangent(stages, half, dw, dhalf, dsource)
        return dw

    def adjoint(self, w: Tensor, half: Tensor, source: Tensor, g: Tensor, parameters: bool) -> tuple[Tensor, ...]:
        """The adjoint of :meth:`advance`, for means of products over the plane.

        Args:
            w: The vorticity, of which this is the adjoint.
            half: The factor of half a substep.
            source: The source.
            g: The cotangent of the vorticity at the end.
            parameters: Whether those of factor and source are wanted too.

        Returns:
            The cotangent of the vorticity; with parameters, also those of factors and sources, batched.
        """
        taped = []
        for _ in range(self.substeps):
            w, stages = self.substep(w, half, source)
            taped.append(stages if parameters else Stages(stages.flows, *[w.new_empty(0)] * 4))
        dhalf, dsource = (torch.zeros_like(g), torch.zeros_like(g)) if parameters else (None, None)
        while taped:
            g = self._adjoint(taped.pop(), half, g, dhalf, dsource)
        return (g,) if dhalf is None or dsource is None else (g, dhalf, dsource)

    def _tangent(self, stages: Stages, half: Tensor, dw: Tensor, dhalf: Tensor, dsource: Tensor) -> Tensor:
        """The tangent of a substep."""
        h, advection = self.h, self.fine.tangent
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

    def refined(self, w: Tensor) -> Tensor:
        """Waves of the states' grid on the fine one."""
        return regridded(w, self.coarse.largest[0], self.fine.height, self.fine.largest[1] + 1)

    def coarsened(self, w: Tensor) -> Tensor:
        """The adjoint of :meth:`refined`."""
        return regridded(w, self.coarse.largest[0], self.coarse.height, self.coarse.largest[1] + 1)
