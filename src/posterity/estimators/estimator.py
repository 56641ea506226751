"""The interface of a learned posterior."""

import abc

from torch import Tensor, nn

from ..problems import Posterior, Twin


class Estimator(Posterior, nn.Module):
    """A posterior that is learned from draws of the joint, then amortised over windows.

    The constructor takes the problem, then the estimator's options.
    """

    @abc.abstractmethod
    def standardize(self, twin: Twin) -> None:
        """Takes from training draws the statistics that inputs are standardised with, and keeps them as buffers.

        Args:
            twin: Draws of the joint, with one batch dimension.
        """

    @abc.abstractmethod
    def loss(self, twin: Twin) -> Tensor:
        """The training loss, averaged over draws.

        Args:
            twin: Draws of the joint, with one batch dimension.

        Returns:
            A scalar.
        """
