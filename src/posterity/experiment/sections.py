"""The parts of an experiment file: their models, defaults and checks. Imports no torch."""

from math import inf
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ..errors import nearest
from . import catalog
from .component import Component, Model
from .sources.signature import constant


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
    """The observations: operators, masks and noise."""

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
        "or null: those that belong to a climatological correlation, or (climatology joint only) no background."
    )
    correlation: Component | None = Field(
        default=None,
        description="Correlation of the background's errors (`posterity list correlations`); null: none.",
    )


class ModelErrorConfig(Model):
    """The errors of the model in one step."""

    std: NonNegativeFloat | tuple[NonNegativeFloat, ...] | None = Field(
        description="Standard deviations in units of the state: one number, or one for each channel, or for each "
        "entry; or null: those that belong to a climatological correlation."
    )
    correlation: Component | None = Field(
        default=None, description="Correlation of the errors at one time (`posterity list correlations`); null: none."
    )

    @model_validator(mode="after")
    def _sized(self) -> "ModelErrorConfig":
        if self.std is None and self.correlation is None:
            raise ValueError("std: errors need standard deviations; give them, or set model_error to null for none")
        return self


def _errors(value: Any) -> Any:
    """Standard deviations alone stand for errors."""
    return {"std": value} if isinstance(value, int | float | list | tuple) else value


Errors = Annotated[
    ModelErrorConfig,
    BeforeValidator(_errors, json_schema_input_type=NonNegativeFloat | tuple[NonNegativeFloat, ...] | ModelErrorConfig),
]


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


class ClimatologyConfig(Model):
    """The library of climatological states, made once after one spin-up."""

    states: PositiveInt = Field(
        default=512, description="States that the training split and all methods draw initial states from."
    )
    held_out: PositiveInt = Field(
        default=128, description="Further states, that the other splits and classifiers draw from."
    )


class TrainingConfig(Model):
    """The training of an estimator."""

    epochs: PositiveInt = Field(default=100, description="Passes over the training set.")
    batch: PositiveInt = Field(default=256, description="Cases per step, of all processes together.")
    echoes: PositiveInt = Field(
        default=1,
        description="Steps by each batch, before the next is observed: where what they see takes longer than a step, "
        "as in the frame `laplace`.",
    )
    renew: PositiveInt = Field(
        default=1,
        description="Epochs that see the same observations, before all are drawn anew: what networks see of them is "
        "found once, and held in memory; where it takes longer than the steps of an epoch, as in the frame `laplace`.",
    )
    learning_rate: PositiveFloat = Field(default=1e-3, description="AdamW's learning rate.")
    warmup: float = Field(default=0.01, ge=0, lt=1, description="Share of the steps over which it grows to its value.")
    lr_schedule: str = Field(default="cosine", description="How it falls: `posterity list lr_schedules`.")
    final: float = Field(default=0.0, ge=0, le=1, description="Share of it that is left at the end.")
    weight_decay: float = Field(default=1e-4, ge=0, description="AdamW's weight decay.")
    clip: PositiveFloat = Field(default=1.0, description="Largest norm of the gradient of all weights.")
    ema: float = Field(default=0.999, ge=0, lt=1, description="Decay of the moving average of the weights; 0: none.")
    patience: PositiveInt = Field(default=20, description="Epochs without a better validation loss before it stops.")
    minutes: PositiveFloat | None = Field(
        default=None, description="Time after which it ends with the best weights so far; null: no such limit."
    )
    nodes: PositiveInt = Field(default=1, description="Nodes of a cluster that share it.")
    gpus: PositiveInt = Field(
        default=1,
        description="GPUs of each node, with a process for each; on nodes without GPUs, the processes of each. Where "
        "there are several processes, the workflow submits them to Slurm as one job.",
    )
    shares: PositiveInt | None = Field(
        default=None,
        description="Equal shares of a batch, each with random numbers of its own: weights depend on it, and not on "
        "how many processes take them, which must divide it; null: one for each process.",
    )
    bfloat16: bool = Field(default=False, description="Whether networks compute in bfloat16, on a GPU.")
    compile: bool = Field(
        default=False, description="Whether the loss is compiled: takes minutes, and on a CPU a C++ compiler."
    )

    @field_validator("lr_schedule")
    @classmethod
    def _known_schedule(cls, name: str) -> str:
        # Names alone: what a configuration calls by its path could be anything.
        if name not in (known := catalog.names("lr_schedule")):
            raise ValueError(f"unknown lr_schedule '{name}'{nearest(name, known)}")
        return name

    @model_validator(mode="after")
    def _shared(self) -> "TrainingConfig":
        shares = self.equal_shares()
        if shares % self.processes():
            raise ValueError(
                f"shares: {shares} of a batch cannot be divided equally among {self.nodes} x {self.gpus} processes "
                "(nodes x gpus); make it a multiple of them"
            )
        if self.batch % shares:
            raise ValueError(
                f"batch: {self.batch} cases have no {shares} equal shares (nodes x gpus, or 'shares'); make it a "
                "multiple"
            )
        return self

    def processes(self) -> int:
        """The number of processes that share it."""
        return self.nodes * self.gpus

    def equal_shares(self) -> int:
        """The number of shares of a batch."""
        return self.shares or self.processes()


class MethodConfig(Component):
    """A method under a name of its own."""

    kind: str = Field(description="A name of the catalogue (`posterity list methods`), or `package.module:Class`.")
    refines: str | None = Field(
        default=None,
        description="Another method, an estimator, whose draws it refines; it takes kind, options and weights of that.",
    )
    refinement: Component | None = Field(
        default=None, description="How it refines them: `posterity list refinements`; goes with `refines`."
    )
    weights: str | None = Field(
        default=None,
        description="Another method, an estimator, whose weights it draws with: `METHOD`, or `EXPERIMENT/METHOD` of a "
        "file beside. It takes kind and options of that, and may change those of drawing alone.",
    )
    label: str | None = Field(default=None, description="How figures name it; its name if null.")
    samples: PositiveInt | None = Field(default=None, description="Draws per case; the experiment's if null.")
    published: PositiveFloat | None = Field(
        default=None, description="The analysis RMSE that is published for it in this setting, for comparison."
    )
    published_log_score: float | None = Field(
        default=None, description="Minus the log-density of the truth that is published for it, in nat, likewise."
    )
    training: TrainingConfig | None = Field(
        default=None, description="How it is trained: for estimators, and for them only; `{}` takes the defaults."
    )
    seeds: PositiveInt = Field(
        default=1,
        description="How often it is trained, from different seeds: of 5, the methods are NAME-1 to NAME-5, one group "
        "under the name of all.",
    )
    group: str | None = Field(
        default=None,
        description="The name under which figures of trainings and of variants show it with others; its own if null. "
        "Other figures show the first method of each group.",
    )

    @model_validator(mode="after")
    def _refines_wholly(self) -> "MethodConfig":
        if (self.refines is None) != (self.refinement is None):
            raise ValueError("refinement: goes with 'refines', the method whose draws are refined: give both or none")
        if self.refines is not None and self.training is not None:
            raise ValueError("training: a method that refines another is not trained: remove it")
        if self.weights is not None and (self.refines is not None or self.training is not None):
            raise ValueError("weights: a method that draws with those of another has none of its own: remove the rest")
        if self.seeds > 1 and self.training is None:
            raise ValueError("seeds: only what is trained can be trained several times: remove it")
        return self


class ReferenceConfig(Component):
    """The reference posterior that methods are held against."""

    kind: str = Field(description="A method of the catalogue that needs no training: `smc`, `hmc`, `exact`, …")
    samples: PositiveInt = Field(default=512, description="Draws per case and run.")
    runs: PositiveInt = Field(default=2, description="Independent runs; the gap between them says how good they are.")


class ClassifierConfig(Model):
    """The training of classifiers, networks that tell the truth from the draws of an estimator to test it."""

    cases: PositiveInt = Field(
        default=8192, description="Windows to train on: new draws, which the estimator has not seen either."
    )
    judged: PositiveInt = Field(default=1024, description="Windows to judge them by: further new draws.")
    epochs: PositiveInt = Field(default=50, description="The most passes over them.")
    batch: PositiveInt = Field(default=256, description="Windows per step.")
    learning_rate: PositiveFloat = Field(default=1e-3, description="AdamW's learning rate; it falls by cosine.")
    network: Component | None = Field(
        default=None,
        description="The network (`posterity list networks`); null: a convolutional one over fields, and a perceptron "
        "for vectors.",
    )


class FiguresConfig(Model):
    """Choices of what figures show."""

    case: int = Field(default=0, ge=0, description="The case of the first test shard that is drawn.")
    sites: tuple[int | tuple[int, int], ...] | None = Field(
        default=None,
        description="The sites whose trajectories are drawn: their numbers or, on a grid of two axes, pairs `[y, x]`; "
        "three at equal distances if null.",
    )
    times: tuple[NonNegativeInt, ...] | None = Field(
        default=None,
        description="The states that maps show, by their numbers from 0; start, window end and forecast end if null.",
    )
    quantity: str | None = Field(
        default=None,
        description="What maps show: a channel, or `vorticity` or `speed` of a velocity; null: the vorticity of the "
        "channels `u` and `v` if there are such, else the first channel.",
    )
    frames: PositiveInt = Field(default=40, description="The most pictures of an animation.")
    standard: str | None = Field(
        default=None,
        description="The method whose draws take the place of a reference in figures, where there is none; its name.",
    )
    only: tuple[str, ...] | None = Field(
        default=None,
        description="The figures that are drawn (`posterity list figures`); null: all that show something.",
    )
    without: tuple[str, ...] = Field(default=(), description="Figures that are not drawn; goes without `only`.")

    def chosen(self, figures: list[str]) -> list[str]:
        """Those of some figures that are drawn."""
        return [name for name in figures if name not in self.without and (self.only is None or name in self.only)]


def axes_of(system: Component) -> int | None:
    """The number of axes of a system's grid, by what its class says of it; None if it does not."""
    said = constant(catalog.target("system", system.kind), "axes")
    if isinstance(said, str):
        option = system.options.get(said)
        return len(option) if isinstance(option, list | tuple) else 1
    return said if isinstance(said, int) else None


def grid_figures(system: Component) -> dict[str, bool]:
    """Whether figures that must be given a spectrum, or a plane, show something of a system."""
    axes = axes_of(system)
    return {"spectra": axes != 0, "plane": axes in (2, None)}
