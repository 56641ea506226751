"""The abstract inference method: draws from a posterior, given windows."""

import abc
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, get_args

import torch
from torch import nn

from ..systems.system import WITHOUT_GRADIENTS
from ..tensors import defaults_of
from .draws import Ensemble
from .network_calls import NetworkCalls
from .problem import Joint, Problem
from .window import Window


class Posterior(abc.ABC):
    """Abstract method that draws from (an approximation of) the posterior of a problem.

    The constructor takes the problem, which it keeps, then the method's options; ``sample`` has none. Subclasses say
    how draws are made in :meth:`sample_cases`, and which posterior it is of that they target.
    """

    #: Whether it must be trained before it can draw.
    trained: ClassVar[bool] = False

    #: Whether it runs through records of several windows itself; others are given one window after another.
    takes_records: ClassVar[bool] = False

    #: The joints whose posterior it targets, given a background; without one, the prior is the climatology for all.
    joints: ClassVar[tuple[Joint, ...]] = get_args(Joint)

    #: Whether it needs a background.
    needs_background: ClassVar[bool] = False

    #: What of a problem it differentiates, ``system`` and ``operator``; a method of neither takes any simulator.
    differentiates: ClassVar[tuple[str, ...]] = ()

    problem: Problem

    def __init_subclass__(cls) -> None:
        """Lets a class that overrides ``sample`` itself, as methods did before, draw as it did, unchecked."""
        super().__init_subclass__()
        if "sample" in vars(cls) and cls.sample_cases is Posterior.sample_cases:
            cls.sample_cases = cls.sample  # type: ignore[method-assign]

    @classmethod
    def pose(cls, problem: Problem, misspecified: bool = False) -> Problem:
        """The problem as the method takes it, refused before anything is built where draws would be refused.

        Args:
            problem: The problem.
            misspecified: Whether the truth is another system. Neither joint of the assumed one is then the truth's, and
                a method is given the one that it targets.

        Raises:
            ValueError: If the method targets the posterior of another joint, needs a background that the problem does
                not have, or gradients that do not pass.
        """
        if misspecified and problem.has_background and problem.joint not in cls.joints:
            problem = replace(problem, joint=cls.joints[0], truth=None)
        cls.check_problem(problem)
        check_differentiable(problem, cls.differentiates, cls.__name__)
        return problem

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The networks whose evaluations draws cost, which are counted; none of methods that run the model alone."""
        return ()

    @property
    def distinct(self) -> int | None:
        """The most draws of a case that differ; None if there is no end of them."""
        return None

    def check_samples(self, samples: int) -> None:  # noqa: B027, most methods draw as many as one asks for
        """Checks that a number of draws per case can be had.

        Raises:
            ValueError: If the method has not as many, and does not repeat them.
        """

    @property
    def lost_without_background(self) -> bool:
        """Whether a case without a background has no posterior by this method, rather than one of another prior."""
        return self.needs_background

    @classmethod
    def check_problem(cls, problem: Problem) -> None:
        """Checks that the method targets the posterior of a problem.

        Args:
            problem: The problem.

        Raises:
            ValueError: If it targets that of another joint, or needs a background and the problem has none.
        """
        if not problem.has_background and cls.needs_background:
            raise ValueError(
                f"background_std: {cls.__name__} needs a background, whose standard deviations are its prior's; "
                "give the problem one, or choose a method that draws from the climatology"
            )
        if problem.has_background and problem.joint not in cls.joints:
            raise ValueError(
                f"joint: {cls.__name__} targets the posterior of the {' or '.join(cls.joints)} joint, and would answer "
                f"for another than that of the {problem.joint} joint; change the joint, or choose another method"
            )

    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case.

        The windows are checked here, once, see :meth:`Window.check`, and no graph of gradients is kept.

        Args:
            window: The windows, with any batch dimensions, or none.
            samples: The number of draws per case.

        Returns:
            The draws, with shapes ``(samples, *batch, …)``, and diagnostics of each case; in the dtype and on the
            device of the windows.

        Raises:
            ValueError: If the method is not trained, does not target the posterior of its problem, needs gradients that
                do not pass, or has not as many draws, or the windows do not fit the problem.
        """
        self.check_ready()
        self.check_problem(self.problem)
        check_differentiable(self.problem, self.differentiates, type(self).__name__)
        self.check_samples(samples)
        # Methods take gradients, which tensors made in inference mode do not have.
        with torch.inference_mode(False), torch.no_grad():
            checked = window.check(self.problem)
            cases = type(checked)(*(field.clone() if field.is_inference() else field for field in checked)).cases()
            if self.lost_without_background:
                _check_backgrounds(cases, type(self).__name__)
            placed = self.place(cases)
            # Components of others may make tensors in torch's defaults.
            with defaults_of(placed.y), NetworkCalls(self.networks) as calls:
                drawn = self.sample_cases(placed, samples)
        drawn = drawn._replace(info={**drawn.info, **calls.of_a_draw(samples, placed.start)})
        return drawn.to(window.y).restore(window.start.shape)

    def place(self, window: Window) -> Window:
        """The windows in the dtype and on the device in which the method computes: their own, unless it has weights."""
        return window

    def check_ready(self) -> None:
        """Raises if draws would mean nothing yet, as before a training; methods that are not trained always can draw.

        Raises:
            ValueError: If it cannot draw.
        """
        return

    @abc.abstractmethod
    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case of windows that have been checked, without a graph of gradients.

        Args:
            window: The windows, with one batch dimension ``case``.
            samples: The number of draws per case.

        Returns:
            The draws, with shapes ``(samples, case, …)``, and diagnostics of each case.
        """


def _check_backgrounds(window: Window, method: str) -> None:
    """Raises if a case has no background; names the first ones."""
    missing = window.free.nonzero().flatten().tolist()
    if missing:
        raise ValueError(
            f"background: missing in {len(missing)} of {len(window.y)} windows, the first ones {missing[:5]}, and "
            f"{method} needs one; give all of them a background, or choose a method that draws from the climatology"
        )


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
                f"that needs none, {WITHOUT_GRADIENTS}"
            )
