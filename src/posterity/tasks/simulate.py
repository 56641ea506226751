"""``posterity simulate``: draws of the joint."""

from pathlib import Path
from typing import Literal

from ..data import write
from ..data.tensors import twin_dataset
from ..errors import ConfigError
from ..experiment import Experiment
from ..rules import obey
from .common import build_problem, log, on_device, provenance, seed_everything
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
        seed = seed_everything(experiment, "simulate", split, shard)
        twin = problem.sample((shards[shard],))
    failed = ~twin.x.flatten(1).isfinite().all(dim=1)
    dataset = twin_dataset(twin, problem, first_case=sum(shards[:shard]), observations=split != "train")
    dataset.attrs = provenance("simulate", experiment, split, seed, split=split, shard=shard)
    dataset.attrs["failed"] = int(failed.sum())
    write(dataset, output, "states" if split == "train" else "twin")
    if failed.any():
        cases = dataset["case"].values[failed.cpu().numpy()]
        log.warning(
            "%s: %d of %d cases of shard %d of split %s failed: their trajectories are not finite (case %s%s)",
            output, len(cases), len(failed), shard, split, ", ".join(map(str, cases[:10])), ", …" * (len(cases) > 10),
        )  # fmt: skip
