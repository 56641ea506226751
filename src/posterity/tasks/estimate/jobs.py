"""The jobs of a study, as the workflow plans them. Imports no torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...experiment import Experiment, catalog
from ...experiment.dependencies import STAGES, origins
from ...experiment.sources.signature import signature

#: The files that a job of each rule writes, where they are several; and those beside them, its log and its benchmark.
OUTPUTS: Mapping[str, int] = {"train": 3, "train_on_nodes": 3, "aggregate": 3, "plot": 2, "animate": 3, "scaling": 4}
BESIDE = 2


class Job(NamedTuple):
    """One job of the workflow.

    Args:
        experiment: The experiment.
        rule: The rule.
        name: What it makes in the experiment: the split of ``simulate``, the figure of ``plot``, else the method.
        shard: The number of the shard; None of rules that make one thing of all shards.
    """

    experiment: Experiment
    rule: str
    name: str = ""
    shard: int | None = None

    @property
    def files(self) -> int:
        """The number of files that it leaves, with its log and its benchmark."""
        return OUTPUTS.get(self.rule, 1) + BESIDE

    @property
    def benchmark(self) -> str:
        """Where Snakemake writes what it took, in the folder of benchmarks of its experiment."""
        folder = {"train_on_nodes": "train", "animate": "plot"}.get(self.rule, self.rule)
        return "/".join(
            [folder, *([self.name] if self.name else []), *([] if self.shard is None else [str(self.shard)])]
        )

    @property
    def cases(self) -> int:
        """The number of cases that it is about; of rules without shards, all test cases."""
        splits = self.experiment.splits
        split = getattr(splits, self.name) if self.rule == "simulate" else splits.test
        return split.cases if self.shard is None else split.shards()[self.shard]

    @property
    def group(self) -> str:
        """The name of all trainings of its method from different seeds, or its own."""
        methods = self.experiment.methods
        return (methods[self.name].group or self.name) if self.name in methods else self.name


def jobs(experiments: Sequence[Experiment]) -> list[Job]:
    """All jobs that a run of the workflow has, if nothing is there yet, beside ``all``, which does nothing.

    Args:
        experiments: The experiment, or all variants of a file, which are set beside each other in the end.

    Returns:
        The jobs, those of experiments whose weights these draw with among them.
    """
    pending = [
        (experiment, stage, name)
        for experiment in experiments
        for stage, names in (("aggregate", [""]), ("plot", experiment.figures_drawn()))
        for name in names
    ]
    found: dict[tuple[str, str, str], list[Job]] = {}
    while pending:
        experiment, stage, name = pending.pop()
        owner, own = experiment.owner(name)
        key = owner.name, stage, own
        if key not in found:
            found[key] = list(_pieces(owner, stage, own))
            pending += [(experiment, *made_of) for made_of in origins(stage, experiment, name)]
    together = [Job(experiments[0], "scaling")] if len(experiments) > 1 else []
    order = list(STAGES)
    made = sorted(found, key=lambda key: order.index(key[1]))
    return [job for key in made for job in found[key]] + together


def _pieces(experiment: Experiment, stage: str, name: str) -> Iterator[Job]:
    """The jobs of a stage for one thing that it makes: one, or one for each shard."""
    rule = stage
    if stage == "train" and name in experiment.shared():
        rule = "train_on_nodes"
    if stage == "plot" and any(option.name == "frames" for option in signature(catalog.target("figure", name))):
        rule = "animate"
    if not STAGES[stage].results.endswith("*.nc"):
        yield Job(experiment, rule, name)
        return
    split = getattr(experiment.splits, name if stage == "simulate" else "test")
    for shard in range(len(split.shards())):
        yield Job(experiment, rule, name, shard)
