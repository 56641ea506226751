"""Experiment files: their models, defaults and checks. Imports no torch: every cluster job parses them again."""

import re
from collections.abc import Collection
from typing import Any

from pydantic import (
    Field,
    PositiveInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

from ..errors import ConfigError
from . import catalog
from .component import Component, Model
from .consistency import broken
from .methods import several
from .sections import (
    ClassifierConfig,
    ClimatologyConfig,
    Errors,
    FiguresConfig,
    MethodConfig,
    ObservationConfig,
    PriorConfig,
    ReferenceConfig,
    SplitsConfig,
    TrainingConfig,
    grid_figures,
)
from .sources.signature import signature

#: A number, and the unit of time behind it if it has one.
DURATION = re.compile(r"(\d+\.?\d*(?:e[+-]?\d+)?)(?: (?:second|minute|hour|day|week)s?)?")

#: The keys of an experiment that its problem is made of.
PROBLEM = ("system", "observation", "prior", "window", "forecast", "model_error", "parameters", "cycles", "start")


class Experiment(Model):
    """An experiment: a problem, the methods that solve it, and what is made of their answers."""

    name: str = Field(default="", description="Its name: the file's, and that of its folder in `results/`.")
    extends: str | None = Field(
        default=None,
        description="The name of another file, beside it or in `config/experiments`: what is not said here is as "
        "there; null removes.",
    )
    title: str = Field(description="One line for the report.")
    seed: int = Field(default=0, ge=0, description="Seed from which every task derives its own.")
    system: Component = Field(description="The dynamical system.")
    observation: ObservationConfig = Field(description="Operator, masks and noise of the observations.")
    prior: PriorConfig = Field(description="The prior over the first state.")
    window: PositiveInt = Field(description="The number of assimilated states.")
    forecast: int = Field(default=0, ge=0, description="The number of states behind the window.")
    model_error: Errors | None = Field(
        default=None,
        description="The model's errors in one step, or their standard deviations alone: one number, or one for each "
        "channel, or for each entry; null: the model is perfect (strong constraint).",
    )
    parameters: dict[str, Component] = Field(
        default={}, description="Unknown parameters: options of the system, by their priors (`posterity list priors`)."
    )
    cycles: PositiveInt = Field(default=1, description="Windows that follow each other in the record of a case.")
    burn_in: int = Field(default=0, ge=0, description="First cycles that averages over a record leave out.")
    start: int | tuple[int, int] = Field(
        default=0,
        description="Steps since the start of the system's ensemble at which windows start: a number, or an interval "
        "from which each case draws.",
    )
    climatology: ClimatologyConfig | None = Field(
        default=None,
        description="A library of climatological states that is made once, for systems with a long spin-up; `{}` takes "
        "the defaults; null: every job spins its own up.",
    )
    time_unit: float | str | None = Field(
        default=None,
        description="One unit of the model's time in files of your own observations: a duration such as `5 days`, or a "
        "number in the units of their `time`; null: their times are the model's, or each is one step.",
    )
    time_tolerance: float = Field(
        default=0.25, ge=0, le=0.5, description="Share of a step by which times of such files may be off a state."
    )
    truth: Component | None = Field(
        default=None, description="What test cases come from, if not the system; its first channels are the states."
    )
    splits: SplitsConfig = Field(description="How many cases there are, and in what shards.")
    samples: PositiveInt = Field(default=1000, description="Draws per case.")
    methods: dict[str, MethodConfig] = Field(
        description="The methods, by names of your own; `only: [a, b]` beside them takes these of those inherited."
    )
    reference: ReferenceConfig | None = Field(
        default=None, description="The reference posterior that methods are held against; null: there is none."
    )
    classifier: ClassifierConfig | None = Field(
        default=None,
        description="How networks are trained to tell the truth from the draws of the methods that are trained; `{}` "
        "takes the defaults; null: there are none.",
    )
    figures: FiguresConfig = Field(default=FiguresConfig(), description="What figures show.")

    #: See :attr:`lenders`.
    _lenders: dict[str, tuple[str, "Experiment"]] = PrivateAttr(default_factory=dict)

    @property
    def lenders(self) -> dict[str, tuple[str, "Experiment"]]:
        """The experiments whose weights methods draw with, by name: what each is loaded by, and the experiment."""
        return self._lenders

    @field_validator("time_unit")
    @classmethod
    def _duration(cls, unit: float | str | None) -> float | str | None:
        found = DURATION.fullmatch(str(unit))
        if unit is not None and (found is None or float(found[1]) == 0):
            raise ValueError("needs a duration such as '5 days', or a positive number in the units of the files")
        return unit

    @field_validator("methods", mode="before")
    @classmethod
    def _several(cls, methods: Any) -> Any:
        return several(methods)

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if errors := list(broken(self)):
            raise ValueError("\n".join(errors))
        return self

    def correlations(self) -> dict[str, Component]:
        """The correlations of errors that differ from none, by their keys."""
        model = None if self.model_error is None else self.model_error.correlation
        found = {"prior.correlation": self.prior.correlation, "model_error.correlation": model}
        return {key: correlation for key, correlation in found.items() if correlation is not None}

    @property
    def length(self) -> int:
        """The number of assimilated states, of all cycles together."""
        return self.window * self.cycles

    def cycles_in(self, states: int) -> int:
        """The number of windows in a record of so many states, which files may give as many of as they like.

        Args:
            states: The number of states, with those of the forecast.

        Raises:
            ConfigError: If averages leave all of them out.
        """
        if self.forecast or states % self.window or not states:
            return self.cycles
        cycles = states // self.window
        if self.burn_in >= cycles > 1:
            raise ConfigError(f"burn_in: leaves nothing of a record of {cycles} windows; make it smaller than {cycles}")
        return cycles

    def trained(self) -> list[str]:
        """The names of the methods that are trained."""
        return [name for name, method in self.methods.items() if method.training is not None]

    def training(self, name: str) -> TrainingConfig:
        """How a method is trained.

        Raises:
            ConfigError: If it is not.
        """
        settings = self.methods[name].training
        if settings is None:
            raise ConfigError(f"--method: '{name}' is not trained: use `posterity assimilate`")
        return settings

    def shared(self) -> list[str]:
        """The names of the methods that are trained by several processes."""
        return [name for name, method in self.methods.items() if method.training and method.training.processes() > 1]

    def classified(self) -> list[str]:
        """The names of the methods whose draws are held against the truth by classifiers."""
        return [] if self.classifier is None else self.trained()

    def sampled(self) -> list[str]:
        """The names of the methods that draw with a trained estimator: trained ones, and those that take another's."""
        return [name for name, method in self.methods.items() if method.training or method.refines or method.weights]

    def assimilated(self) -> list[str]:
        """The names of the methods that need no training."""
        return [name for name in self.methods if name not in self.sampled()]

    def weights(self, name: str) -> str:
        """The trained method whose weights a method draws with, by name; of another experiment, ``EXPERIMENT/NAME``."""
        return self.methods[name].refines or self.methods[name].weights or name

    def owner(self, name: str) -> tuple["Experiment", str]:
        """The experiment that a name belongs to, and the name in it: ``EXPERIMENT/NAME`` is that of a lender."""
        lender, _, own = name.rpartition("/")
        return (self.lenders[lender][1], own) if lender else (self, name)

    def starts(self) -> tuple[int, int]:
        """The first and the last step at which windows may start."""
        return (self.start, self.start) if isinstance(self.start, int) else self.start

    def published(self) -> dict[str, float]:
        """The published errors of methods, by their names."""
        return {name: method.published for name, method in self.methods.items() if method.published is not None}

    def draws(self, method: str) -> int:
        """The number of draws per case of a method."""
        return self.methods[method].samples or self.samples

    def groups(self) -> dict[str, str]:
        """The name under which figures show each method with the others of its group."""
        return {name: method.group or method.label or name for name, method in self.methods.items()}

    def shown(self) -> list[str]:
        """The names of the methods that figures show: the first of each group."""
        first: dict[str, str] = {}
        for name, group in self.groups().items():
            first.setdefault(group, name)
        return list(first.values())

    def figures_drawn(self) -> list[str]:
        """The figures that are drawn."""
        return self.figures.chosen(self.figures_shown())

    def figures_shown(self) -> list[str]:
        """The figures of the catalogue that show something of this experiment, told by what they must be given."""
        there = {
            "reference": self.reference is not None,
            "standard": self.reference is not None or self.figures.standard is not None,
            "parameters": self.parameters,
            "cycles": self.cycles > 1,
            "histories": self.trained(),
            "classifiers": self.classifier is not None,
            **grid_figures(self.system),
        }
        return [
            name
            for name, target in catalog.names("figure").items()
            if all(there.get(wanted.name, True) for wanted in signature(target) if wanted.required)
        ]

    def without(self, methods: Collection[str], reference: bool) -> "Experiment":
        """What is left of the experiment when methods have failed.

        Args:
            methods: Their names.
            reference: Whether the reference is left.
        """
        left = {name: method for name, method in self.methods.items() if name not in methods}
        standard = self.figures.standard if self.figures.standard in left else None
        return self.model_copy(
            update={
                "methods": left,
                "reference": self.reference if reference else None,
                "figures": self.figures.model_copy(update={"standard": standard}),
            }
        )

    def slice(self, *keys: str) -> dict[str, Any]:
        """Some of the configuration as plain values, by dotted keys."""
        tree = self.model_dump(mode="json")
        found = {}
        for key in keys:
            value: Any = tree
            for part in key.split("."):
                value = value[part]
            found[key] = value
        return found
