"""The inference problem as a person states it, and twins of it as datasets."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from ..data.tensors import twin_dataset
from ..experiment.component import Component
from ..problems import Composed, Observation, StateLibrary, Uniform
from ..problems import Problem as BareProblem
from ..problems.problem import Joint
from ..systems import System
from ..tensors import own_random_numbers
from .components import composed, made, masks_of

log = logging.getLogger("posterity")


class Problem(BareProblem):
    """Inference problem, see :class:`posterity.problems.Problem`, stated in few words, and twins of it as datasets.

    Wherever it takes a component, that may be an object, a name of the catalogue (``"lorenz96"``), or a kind with
    options as in experiment files (``{"kind": "lorenz96", "options": {"size": 16}}``).

    Args:
        system: The dynamical system.
        window: The number of assimilated states (of each cycle).
        operator: What is observed of a state: one operator, or several of which the first acts first; each may be what
            makes one of a shape, such as its class. None: all of it.
        std: The interval of the standard deviations of observations, in their units; or one number.
        mask: One mask, or several which an entry must pass all; none: everything is observed.
        observation: The observations as a whole, in the place of the three before.
        forecast: The number of states behind the window.
        joint: The joint distribution that twins are drawn from.
        background_std: The interval of the background's standard deviations, in units of the state; or one number.
        model_error: The standard deviations of the error of one step; None is the strong constraint.
        parameters: The unknown parameters: fields of the system, with their priors; a pair is a uniform one.
        cycles: The number of windows that follow each other.
        truth: The system that twins come from, if it is another than the one that inference assumes.
        start: The interval of the time at which windows start, in steps; or one number.
        library: States that initial ones are drawn from; each draw has a spin-up of its own if None.
        background_correlation: The correlation of the background's errors; None if they are independent.
        error_correlation: That of the model's errors.

    Raises:
        ConfigError: If there is no component of a name, or it has no such option; the message names the nearest.
        ValueError: If parts do not fit each other.
    """

    def __init__(
        self,
        system: System | str | Mapping[str, Any] | Component,
        window: int,
        *,
        operator: Any = (),
        std: float | tuple[float, float] = 1.0,
        mask: Any = (),
        observation: Observation | None = None,
        forecast: int = 0,
        joint: Joint = "background",
        background_std: float | tuple[float, float] | None = 1.0,
        model_error: float | Sequence[float] | None = None,
        parameters: Mapping[str, Any] | None = None,
        cycles: int = 1,
        truth: Any = None,
        start: int | tuple[int, int] = 0,
        library: StateLibrary | None = None,
        background_correlation: Any = None,
        error_correlation: Any = None,
    ) -> None:
        model: System = made("system", system)
        if observation is None:
            seen, names = composed(model.shape, [str(name) for name in model.channels], operator)
            observation = Observation(seen, std, masks_of(mask, names))
        super().__init__(
            system=model,
            observation=observation,
            window=window,
            forecast=forecast,
            joint=joint,
            background_std=background_std,
            model_error=model_error,
            parameters={name: _prior(value) for name, value in (parameters or {}).items()},
            cycles=cycles,
            truth=None if truth is None else made("system", truth),
            start=(start, start) if isinstance(start, int) else start,
            library=library,
            background_correlation=made("correlation", background_correlation),
            error_correlation=made("correlation", error_correlation),
        )

    def __repr__(self) -> str:
        """Its system, lengths and observations, in a line."""
        seen = self.observation.operator
        operators = seen.operators if isinstance(seen, Composed) else (seen,)
        parts = [
            f"{type(self.system).__name__} with states {self.shape}",
            f"{self.window} assimilated and {self.forecast} forecast" + f", {self.cycles} cycles" * (self.cycles > 1),
            f"observed by {' and '.join(type(each).__name__ for each in operators) or 'Identity'}",
            *(f"under {type(mask).__name__}" for mask in self.observation.masks),
            f"{self.joint} joint",
            *([f"unknown {', '.join(self.parameters)}"] if self.parameters else []),
        ]
        return f"Problem({'; '.join(parts)})"

    def twins(self, cases: int, seed: int = 0) -> xr.Dataset:
        """Draws twins: states, and observations of them.

        Args:
            cases: The number of cases.
            seed: The seed; the random numbers of others stay as they are.

        Returns:
            A ``twin`` dataset: ``state(case, time, channel, …)``, ``observation``, ``observation_std``, ``background``,
            …; see :mod:`posterity.data.schema`.
        """
        return simulated(self, cases, seed).assign_attrs(experiment="", joint=self.joint, seed=seed)


def simulated(
    problem: BareProblem,
    cases: int,
    seed: int,
    first_case: int = 0,
    observations: bool = True,
    source: str = "twins",
    part: str = "",
) -> xr.Dataset:
    """Draws from the joint, and warns of cases in which the model failed.

    Args:
        problem: The problem.
        cases: The number of cases.
        seed: The seed.
        first_case: The number of the first one.
        observations: Whether to keep the observations; those of training sets are drawn anew in every epoch.
        source: What messages call the draws.
        part: Which part of them it is, for messages.

    Returns:
        A ``twin`` dataset, or one of ``states``; its attribute ``failed`` counts the cases that are not finite.
    """
    with own_random_numbers(seed):
        twin = problem.sample((cases,))
    failed = ~twin.x.flatten(1).isfinite().all(dim=1)
    dataset = twin_dataset(twin, problem, first_case, observations).assign_attrs(failed=int(failed.sum()))
    if failed.any():
        lost = dataset["case"].values[failed.cpu().numpy()]
        log.warning(
            "%s: %d of %d cases%s failed: their trajectories are not finite (case %s%s)",
            source, len(lost), cases, part, ", ".join(map(str, lost[:10])), ", …" * (len(lost) > 10),
        )  # fmt: skip
    return dataset


def _prior(value: Any) -> Any:
    """The prior of a parameter; a pair of numbers is an interval that it is uniform on."""
    return Uniform(*value) if isinstance(value, tuple | list) and len(value) == 2 else made("prior", value)
