"""Refinement: draws of the posterior from those of a trained density."""

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from ..problems import Control, Ensemble, Posterior, Window, decode_ensemble
from ..problems.posterior import check_differentiable
from .estimator import DensityEstimator
from .target import ControlTarget


class Refinement(abc.ABC):
    r"""Abstract refinement of a density :math:`q(u | y)` to the posterior :math:`p(u | y) \propto e^{-J(u)}`."""

    #: What of a problem it differentiates; see :class:`~posterity.problems.Posterior`.
    differentiates: ClassVar[tuple[str, ...]] = ()

    def check_samples(self, samples: int) -> None:  # noqa: B027, most give as many as one asks for
        """Checks that a number of draws per case can be had.

        Raises:
            ValueError: If there are not as many.
        """

    @abc.abstractmethod
    def refine(
        self, control: Control, estimator: DensityEstimator, samples: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draws from the posterior of each case.

        Args:
            control: The control, whose density is the posterior's.
            estimator: A trained density over it.
            samples: The number of draws per case.

        Returns:
            The draws, with shape ``(samples, case, size)``, and diagnostics of each case.
        """


class Refined(Posterior):
    r"""A trained estimator whose draws are refined.

    An estimator is somewhat off, and more so for windows unlike those it was trained on; but the posterior's density is
    known up to a constant, by one run of the model. Exact in the limit of many draws, or of long chains, for any
    estimator, though a worse one needs more of them: the diagnostics tell. Targets
    :math:`p(x_{0:T+F}, \theta | y, x_b)`.

    Args:
        estimator: The estimator, trained.
        refinement: The refinement.
    """

    needs_background: ClassVar[bool] = True

    def __init__(self, estimator: DensityEstimator, refinement: Refinement) -> None:
        if not isinstance(estimator.target, ControlTarget) or estimator.problem.joint != "background":
            raise ValueError(
                "refinement: needs the posterior's density, known for the control under the background joint only"
            )
        self.problem, self.estimator, self.refinement = estimator.problem, estimator, refinement
        check_differentiable(self.problem, self.differentiates, type(self).__name__)

    @property
    def differentiates(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the estimator, in its frame, or the refinement differentiates."""
        return tuple(dict.fromkeys((*self.estimator.differentiates, *self.refinement.differentiates)))

    @property
    def networks(self) -> Sequence[nn.Module]:
        """Those of the estimator."""
        return self.estimator.networks

    def check_samples(self, samples: int) -> None:
        """Checks that the refinement gives as many."""
        self.refinement.check_samples(samples)

    def check_ready(self) -> None:
        """Raises if the estimator has not been trained."""
        self.estimator.check_ready()

    def place(self, window: Window) -> Window:
        """The windows in the dtype and on the device of the weights."""
        return self.estimator.place(window)

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case."""
        control = Control(self.problem, window)
        u, info = self.refinement.refine(control, self.estimator, samples)
        return decode_ensemble(control, u, info)
