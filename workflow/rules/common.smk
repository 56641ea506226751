# What the rules share. Nothing here imports torch: every cluster job parses it again.
import sys

from posterity import catalog, sources
from posterity.config import every
from posterity.errors import PosterityError
from snakemake.exceptions import WorkflowError

# The interpreter that runs the workflow also runs its jobs, on any node, without activating anything.
POSTERITY = f"{sys.executable} -m posterity"

named = config["experiments"]
try:
    # A file with variants stands for all of them.
    STUDIES = [
        list(every(name))
        for name in (named.split(",") if isinstance(named, str) else named)
    ]
except PosterityError as error:
    raise WorkflowError(str(error)) from None

FILES = {experiment.name: file for study in STUDIES for file, experiment in study}
EXPERIMENTS = {
    experiment.name: experiment for study in STUDIES for _, experiment in study
}

# Files of which several variants are asked for, by name: these are set beside each other.
COMPARED = {
    study[0][1].name.rpartition("/")[0]: [experiment for _, experiment in study]
    for study in STUDIES
    if len(study) > 1
}

TRAINED = {
    method for experiment in EXPERIMENTS.values() for method in experiment.trained()
}
SAMPLED = {
    method for experiment in EXPERIMENTS.values() for method in experiment.sampled()
}
ASSIMILATED = {
    method for experiment in EXPERIMENTS.values() for method in experiment.methods
} - SAMPLED


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
    split="train|valid|test",
    shard=r"\d+",
    figure="|".join(catalog.names("figure")),


def file_of(wildcards):
    """The experiment's file."""
    return FILES[wildcards.experiment]


def of(wildcards):
    """The experiment."""
    return EXPERIMENTS[wildcards.experiment]


def shards(experiment, split):
    """The numbers of the shards of a split."""
    return range(len(getattr(EXPERIMENTS[experiment].splits, split).shards()))


def simulations(split):
    """An input function: the shards of a split."""

    def files(wildcards):
        return expand(
            "results/{experiment}/simulations/{split}/{shard}.nc",
            experiment=wildcards.experiment,
            split=split,
            shard=shards(wildcards.experiment, split),
        )

    return files


def code(task, *parts):
    """A params function: the digest of the code that a task reaches, and of what the experiment makes it construct."""

    def reached(wildcards):
        targets = [f"posterity.tasks.{task}"]
        for part in parts:
            targets += part(wildcards)
        return sources.digest(targets)

    return reached


def problem_code(wildcards):
    """What the problem is made of."""
    return of(wildcards).problem_code()


def method_code(wildcards):
    """What the method is made of."""
    return of(wildcards).method_code(wildcards.method)


def weights_of(wildcards):
    """The folder of the weights that a method draws with: its own, or those of the method that it refines."""
    return f"results/{wildcards.experiment}/models/{of(wildcards).weights(wildcards.method)}"


def truth_code(wildcards):
    """What test cases come from, if it is not the system that inference assumes."""
    return of(wildcards).truth_code() if wildcards.split == "test" else []


def reference_code(wildcards):
    """What the reference is made of."""
    return of(wildcards).reference_code()


def reference_of(shard):
    """An input function: the reference of a test shard, if the experiment has one."""

    def file(wildcards):
        if of(wildcards).reference is None:
            return []
        return (
            f"results/{wildcards.experiment}/references/{shard.format(**wildcards)}.nc"
        )

    return file


def figure_code(wildcards):
    """What draws the figure."""
    return [catalog.target("figure", wildcards.figure)]


def figures_of(experiment):
    """The figures that show something of an experiment."""
    return expand(
        "results/{experiment}/figures/{figure}.{suffix}",
        experiment=experiment,
        figure=EXPERIMENTS[experiment].figures_drawn(),
        suffix=("svg", "png"),
    )
