"""The abstract inference method: draws from a posterior, given windows."""

import abc
from collections.abc import Sequence
from typing import ClassVar

import torch

from .problem import Ensemble, Problem, Window


class Posterior(abc.ABC):
    """Abstract method that draws from (an approximation of) the posterior of a problem.

    The constructor takes the problem, which it keeps, then the method's options; ``sample`` has none. Subclasses say
    how draws are made in :meth:`sample_cases`.
    """

    #: Whether it must be trained before it can draw.
    trained: ClassVar[bool] = False

    #: Whether it runs through records of several windows itself; others are given one window after another.
    takes_records: ClassVar[bool] = False

    #: What of a problem it differentiates, ``system`` and ``operator``; a method of neither takes any simulator.
    differentiates: ClassVar[tuple[str, ...]] = ()

    problem: Problem

    def __init_subclass__(cls) -> None:
        """Lets a class that overrides ``sample`` itself, as those of version 0.1.0 do, draw as it did, unchecked."""
        super().__init_subclass__()
        if "sample" in vars(cls) and cls.sample_cases is Posterior.sample_cases:
            cls.sample_cases = cls.sample  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Checks that gradients pass through what the method differentiates; subclasses check their options too."""
        check_differentiable(self.problem, self.differentiates, type(self).__name__)

    @property
    def distinct(self) -> int | None:
        """The most draws of a case that differ; None if there is no end of them."""
        return None

    def check_samples(self, samples: int) -> None:  # noqa: B027, most methods draw as many as one asks for
        """Checks that a number of draws per case can be had.

        Raises:
            ValueError: If the method has not as many, and does not repeat them.
        """

    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case.

        Args:
            window: The windows, with one batch dimension ``case``.
            samples: The number of draws per case.

        Returns:
            The draws, with shapes ``(samples, case, …)``, and diagnostics of each case.

        Raises:
            ValueError: If the method is not trained, or has not as many draws.
        """
        self.check_ready()
        self.check_samples(samples)
        with torch.no_grad():
            return self.sample_cases(window, samples)

    def check_ready(self) -> None:
        """Raises if draws would mean nothing yet, as before a training; methods that are not trained always can draw.

        Raises:
            ValueError: If it cannot draw.
        """
        return

    @abc.abstractmethod
    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case of windows that have been checked; without a graph of gradients.

        Args:
            window: The windows, with one batch dimension ``case``.
            samples: The number of draws per case.

        Returns:
            The draws, with shapes ``(samples, case, …)``, and diagnostics of each case.
        """


def check_differentiable(problem: Problem, parts: Sequence[str], method: str) -> None:
    """Checks that gradients pass through what a method differentiates.

    Args:
        problem: The problem.
        parts: What of it is differentiated, ``system`` and ``operator``.
        method: The method, for the message.

    Raises:
        ValueError: If one of them says that it is not differentiable.
    """
    for part, component in (("system", problem.system), ("operator", problem.observation.operator)):
        if part in parts and not component.differentiable:
            raise ValueError(
                f"{part}: {type(component).__name__} passes no gradients on, and {method} needs them; choose a method "
                "that needs none, such as enkf, ienks, particle-smoother or npe"
            )
