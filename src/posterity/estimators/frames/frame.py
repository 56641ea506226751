"""Abstract frames, and that of the prior."""

import abc
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ...nn import Layout
from ...problems import Control, Problem, Window
from ..features import Features
from ..target import Target
from .coordinates import Coordinates, PriorCoordinates


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


class Seen(NamedTuple):
    r"""What an estimator sees of draws of the joint in its frame: all that a loss depends on beside the weights.

    Args:
        context: The features, with shape ``(case, *context_shape)``.
        w: The coordinates of the target, with shape ``(case, *shape)``.
        log_det: :math:`\log |\det \partial w / \partial z|`, with shape ``(case,)``, or none.
    """

    context: Tensor
    w: Tensor
    log_det: Tensor


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
