"""The abstract posterior that is learned."""

import abc
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..problems import Posterior, Problem, Twin
from ..problems.posterior import check_differentiable


class Learned(Posterior, nn.Module):
    """Abstract posterior that is learned from draws of the joint: weights, statistics, and the loss that they minimise.

    Args:
        problem: The problem, of one cycle.
    """

    trained: ClassVar[bool] = True

    #: The options that are of drawing alone, names between commas: no weights depend on them.
    drawing: ClassVar[str] = ""

    #: What problems may differ in that are served by the same weights: nothing, "window" if these see no window as a
    #: whole, or "observation" if they see none either.
    portable: ClassVar[str] = ""

    #: Whether its weights are trained, a buffer: files of weights say it too.
    ready: Tensor

    #: The shape of a draw.
    shape: tuple[int, ...]

    #: The units of the loss; those of a mean squared error of standardised numbers are "1".
    loss_units: ClassVar[str] = "nat"

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        # Training would take them, long before anything is drawn.
        check_differentiable(problem, self.differentiates, type(self).__name__)
        self.register_buffer("ready", torch.tensor(False))

    def standardize(self, twin: Twin) -> None:
        """Takes the statistics of training draws, by which inputs are standardised, and keeps them as buffers.

        Args:
            twin: Draws of the joint, with one batch dimension.
        """
        self.measure([twin])

    @abc.abstractmethod
    def measure(self, twins: Iterable[Twin]) -> None:
        """Takes the same statistics of draws that come in parts: of more of them than fit the memory.

        Args:
            twins: Draws of the joint, each part with one batch dimension.
        """

    @abc.abstractmethod
    def loss(self, twin: Twin) -> Tensor:
        """The training loss, averaged over draws.

        Args:
            twin: Draws of the joint, with one batch dimension.

        Returns:
            A scalar.
        """

    def look(self, twin: Twin) -> tuple[Any, ...]:
        """What a loss would find of draws that no weights change, and takes as further arguments; nothing by default.

        Several steps by the same draws find it once.

        Args:
            twin: Draws of the joint, with one batch dimension.
        """
        return ()

    def settle(self, twins: Iterable[Twin]) -> None:
        """Takes of training draws what drawing depends on beside the weights, once these are those it keeps.

        Args:
            twins: Draws of the joint in parts, each with one batch dimension: of so many cases as a tenth of the
                training had. They can be gone through more than once.
        """

    def mark_trained(self) -> Self:
        """Lets it draw, in evaluation mode: what :class:`Training` does in the end, and trainings of one's own must."""
        self.ready.fill_(True)
        return self.eval()

    def check_ready(self) -> None:
        """Raises if it has not been trained."""
        if not self.ready:
            raise ValueError(
                f"{type(self).__name__} is not trained, and its draws would mean nothing: run a Training of it to the "
                "end, load weights, or call mark_trained() after a training of your own"
            )
