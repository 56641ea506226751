"""An experiment as objects: its problem, twins of it, its methods and its reference."""

from functools import cached_property, partial
from pathlib import Path
from typing import cast

import xarray as xr

from ...errors import ConfigError, nearest
from ...experiment import Experiment, catalog
from ...experiment import load as load_experiment
from ...experiment.dependencies import dependencies
from ...problems import StateLibrary
from ...tensors import Constant, own_random_numbers
from ..components import build
from ..devices import on_device
from ..experiments import build_method, build_problem, build_reference
from ..libraries import spun_up
from ..observed import Reading, observe, one_window
from ..problem import Problem
from ..progress import progress
from ..reference import reference_draws
from .method import LearnedMethod, Method


class Study:
    """An experiment as objects.

    An experiment with a library of states draws it when it is first asked for, which may take minutes.

    Args:
        experiment: The experiment.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._made: dict[str, Method] = {}

    def __repr__(self) -> str:
        """Its name and title, and what it has."""
        methods = ", ".join(self.methods)
        return f"Study({self.experiment.name!r}: {self.experiment.title}; {self.experiment.system.kind}; {methods})"

    @property
    def methods(self) -> list[str]:
        """The names of its methods."""
        return list(self.experiment.methods)

    @cached_property
    def problem(self) -> Problem:
        """Its problem, as methods take it."""
        return build_problem(self.experiment, self._library(held_out=False))

    def twins(self, cases: int, seed: int = 0) -> xr.Dataset:
        """Draws twins; from the truth of the experiment, where that is another system.

        Args:
            cases: The number of cases.
            seed: The seed.

        Returns:
            A ``twin`` dataset, see :meth:`Problem.twins`.
        """
        return build_problem(self.experiment, self._library(held_out=True), truth=True).twins(cases, seed)

    def method(self, name: str) -> Method:
        """A method of the experiment; the same object whenever it is asked for.

        A method that refines another draws with the weights of that one, once it is fitted or has loaded some; one that
        only draws with another's must load them.

        Args:
            name: Its name there.

        Raises:
            ConfigError: If there is none of that name.
        """
        if name not in self.experiment.methods:
            raise ConfigError(f"'{self.experiment.name}' has no method '{name}'{nearest(name, self.methods)}")
        if name not in self._made:
            self._made[name] = self._method(name)
        return self._made[name]

    def reference(self, twin: xr.Dataset, seed: int = 0, device: str = "auto") -> xr.Dataset:
        """Draws the reference posterior that methods are held against, in independent runs.

        Args:
            twin: A ``twin`` dataset.
            seed: The seed.
            device: Where to compute.

        Returns:
            A ``posterior`` dataset, with the number of the ``run`` of each draw, and the gap between runs.

        Raises:
            ConfigError: If the experiment has no reference.
        """
        method, settings = build_reference(self.experiment, self.problem), self.experiment.reference
        assert settings is not None
        title = f"reference: {settings.runs} runs of {twin.sizes.get('case', 0)} cases"
        with on_device(device) as chosen, progress(title):
            observed = one_window(observe(twin, self.problem, "twin", chosen, self._reading), "twin", "reference")
            draws = reference_draws(method, observed, settings.samples, range(seed, seed + settings.runs))
        return draws.assign_attrs(experiment=self.experiment.name, method="reference", joint=self.problem.joint)

    @property
    def _reading(self) -> Reading:
        """How the times of twins are read."""
        return Reading.of(self.experiment)

    def _method(self, name: str) -> Method:
        """A method, made."""
        experiment, settings = self.experiment, self.experiment.methods[name]
        if settings.refines is not None and settings.refinement is not None:
            base = cast(LearnedMethod, self.method(settings.refines))
            return base.refine(settings.refinement, name)
        kind = catalog.resolve("method", settings.kind)
        build = partial(build_method, experiment, name)
        samples = experiment.draws(name)
        if not kind.trained:
            return Method(name, self.problem, kind, build, samples, self._reading)
        configuration = lambda: dependencies("train", experiment, experiment.weights(name)).configuration  # noqa: E731
        splits = experiment.splits
        return LearnedMethod(
            name, self.problem, kind, build, samples, self._reading, settings.training, configuration,
            (splits.train.cases, splits.valid.cases),
        )  # fmt: skip

    def _library(self, held_out: bool) -> StateLibrary | None:
        """The library of states, of those that methods see or of others; None if the experiment has none."""
        if self.experiment.climatology is None:
            return None
        states, apart = self._states
        return StateLibrary(apart if held_out else states, states)

    @cached_property
    def _states(self) -> tuple[Constant, Constant]:
        """The states of the library that methods see, and those that are held out."""
        settings = self.experiment.climatology
        assert settings is not None
        with on_device("auto") as chosen, own_random_numbers(self.experiment.seed):
            total = settings.states + settings.held_out
            states = spun_up(
                build("system", self.experiment.system), total, f"library of {self.experiment.name}", chosen
            )
        return Constant(states[: settings.states]), Constant(states[settings.states :])


def load(experiment: str | Path) -> Study:
    """An experiment as objects.

    Args:
        experiment: A path, or the name of a file in ``config/experiments``; of a file with variants, followed by a
            slash and the name of one.

    Raises:
        ConfigError: If a file is missing, or has keys or values that make no sense; the message names the remedy.
    """
    return Study(load_experiment(experiment))
