"""The abstract inference method: draws from a posterior, given windows."""

import abc
from typing import ClassVar

from .problem import Ensemble, Window


class Posterior(abc.ABC):
    """Abstract method that draws from (an approximation of) the posterior of a problem.

    The constructor takes the problem, then the method's options; ``sample`` has none.
    """

    #: Whether it must be trained before it can draw.
    trained: ClassVar[bool] = False

    #: Whether it runs through records of several windows itself; others are given one window after another.
    takes_records: ClassVar[bool] = False

    @abc.abstractmethod
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case.

        Args:
            window: The windows, with one batch dimension ``case``.
            samples: The number of draws per case.

        Returns:
            The draws, with shapes ``(samples, case, …)``, and diagnostics of each case.
        """
