"""Experiment files: their models, defaults and checks. Imports no torch: every cluster job parses them again."""

from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from . import catalog, sources
from .components import Component, Model, check, line, targets
from .errors import ConfigError
from .reading import locate, tree


def _pair(value: Any) -> Any:
    """One number stands for an interval of no width."""
    return (value, value) if isinstance(value, int | float) else value


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    """Standard deviations are positive, and intervals in order."""
    low, high = interval
    if not 0 < low <= high < inf:
        raise ValueError(f"needs 0 < low <= high, both finite, not [{low:g}, {high:g}]")
    return interval


Interval = Annotated[
    tuple[float, float],
    BeforeValidator(_pair, json_schema_input_type=PositiveFloat | tuple[PositiveFloat, PositiveFloat]),
    AfterValidator(_ordered),
]


class ObservationConfig(Model):
    """What is seen of the states, and how well."""

    operator: tuple[Component, ...] = Field(default=(), description="Operators, the first to act first; none: all.")
    mask: tuple[Component, ...] = Field(default=(), description="Masks; an entry is observed if it passes them all.")
    std: Interval = Field(
        description="Interval of the standard deviations, in units of the observations; or one number."
    )


class PriorConfig(Model):
    """The prior over the first state."""

    joint: Literal["background", "climatology"] = Field(
        default="background",
        description="`background`: x_b from the climatology, x_0 around it. `climatology`: the reverse.",
    )
    std: Interval | None = Field(
        description="Interval of the background's standard deviations, in units of the state; or one number; "
        "or null (climatology joint only): no background."
    )


class SplitConfig(Model):
    """A split: so many cases, in shards of so many."""

    cases: PositiveInt = Field(description="The number of cases.")
    shard: PositiveInt | None = Field(default=None, description="Cases per file and job; all in one if null.")

    def shards(self) -> list[int]:
        """The numbers of cases in each shard."""
        size = self.shard or self.cases
        full, rest = divmod(self.cases, size)
        return [size] * full + [rest] * bool(rest)


class SplitsConfig(Model):
    """The three splits."""

    train: SplitConfig = Field(default=SplitConfig(cases=8192), description="Draws to train estimators on.")
    valid: SplitConfig = Field(default=SplitConfig(cases=1024), description="Draws to choose their weights by.")
    test: SplitConfig = Field(description="Draws to judge methods by.")


class TrainingConfig(Model):
    """How an estimator is trained."""

    epochs: PositiveInt = Field(default=100, description="Passes over the training set.")
    batch: PositiveInt = Field(default=256, description="Cases per step.")
    learning_rate: PositiveFloat = Field(default=1e-3, description="AdamW's learning rate, decayed to zero by cosine.")
    weight_decay: float = Field(default=1e-4, ge=0, description="AdamW's weight decay.")
    clip: PositiveFloat = Field(default=1.0, description="Largest norm of the gradient of all weights.")
    patience: PositiveInt = Field(default=20, description="Epochs without a better validation loss before it stops.")


class MethodConfig(Model):
    """A method under a name of its own."""

    kind: str = Field(description="A name of the catalogue (`posterity list methods`), or `package.module:Class`.")
    label: str | None = Field(default=None, description="How figures name it; its name if null.")
    options: dict[str, Any] = Field(default={}, description="Options of its constructor.")
    samples: PositiveInt | None = Field(default=None, description="Draws per case; the experiment's if null.")
    published: PositiveFloat | None = Field(
        default=None, description="The analysis RMSE that is published for it in this setting, for comparison."
    )
    training: TrainingConfig | None = Field(
        default=None, description="How it is trained: for estimators, and for them only; `{}` takes the defaults."
    )


class ReferenceConfig(Model):
    """The reference posterior that methods are held against."""

    kind: str = Field(description="A method of the catalogue that needs no training: `smc`, `hmc`, `exact`, …")
    options: dict[str, Any] = Field(default={}, description="Options of its constructor.")
    samples: PositiveInt = Field(default=512, description="Draws per case and run.")
    runs: PositiveInt = Field(default=2, description="Independent runs; the gap between them says how good they are.")


class FiguresConfig(Model):
    """What figures show."""

    case: int = Field(default=0, ge=0, description="The case of the first test shard that is drawn.")
    sites: tuple[int, ...] | None = Field(
        default=None, description="The sites whose trajectories are drawn; three at equal distances if null."
    )


class Experiment(Model):
    """An experiment: a problem, the methods that solve it, and what is made of their answers."""

    name: str = Field(default="", description="Its name: the file's, and that of its folder in `results/`.")
    extends: str | None = Field(
        default=None, description="The name of another file beside it: what is not said here is as there; null removes."
    )
    title: str = Field(description="One line for the report.")
    seed: int = Field(default=0, ge=0, description="Seed from which every task derives its own.")
    system: Component = Field(description="What moves.")
    observation: ObservationConfig = Field(description="What is seen of it.")
    prior: PriorConfig = Field(description="The prior over the first state.")
    window: PositiveInt = Field(description="The number of assimilated states.")
    forecast: int = Field(default=0, ge=0, description="The number of states behind the window.")
    model_error: NonNegativeFloat | tuple[NonNegativeFloat, ...] | None = Field(
        default=None,
        description="Standard deviations of the model's error in one step, in units of the state: one number, or one "
        "for each channel, or for each entry; null: the model is perfect (strong constraint).",
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
    truth: Component | None = Field(
        default=None, description="What test cases come from, if not the system; its first channels are the states."
    )
    splits: SplitsConfig = Field(description="How many cases there are, and in what shards.")
    samples: PositiveInt = Field(default=1000, description="Draws per case.")
    methods: dict[str, MethodConfig] = Field(description="The methods, by names of your own.")
    reference: ReferenceConfig | None = Field(
        default=None, description="The reference posterior that methods are held against; null: there is none."
    )
    figures: FiguresConfig = Field(default=FiguresConfig(), description="What figures show.")

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.prior.joint == "background" and self.prior.std is None:
            raise ValueError("prior.std: the background joint needs one; only the climatology joint goes without")
        if not 0 <= self.starts()[0] <= self.starts()[1]:
            raise ValueError(f"start: needs 0 <= first <= last, not {list(self.starts())}")
        if not self.methods:
            raise ValueError("methods: name at least one")
        check("system", self.system, "system", skip=0)
        for group, components in (("operator", self.observation.operator), ("mask", self.observation.mask)):
            for index, component in enumerate(components):
                check(group, component, f"observation.{group}.{index}", skip=int(group == "operator"))
        if self.truth is not None:
            check("system", self.truth, "truth", skip=0)
        for name, prior in self.parameters.items():
            check("prior", prior, f"parameters.{name}", skip=0)
        if self.reference is not None:
            check("method", self._reference(), "reference", skip=1)
        self._check_cycles()
        for name, method in self.methods.items():
            check("method", Component(kind=method.kind, options=method.options), f"methods.{name}", skip=1)
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"methods.{name}: names are made of letters, digits, '-' and '_'")
        return self

    def _check_cycles(self) -> None:
        """Refuses what records of several windows do not have."""
        if self.burn_in >= self.cycles > 1 or (self.cycles == 1 and self.burn_in):
            raise ValueError(f"burn_in: leaves nothing of {self.cycles} cycles; make it smaller")
        if self.cycles == 1:
            return
        if self.forecast:
            raise ValueError("forecast: windows that follow each other have none behind them; remove it, or 'cycles'")
        if self.reference is not None:
            raise ValueError("reference: is the posterior of one window; remove it, or 'cycles'")
        if trained := self.trained():
            raise ValueError(f"methods.{trained[0]}: estimators see one window; remove it, or 'cycles'")

    def _reference(self) -> Component:
        """The reference as a component of the catalogue."""
        assert self.reference is not None
        return Component(kind=self.reference.kind, options=self.reference.options)

    def trained(self) -> list[str]:
        """The names of the methods that are trained."""
        return [name for name, method in self.methods.items() if method.training is not None]

    def starts(self) -> tuple[int, int]:
        """The first and the last step at which windows may start."""
        return (self.start, self.start) if isinstance(self.start, int) else self.start

    def published(self) -> dict[str, float]:
        """The published errors of methods, by their names."""
        return {name: method.published for name, method in self.methods.items() if method.published is not None}

    def draws(self, method: str) -> int:
        """The number of draws per case of a method."""
        return self.methods[method].samples or self.samples

    def figures_drawn(self) -> list[str]:
        """The figures of the catalogue that show something of this experiment, told by what they must be given."""
        there = {"reference": self.reference is not None, "parameters": self.parameters, "cycles": self.cycles > 1}
        return [
            name
            for name, target in catalog.names("figure").items()
            if all(there.get(wanted.name, True) for wanted in sources.parameters(target) if wanted.required)
        ]

    def problem_code(self) -> list[str]:
        """The ``module:Class`` targets that the problem is made of."""
        components = {
            "system": (self.system,),
            "operator": self.observation.operator,
            "mask": self.observation.mask,
            "prior": tuple(self.parameters.values()),
        }
        return [target for group, parts in components.items() for part in parts for target in targets(group, part)]

    def truth_code(self) -> list[str]:
        """The ``module:Class`` targets of what test cases come from, if that is not the system."""
        return [] if self.truth is None else list(targets("system", self.truth))

    def reference_code(self) -> list[str]:
        """The ``module:Class`` targets that the reference is made of."""
        return list(targets("method", self._reference()))

    def method_code(self, name: str) -> list[str]:
        """The ``module:Class`` targets that a method is made of."""
        method = self.methods[name]
        return list(targets("method", Component(kind=method.kind, options=method.options)))

    def simulated_on(self, split: str) -> dict[str, Any]:
        """The part of the configuration that simulations depend on; training sets hold no observations."""
        keys = [key for key in PROBLEM if split != "train" or key != "observation"]
        return self.slice(*keys, *(["truth"] if split == "test" else []), "seed")

    def drawn_on(self, name: str) -> dict[str, Any]:
        """The part of the configuration that the draws of a method depend on, but for their number."""
        return self.slice(*PROBLEM, "seed", *(f"methods.{name}.{key}" for key in ("kind", "options")))

    def referenced_on(self) -> dict[str, Any]:
        """The part of the configuration that the reference depends on."""
        return self.slice(*PROBLEM, "seed", "reference")

    def trained_on(self, name: str) -> dict[str, Any]:
        """The part of the configuration that the weights of an estimator depend on."""
        return self.slice(*PROBLEM, "seed", *(f"methods.{name}.{key}" for key in ("kind", "options", "training")))

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


#: What the problem depends on.
PROBLEM = ("system", "observation", "prior", "window", "forecast", "model_error", "parameters", "cycles", "start")


def load(experiment: str | Path) -> Experiment:
    """Reads an experiment file, and those that it extends.

    Args:
        experiment: A path, or the name of a file in ``config/experiments``.

    Returns:
        The experiment.

    Raises:
        ConfigError: If a file is missing, is not YAML, or has keys or values that make no sense; the message names
            the file, the key and the remedy.
    """
    path = locate(experiment)
    content = tree(path)
    if not path.stem.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{path}: rename it: names of experiments are made of letters, digits, '-' and '_'")
    if "name" in content:
        raise ConfigError(f"{path}: name: an experiment is named by its file; remove the key")
    try:
        return Experiment.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line(problem)}" for problem in error.errors())) from None
