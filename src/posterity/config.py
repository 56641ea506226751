"""Experiment files: their models, defaults and checks. Imports no torch: every cluster job parses them again."""

import re
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from .components import Component, Model, check, line, targets
from .errors import ConfigError, nearest

#: Where experiment files named without a path are looked for.
EXPERIMENTS = Path("config/experiments")


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
    training: TrainingConfig | None = Field(
        default=None, description="How it is trained: for estimators, and for them only; `{}` takes the defaults."
    )


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
    splits: SplitsConfig = Field(description="How many cases there are, and in what shards.")
    samples: PositiveInt = Field(default=1000, description="Draws per case.")
    methods: dict[str, MethodConfig] = Field(description="The methods, by names of your own.")
    figures: FiguresConfig = Field(default=FiguresConfig(), description="What figures show.")

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.prior.joint == "background" and self.prior.std is None:
            raise ValueError("prior.std: the background joint needs one; only the climatology joint goes without")
        if not self.methods:
            raise ValueError("methods: name at least one")
        check("system", self.system, "system", skip=0)
        for group, components in (("operator", self.observation.operator), ("mask", self.observation.mask)):
            for index, component in enumerate(components):
                check(group, component, f"observation.{group}.{index}", skip=int(group == "operator"))
        for name, method in self.methods.items():
            check("method", Component(kind=method.kind, options=method.options), f"methods.{name}", skip=1)
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"methods.{name}: names are made of letters, digits, '-' and '_'")
        return self

    def trained(self) -> list[str]:
        """The names of the methods that are trained."""
        return [name for name, method in self.methods.items() if method.training is not None]

    def draws(self, method: str) -> int:
        """The number of draws per case of a method."""
        return self.methods[method].samples or self.samples

    def problem_code(self) -> list[str]:
        """The ``module:Class`` targets that the problem is made of."""
        components = {"system": (self.system,), "operator": self.observation.operator, "mask": self.observation.mask}
        return [target for group, parts in components.items() for part in parts for target in targets(group, part)]

    def method_code(self, name: str) -> list[str]:
        """The ``module:Class`` targets that a method is made of."""
        method = self.methods[name]
        return list(targets("method", Component(kind=method.kind, options=method.options)))

    def simulated_on(self, split: str) -> dict[str, Any]:
        """The part of the configuration that simulations depend on; training sets hold no observations."""
        keys = [key for key in PROBLEM if split != "train" or key != "observation"]
        return self.slice(*keys, "seed")

    def drawn_on(self, name: str) -> dict[str, Any]:
        """The part of the configuration that the draws of a method depend on, but for their number."""
        return self.slice(*PROBLEM, "seed", *(f"methods.{name}.{key}" for key in ("kind", "options")))

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
PROBLEM = ("system", "observation", "prior", "window", "forecast")


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
    tree = _tree(path)
    if not path.stem.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{path}: rename it: names of experiments are made of letters, digits, '-' and '_'")
    if "name" in tree:
        raise ConfigError(f"{path}: name: an experiment is named by its file; remove the key")
    try:
        return Experiment.model_validate({**tree, "name": path.stem})
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line(problem)}" for problem in error.errors())) from None


def locate(experiment: str | Path) -> Path:
    """The path of an experiment given by path or by name."""
    path = Path(experiment)
    if path.suffix not in (".yaml", ".yml"):
        path = EXPERIMENTS / f"{experiment}.yaml"
    if not path.is_file():
        raise ConfigError(f"there is no experiment '{experiment}' ({path} does not exist){_alternatives(path)}")
    return path


def _alternatives(path: Path) -> str:
    """A hint at the experiments beside a missing one."""
    return nearest(path.stem, [file.stem for file in path.parent.glob("*.yaml")])


def _tree(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a file, merged into that of the file it extends."""
    if path in below:
        raise ConfigError(f"{path}: extends itself, by way of {', '.join(map(str, below))}")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must be a mapping of keys such as 'system' and 'methods'")
    if tree.get("extends") is None:
        return tree
    parent = path.parent / f"{str(tree['extends']).removesuffix('.yaml')}.yaml"
    if not parent.is_file():
        raise ConfigError(f"{path}: extends: there is no file {parent}{_alternatives(parent)}")
    return _merge(_tree(parent, (*below, path)), tree)


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merges mappings, key by key; a component of another kind replaces the whole; null removes a method."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            merged[key] = _merge(old, value)
        elif value is None and isinstance(old, dict):
            del merged[key]
        else:
            merged[key] = value
    return merged


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is written twice is an error, and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes an exponent without a decimal point for text.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))
