"""Frames: the coordinates of the control in which an estimator learns, found for each window."""

import abc
from dataclasses import dataclass
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..nn import Layout
from ..nn.layout import constant
from ..problems import Control, Problem, Window, eigenpairs
from ..problems.chunks import LARGE
from ..problems.minimize import Minimum, highest_plausible, levenberg_marquardt
from ..tensors import identity
from .features import Features
from .target import ControlTarget, Target

#: Directions that differ from those of the prior, where the control is too large for matrices.
DIRECTIONS = 128

#: Standard deviations beyond which coordinates are logarithmic, and the largest logarithm that is undone.
CORE, FAR = 4.0, 60.0

#: Standard deviations of its climatology beyond which networks are told no more of a state.
BEYOND = 10.0


class Coordinates(abc.ABC):
    """Abstract coordinates of the values that an estimator learns, one map for each case."""

    @abc.abstractmethod
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""The coordinates of values.

        Args:
            z: The values, with shape ``(*batch, case, n)``.

        Returns:
            The coordinates :math:`w`, with the same shape, and :math:`\log |\det \partial w / \partial z|`, which
            broadcasts against ``(*batch, case)``.
        """

    @abc.abstractmethod
    def inverse(self, w: Tensor) -> tuple[Tensor, Tensor]:
        r"""The values of coordinates, with the same logarithm there."""


class PriorCoordinates(Coordinates):
    """The values themselves."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The values, with a logarithm of zero."""
        return z, z.new_zeros(())

    def inverse(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The coordinates, with a logarithm of zero."""
        return w, w.new_zeros(())


@dataclass(frozen=True)
class LaplaceCoordinates(Coordinates):
    r"""Coordinates in which a Laplace approximation is white, :math:`u = \hat u + P^{-1/2} g(w)`, entry by entry with

    .. math:: g(w) = w \;\text{for}\; |w| \leq 4, \qquad g(w) = \mathrm{sign}(w) \, (3 + e^{|w| - 4}) \;\text{beyond,}

    whose derivative is continuous. Some windows have their truth in another mode than was found, a hundred standard
    deviations away; in logarithms these do not outweigh all others in a loss.

    The symmetric root is equivariant under translations of the problem. The precision is kept as
    :math:`P = I + Q (\Lambda - I) Q^T`, with as many directions as differ from those of the prior.

    Args:
        origin: The estimate :math:`\hat u`, with shape ``(case, n)``.
        values: The eigenvalues :math:`\Lambda`, with shape ``(case, rank)``.
        vectors: The eigenvectors :math:`Q`, with shape ``(case, n, rank)``.
    """

    origin: Tensor
    values: Tensor
    vectors: Tensor

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The coordinates of controls; see :meth:`Coordinates.forward`."""
        white = self._power(0.5, z - self.origin)
        beyond = (white.abs() - CORE).clamp(min=0)
        w = torch.where(beyond > 0, white.sign() * (CORE + beyond.log1p()), white)
        return w, self._log_det() - beyond.log1p().sum(dim=-1)

    def inverse(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The controls of coordinates; see :meth:`Coordinates.inverse`."""
        beyond = (w.abs() - CORE).clamp(min=0, max=FAR)
        white = torch.where(beyond > 0, w.sign() * (CORE + beyond.expm1()), w)
        return self.origin + self._power(-0.5, white), self._log_det() - beyond.sum(dim=-1)

    def variance(self) -> Tensor:
        """The variances of the control for white coordinates, with shape ``(case, n)``."""
        return 1 + (self.vectors.square() * (1 / self.values - 1).unsqueeze(-2)).sum(dim=-1)

    def _log_det(self) -> Tensor:
        r"""The logarithm :math:`\frac12 \log \det P`, with shape ``(case,)``."""
        return 0.5 * self.values.log().sum(dim=-1)

    def _power(self, p: float, x: Tensor) -> Tensor:
        """The product of a power of the precision with vectors."""
        inside = (self.vectors.mT @ x.unsqueeze(-1)) * (self.values**p - 1).unsqueeze(-1)
        return x + (self.vectors @ inside).squeeze(-1)


class View(NamedTuple):
    """What an estimator sees of windows, and the coordinates in which it says what it has learned of them.

    Args:
        context: The features, with shape ``(case, *context_shape)``.
        coordinates: The coordinates.
        work: The control that has counted the work of finding them; None if there was none.
    """

    context: Tensor
    coordinates: Coordinates
    work: Control | None = None


class Frame(abc.ABC):
    """Abstract frame: which coordinates an estimator learns in."""

    #: What of a problem it differentiates; see :class:`~posterity.problems.Posterior`.
    differentiates: ClassVar[tuple[str, ...]] = ()

    def check(self, problem: Problem, target: Target) -> None:  # noqa: B027, most take any
        """Checks that there is such a frame.

        Raises:
            ValueError: If the problem, or what is learned, has none.
        """

    @abc.abstractmethod
    def shape(self, features: Features, layout: Layout) -> tuple[int, ...]:
        """The shape of what networks see with it.

        Args:
            features: The features of windows.
            layout: The layout of what is learned.
        """

    @abc.abstractmethod
    def find(self, features: Features, layout: Layout, window: Window, control: Control | None = None) -> View:
        """Finds the coordinates of windows.

        Args:
            features: The features of windows.
            layout: The layout of what is learned.
            window: The windows, with one batch dimension ``case``.
            control: The control that counts the work; one of its own if None.
        """


@dataclass(frozen=True)
class PriorFrame(Frame):
    """The frame of the prior: what is learned is the whitened control itself, or the standardised states."""

    def shape(self, features: Features, layout: Layout) -> tuple[int, ...]:
        """That of the features."""
        return features.shape

    def find(self, features: Features, layout: Layout, window: Window, control: Control | None = None) -> View:
        """The features, and the values themselves."""
        return View(features(window), PriorCoordinates())


@dataclass(frozen=True)
class LaplaceFrame(Frame):
    r"""The frame of each window's Laplace approximation, :math:`u = \hat u + P^{-1/2} w`.

    Some iterations of quasi-static Levenberg–Marquardt from the background lead to :math:`\hat u`, with the
    Gauss–Newton precision :math:`P`. In these coordinates, see :class:`LaplaceCoordinates`, posteriors are nearly
    white: what is left to learn is how they depart from Gaussians. A window of which the model diverges, or whose cost
    stays implausible (see :func:`~posterity.problems.minimize.highest_plausible`), has the frame of the prior.

    Beside the features of a window networks see the estimate :math:`\hat u`, the logarithms of its variances, its
    trajectory, what that leaves of the observations, :math:`\sinh^{-1}((y_t - H(\hat x_t)) / \sigma_t)`, and the cost.

    Takes the control as target. It depends on the window alone, so that densities and refinement stay exact under any
    joint, and its work counts in that of draws.

    Args:
        iterations: The number of iterations on the full window, and the most on each shorter one, up to three.
        increment: The number of states by which the window grows.
    """

    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    iterations: int = 3
    increment: int = 3

    def __post_init__(self) -> None:
        """Checks the options."""
        if self.iterations < 1 or self.increment < 1:
            raise ValueError(
                f"iterations, increment: at least one is needed of each, not {self.iterations} and {self.increment}"
            )

    def check(self, problem: Problem, target: Target) -> None:
        """Checks that the control is learned."""
        if not isinstance(target, ControlTarget):
            raise ValueError(
                f"frame: LaplaceFrame is one of the control, and what is learned are states ({type(target).__name__}); "
                "set the target 'control', which takes a background, or the frame 'prior'"
            )

    def shape(self, features: Features, layout: Layout) -> tuple[int, ...]:
        """That of the features with a few channels more."""
        problem = features.problem
        states, observed = problem.window * problem.shape[0], problem.window * problem.observation.shape[0]
        if features.flat:
            return (features.shape[0] + 2 * layout.field[0] + (states + observed) * prod(problem.shape[1:]) + 1,)
        return (features.shape[0] + 2 * layout.field[0] + states + observed + 1, *features.shape[1:])

    @torch.no_grad()
    def find(self, features: Features, layout: Layout, window: Window, control: Control | None = None) -> View:
        """The coordinates of the Laplace approximation; in full precision, since models run."""
        control = Control(features.problem, window) if control is None else control
        with torch.autocast(window.y.device.type, enabled=False):
            minimum = levenberg_marquardt(control, control.zero(), self.iterations, self.increment)
            coordinates = _around(control, minimum)
            parts = [features(window), *self._seen(features, layout, control, minimum.cost, coordinates)]
        context = torch.cat([part.flatten(1) for part in parts] if features.flat else parts, dim=1)
        return View(context, coordinates, control)

    def _seen(
        self, features: Features, layout: Layout, control: Control, cost: Tensor, coordinates: LaplaceCoordinates
    ) -> list[Tensor]:
        """What networks see of the frame, channels on the grid of the state."""
        problem = control.problem
        x = control.trajectory(coordinates.origin, problem.window)
        left = torch.asinh((control.y - problem.observation.operator(x)) * control.precision).nan_to_num(nan=0.0)
        states = features.state(x).nan_to_num(nan=0.0).clamp(-BEYOND, BEYOND)
        half = 0.5 * control.observed.flatten(1).sum(dim=-1).to(cost)
        excess = ((cost - half) / half.clamp(min=1).sqrt()).clamp(max=BEYOND)
        return [
            layout.spread(coordinates.origin.unflatten(-1, layout.shape)),
            layout.spread(coordinates.variance().log().unflatten(-1, layout.shape)),
            states.flatten(1, 2),
            features.on_grid(left),
            constant(excess.unsqueeze(-1), () if features.flat else problem.shape[1:]),
        ]


def _around(control: Control, minimum: Minimum) -> LaplaceCoordinates:
    """The coordinates around a minimum; those of the prior where that is none."""
    if control.size > LARGE:
        values, vectors = (field.nan_to_num(0.0) for field in eigenpairs(minimum.model, DIRECTIONS))
        values, sound = values + 1, minimum.u.new_ones(control.cases, dtype=torch.bool)
    else:
        hessian = minimum.model.dense()
        sound = hessian.isfinite().flatten(1).all(dim=-1)
        values, vectors = torch.linalg.eigh(torch.where(sound[:, None, None], hessian, identity(hessian, control.size)))
    sound = sound & (minimum.cost <= highest_plausible(control))
    origin = torch.where(sound.unsqueeze(-1), minimum.u, 0)
    values = torch.where(sound.unsqueeze(-1), values.clamp(min=1), 1)
    return LaplaceCoordinates(origin, values.to(origin), vectors.to(origin))
