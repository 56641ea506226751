"""Faults at random over a small study: `python tests/chaos --faults 100 --seed 0`, or `make chaos`.

Each fault is brought about, what it disturbed is run again by the same commands until it ends, and all results are held
against those of an undisturbed run, bit by bit. Prints what was injected, and ends with 1 if anything was not survived.

There are faults of single tasks, of runs of the workflow, and of runs of it on a real Slurm (tests/slurm/cluster.sh).
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

import slurms
import workflows
from disks import mountable

import tasks

#: Of so many faults, how many are of each level.
SHARES = {"task": 6, "workflow": 3, "slurm": 1}


class Disturb(Protocol):
    """Brings a fault about, and compares what there is in the end."""

    def __call__(self, folder: Path, name: str, rng: random.Random) -> tuple[str, list[str]]:
        """Returns what happened, and what was not survived."""


class Level(NamedTuple):
    """What is disturbed.

    Args:
        kinds: The kinds of faults that can be brought about.
        opened: Makes ready what is disturbed, in a folder.
    """

    kinds: list[str]
    opened: Callable[[Path], AbstractContextManager[Disturb]]


def main() -> int:
    """Reads the arguments and runs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="which")
    parser.add_argument("--level", default=",".join(SHARES), help="task, workflow and slurm; by commas")
    parser.add_argument("--kinds", default="", help="only kinds whose names hold one of these, by commas")
    parser.add_argument("--tasks", default="", help="only tasks whose names hold one of these, by commas")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Not a TemporaryDirectory: what is forked from here would remove it at its end.
    folder = Path(tempfile.mkdtemp(prefix="posterity-chaos-")).resolve()
    try:
        return campaign(folder, arguments)
    finally:
        shutil.rmtree(folder)


def levels(asked: argparse.Namespace, disks: bool) -> dict[str, Level]:
    """The levels that are asked for, by name."""
    every = {
        "task": Level(tasks.kinds(asked.kinds, asked.tasks, disks), lambda base: tasks.opened(base, asked.tasks)),
        "workflow": Level(workflows.kinds(asked.kinds, disks), workflows.opened),
        "slurm": Level(slurms.kinds(asked.kinds), slurms.opened),
    }
    return {name: every[name] for name in asked.level.split(",") if every[name].kinds}


def plan(asked: argparse.Namespace, known: Mapping[str, Level]) -> list[tuple[str, str, int]]:
    """The level and the kind of each fault, and its number in the level: each kind in turn, in a random order."""
    total, planned = sum(SHARES[level] for level in known), list[tuple[str, str, int]]()
    for level in known:
        rest = asked.faults - len(planned)
        count = rest if level == list(known)[-1] else min(rest, round(asked.faults * SHARES[level] / total))
        rng, names = random.Random(f"{asked.seed} {level}"), list[str]()
        while len(names) < count:
            names += rng.sample(known[level].kinds, len(known[level].kinds))
        planned += [(level, name, number) for number, name in enumerate(names[:count])]
    return planned


def campaign(folder: Path, asked: argparse.Namespace) -> int:
    """Runs faults, and prints them; returns the exit status."""
    (folder / "disk").mkdir()
    disks = mountable(folder / "disk")
    if not disks:
        print("disks cannot be mounted here: no full and no read-only ones")
    known = levels(asked, disks)
    planned = plan(asked, known)
    survived, failed = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for level in dict.fromkeys(level for level, _, _ in planned):
        (folder / level).mkdir()
        with known[level].opened(folder / level) as disturb:
            for _, name, number in (one for one in planned if one[0] == level):
                began = time.monotonic()
                rng = random.Random(f"{asked.seed} {level} {number} {name}")
                told, wrong = disturb(folder / level / f"fault-{number}", name, rng)
                (failed if wrong else survived)[level, name] += 1
                verdict = "NOT SURVIVED" if wrong else "survived"
                print(f"{number + 1:4d} {level}: {name}: {told}: {verdict} ({time.monotonic() - began:.1f} s)")
                print("".join(f"       {line}\n" for one in wrong for line in one.splitlines()), end="", flush=True)
    print(f"\n{'level':9s} {'fault':32s} {'survived':>8s} {'not':>4s}")
    for level, name in dict.fromkeys((level, name) for level, name, _ in planned):
        print(f"{level:9s} {name:32s} {survived[level, name]:8d} {failed[level, name]:4d}")
    print(f"{survived.total()} of {len(planned)} faults survived (seed {asked.seed})")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
