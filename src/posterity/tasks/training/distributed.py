"""The processes that share a training: as many as ``torchrun`` or ``srun`` has started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from random import Random

import torch
from torch import distributed


@contextmanager
def shared(device: torch.device) -> Iterator[int]:
    """Joins the other processes of a training, if there are any.

    ``torchrun`` says in the environment who they are; under Slurm, the step does: ``srun --ntasks 4 posterity train …``
    trains with four processes, on one node or several. They meet at the first node, or at ``MASTER_ADDR``, and after
    every start at another port: what is left of the last one would be waited for.

    Args:
        device: Where this process computes; on a GPU each process takes the one of its own number.

    Yields:
        The number of this process; 0 alone writes files.
    """
    _from_slurm()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    # Others wait at the first step for as long as the first process takes to read.
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=30))
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()


def _from_slurm() -> None:
    """Tells torch who the tasks of a Slurm step are, unless something else has."""
    if "RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
        return
    from submitit.slurm.slurm import SlurmJobEnvironment

    step = SlurmJobEnvironment()
    # All tasks know it, and no other step and no other start of the job has it; below those that systems give away.
    start = " ".join(os.environ.get(f"SLURM_{name}", "") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT"))
    port = Random(start).randint(20000, 32000)
    os.environ.setdefault("MASTER_ADDR", step.hostnames[0])
    os.environ.setdefault("MASTER_PORT", str(port))
    os.environ |= {
        "RANK": str(step.global_rank),
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": str(step.local_rank),
    }
