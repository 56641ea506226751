"""The abstract correlation, of backgrounds and of model errors."""

import abc
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from .root import Root

if TYPE_CHECKING:
    from ..problem import Problem


class Correlation(abc.ABC):
    r"""Abstract correlation :math:`C` of the states of a problem, which standard deviations multiply:

    .. math:: B = D C D, \qquad D = \mathrm{diag}(\sigma) .

    Subclasses are frozen dataclasses of options. Nothing is computed, or drawn, before a root is asked for.
    """

    #: Whether the standard deviation must be one number: states have something in common, such as that their divergence
    #: is zero, which they would lose if their entries were multiplied by different ones.
    uniform: ClassVar[bool] = False

    #: Whether there are standard deviations that belong to it, which are taken where a problem gives none.
    has_std: ClassVar[bool] = False

    @abc.abstractmethod
    def control(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of whitened vectors.

        Args:
            shape: The shape of a state.

        Raises:
            ValueError: If states of this shape do not suit.
        """

    @abc.abstractmethod
    def root(self, problem: "Problem", like: Tensor) -> Root:
        """A root :math:`L` of the correlation :math:`C = L L^T`, in the dtype and on the device of a tensor."""

    def std(self, problem: "Problem", like: Tensor) -> Tensor:
        """The standard deviations that belong to it, with the shape of a state.

        Args:
            problem: The problem.
            like: A tensor whose dtype and device they have.

        Raises:
            ValueError: If there are none.
        """
        raise ValueError(f"{type(self).__name__} has no standard deviations of its own; give the problem some")

    def matrix(self, problem: "Problem") -> Tensor:
        """The correlation as a matrix, with shape ``(n, n)``, in double precision, on the processor.

        The reference of linear problems is computed from it: by its definition where there is another than the root.
        """
        root = self.root(problem, torch.empty(0, dtype=torch.double, device="cpu")).matrix()
        return root @ root.mT
