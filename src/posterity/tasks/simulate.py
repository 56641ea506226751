"""``posterity simulate``: draws of the joint."""

from pathlib import Path
from typing import Literal

from ..data import write
from ..errors import ConfigError
from ..experiment import Experiment
from ..inference.devices import on_device
from ..inference.experiments import build_problem
from ..inference.problem import simulated
from ..rules import obey
from .common import provenance, seed_of
from .files.library import library

Split = Literal["train", "valid", "test"]


def simulate(
    experiment: Experiment, split: Split, shard: int, output: Path, device: str = "cpu", climatology: Path | None = None
) -> None:
    """Draws one shard of a split.

    Training shards hold states and backgrounds; observations of them are drawn anew every epoch. Only test cases come
    from the experiment's truth: estimators learn from the system that inference assumes.

    Args:
        experiment: The experiment.
        split: ``train``, ``valid`` or ``test``.
        shard: The number of the shard.
        output: The file to write, of kind ``twin``, or ``states`` for training shards.
        device: Where to compute.
        climatology: The library of states, if the experiment has one.

    Raises:
        ConfigError: If the split has no such shard, or a system or an operator breaks a rule.
    """
    shards = getattr(experiment.splits, split).shards()
    if not 0 <= shard < len(shards):
        raise ConfigError(
            f"--shard: the {split} split of '{experiment.name}' has shards 0 to {len(shards) - 1}, no {shard}"
        )
    with on_device(device):
        states = library(experiment, climatology, held_out=split != "train")
        problem = build_problem(experiment, states, truth=split == "test")
        obey(problem, {})
        seed, first = seed_of(experiment, "simulate", split, shard), sum(shards[:shard])
        part = f" of shard {shard} of split {split}"
        dataset = simulated(problem, shards[shard], seed, first, split != "train", str(output), part)
    made = provenance("simulate", experiment, split, seed, split=split, shard=shard)
    write(dataset.assign_attrs(made), output, "states" if split == "train" else "twin")
