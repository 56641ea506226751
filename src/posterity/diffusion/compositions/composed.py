"""The denoiser of a trajectory from one of its windows; see :mod:`posterity.diffusion.compositions`."""

from collections.abc import Sequence
from math import cos
from typing import Protocol

import torch
from torch import Tensor

from ..denoisers import Denoiser, Mean
from ..guidance import Guidance
from .windows import LocalLikelihood, Trajectory, Windows

#: The most precisely that a window may know a parameter, in units of the noise, so that none outweighs all others.
MOST_PRECISE = 1e4


class LocalDenoiser(Protocol):
    r"""Denoiser of windows, consecutive states of a trajectory and the parameters that all states share.

    Windows are vectors as :class:`Trajectory` lays them out, with shape ``(windows, rows, entries)``: each window of
    each row, so that what is known of a row (its case, its first time) broadcasts. How many states they hold follows
    from their entries, and is one of ``Composition.lengths``. ``start``, with shape ``(windows,)``, says which state of
    the trajectory is the first of each window: context for a denoiser whose states depend on time. The angle is one
    for all.
    """

    def mean(self, x: Tensor, angle: float, start: Tensor) -> Tensor:
        r"""The mean :math:`E[z_w | \bar x_w]` of the data in each window, given the noisy ones in it."""

    def pullback(self, x: Tensor, angle: float, start: Tensor, w: Tensor) -> Tensor:
        r"""The product :math:`(\partial E[z_w | \bar x_w] / \partial \bar x_w)^T w`."""


class Placed(Denoiser):
    """A local denoiser at windows whose places are known.

    Args:
        local: The local denoiser.
        start: The first state of each window.
    """

    def __init__(self, local: LocalDenoiser, start: Tensor) -> None:
        self.local, self.start = local, start

    def mean(self, x: Tensor, angle: float) -> Tensor:
        """The mean of the data in each window."""
        return self.local.mean(x, angle, self.start)

    def pullback(self, x: Tensor, angle: float, w: Tensor) -> Tensor:
        """The product with the transposed derivative of each window."""
        return self.local.pullback(x, angle, self.start, w)


class Composed(Denoiser):
    r"""The denoiser of a trajectory, a sum over windows of what a local denoiser finds in them, by their shares,

    .. math:: D(\bar x) = \sum_w R_w^T\, a_w \circ D_w(R_w \bar x), \qquad
        \Big(\frac{\partial D}{\partial \bar x}\Big)^{\!T} w = \sum_w R_w^T J_w^T (a_w \circ R_w w) .

    No graph is made over the sum, and no more windows at once than are asked for.

    Args:
        local: The local denoiser.
        trajectory: The places of the trajectory.
        windows: The windows, of one length each.
        number: The most windows, of all rows together, that the local denoiser is given at once; None for all.
        weighed: Whether shares in parameters are those given times the precision with which a window knows each, where
            these leave more of it than noisy parameters have by themselves. Derivatives take shares for constants.
    """

    def __init__(
        self,
        local: LocalDenoiser,
        trajectory: Trajectory,
        windows: Sequence[Windows],
        number: int | None = None,
        weighed: bool = False,
    ) -> None:
        self.local, self.trajectory, self.weighed = local, trajectory, weighed and trajectory.parameters > 0
        self.windows = [part for kind in windows for part in kind.chunks(number or max(1, len(kind.start)))]
        self._last: tuple[Tensor, float, list[tuple[Windows, Tensor]]] | None = None

    @torch.no_grad()
    def mean(self, x: Tensor, angle: float) -> Tensor:
        """The mean of the trajectory."""
        total = torch.zeros_like(x)
        for windows, cut in self._cut(x, angle):
            found = self.local.mean(cut, angle, windows.start)
            windows.put(self.trajectory, total, windows.weigh(self.trajectory, found))
        return total

    @torch.no_grad()
    def pullback(self, x: Tensor, angle: float, w: Tensor) -> Tensor:
        """The product with the transposed derivative."""
        total = torch.zeros_like(x)
        for windows, cut in self._cut(x, angle):
            weighed = windows.weigh(self.trajectory, windows.cut(self.trajectory, w))
            windows.put(self.trajectory, total, self.local.pullback(cut, angle, windows.start, weighed))
        return total

    @property
    def symmetric(self) -> bool:
        """Whether all entries of a window have the same share."""
        return all(windows.is_even for windows in self.windows)

    @torch.no_grad()
    def spread(self, x: Tensor, angle: float, w: Tensor) -> Tensor:
        r"""The product with the symmetric part of the derivative,

        .. math:: \tfrac12 \sum_w R_w^T \left(J_w^T (a_w \circ R_w w) + a_w \circ J_w^T R_w w\right) ,

        where those of the windows are taken for symmetric, as those of exact denoisers are.
        """
        total = torch.zeros_like(x)
        for windows, cut in self._cut(x, angle):
            given = windows.cut(self.trajectory, w)
            found = self.local.pullback(cut, angle, windows.start, windows.weigh(self.trajectory, given))
            if not windows.is_even:
                other = self.local.pullback(cut, angle, windows.start, given)
                found = (found + windows.weigh(self.trajectory, other)) / 2
            windows.put(self.trajectory, total, found)
        return total

    def guided(self, guidance: Guidance, likelihood: LocalLikelihood) -> Mean:
        r"""The mean of the posterior, from windows that are guided one by one by what is observed in each,

        .. math:: D(\bar x | y) = \sum_w R_w^T\, a_w \circ E[z_w | \bar x_w, y_w] .

        For moment matching, which is exact in each window of a Gaussian: a window's products take sweeps through it
        alone, and covariances of windows are covariances, which those of compositions are not where noise is large.
        Other guidance pulls windows that share states apart, and draws diverge: let it guide the whole,
        ``guidance.guide(composed, likelihood.whole(trajectory))``.

        Args:
            guidance: The guidance.
            likelihood: The observations of each row.
        """

        @torch.no_grad()
        def posterior(x: Tensor, angle: float) -> Tensor:
            total = torch.zeros_like(x)
            for windows, cut in self._cut(x, angle):
                seen = likelihood.within(windows, self.trajectory)
                found = guidance.guide(Placed(self.local, windows.start), seen)(cut, angle)
                windows.put(self.trajectory, total, windows.weigh(self.trajectory, found))
            return total

        return posterior

    def _cut(self, x: Tensor, angle: float) -> list[tuple[Windows, Tensor]]:
        """The windows of a point; the last are kept, since local denoisers keep their sweeps at them."""
        if self._last is None or self._last[0] is not x or self._last[1] != angle:
            windows = [part.to(x) for part in self.windows]
            cut = [(part, part.cut(self.trajectory, x)) for part in windows]
            self._last = x, angle, self._weigh(cut, angle) if self.weighed else cut
        return self._last[2]

    def _weigh(self, cut: list[tuple[Windows, Tensor]], angle: float) -> list[tuple[Windows, Tensor]]:
        """The same windows with shares in parameters by precision."""
        weights = [windows.parameters * self._precision(windows, part, angle) for windows, part in cut]
        total = torch.cat(weights).sum(dim=0)
        return [
            (windows._replace(parameters=torch.where(total >= 1, weight / total, windows.parameters)), part)
            for (windows, part), weight in zip(cut, weights, strict=True)
        ]

    def _precision(self, windows: Windows, cut: Tensor, angle: float) -> Tensor:
        r"""The precision of each parameter in windows, :math:`\sin^2\varphi / \mathrm{Var}[\theta | \bar x_w] \geq 1`.

        Returns:
            The precisions, with shape ``(windows, rows, parameters)``.
        """
        numbers, found = self.trajectory.parameters, []
        for place in range(cut.shape[-1] - numbers, cut.shape[-1]):
            unit = torch.zeros_like(cut)
            unit[..., place] = 1
            found.append(self.local.pullback(cut, angle, windows.start, unit)[..., place])
        # An exact mean never knows less than noisy parameters say; a learned one may.
        return cos(angle) / torch.stack(found, dim=-1).clamp(min=cos(angle) / MOST_PRECISE, max=cos(angle))
