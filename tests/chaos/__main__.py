"""Faults at random over a small study: `python tests/chaos --faults 100 --seed 0`, or `make chaos`.

Each fault is brought about, what it disturbed is run again by the same commands until it ends, and all results are held
against those of an undisturbed run, bit by bit. Prints what was injected, and ends with 1 if anything was not survived.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from faults import KINDS, mountable
from study import HERE, TASKS, needed, warm

import tasks


def main() -> int:
    """Reads the arguments and runs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="which")
    parser.add_argument("--levels", default="task", help="task; by commas")
    parser.add_argument("--kinds", default="", help="only kinds whose names hold one of these, by commas")
    parser.add_argument("--tasks", default="", help="only tasks whose names hold one of these, by commas")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="posterity-chaos-") as folder:
        return campaign(Path(folder), arguments)


def chosen(names: Iterable[str], parts: str) -> list[str]:
    """The names that hold one of some parts, which stand between commas."""
    return [name for name in names if any(part in name for part in parts.split(","))]


def plan(asked: argparse.Namespace, disks: bool) -> list[tuple[str, str]]:
    """The levels and kinds of faults: each kind in turn in a random order, most of them of single tasks."""
    rng, count = random.Random(asked.seed), asked.faults
    levels = asked.levels.split(",")
    known = {
        level: chosen(names, asked.kinds) for level, names in _known(disks, asked.tasks).items() if level in levels
    }
    shares = {"task": 7, "snakemake": 2, "slurm": 1}
    levels = [level for level in levels if known.get(level)]
    total = sum(shares[level] for level in levels)
    found: list[tuple[str, str]] = []
    for level in levels:
        number = count - len(found) if level == levels[-1] else round(count * shares[level] / total)
        names: list[str] = []
        while len(names) < number:
            names += rng.sample(known[level], len(known[level]))
        found += [(level, name) for name in names[:number]]
    return found


def _known(disks: bool, tasks: str) -> dict[str, list[str]]:
    """The kinds of each level, of those that can be brought about here."""
    possible = {name: chosen((task.name for task in kind.tasks), tasks) for name, kind in KINDS.items()}
    return {"task": [name for name, kind in KINDS.items() if possible[name] and (disks or not kind.disk)]}


def campaign(folder: Path, asked: argparse.Namespace) -> int:
    """Runs faults, and prints them; returns the exit status."""
    seed = asked.seed
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    (folder / "disk").mkdir()
    disks = mountable(folder / "disk")
    planned = plan(asked, disks)
    if not disks:
        print("disks cannot be mounted here: no full and no read-only ones")
    reference = folder / "reference"
    (reference / "config" / "experiments").mkdir(parents=True)
    shutil.copy(HERE / "small.yaml", reference / "config" / "experiments")
    moments = warm(reference, needed(task for task in TASKS if chosen([task.name], asked.tasks)))
    survived: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for number, (level, name) in enumerate(planned):
        began = time.monotonic()
        rng = random.Random(f"{seed} {number} {name}")
        told, wrong = tasks.disturb(reference, folder / f"fault-{number}", name, rng, moments, asked.tasks)
        (failed if wrong else survived)[level, name] += 1
        verdict = "NOT SURVIVED" if wrong else "survived"
        print(f"{number + 1:4d} {level:9s} {name}: {told}: {verdict} ({time.monotonic() - began:.1f} s)", flush=True)
        print("".join(f"       {line}\n" for one in wrong for line in one.splitlines()), end="", flush=True)
    print(f"\n{'level':9s} {'fault':28s} {'survived':>8s} {'not':>4s}")
    for level, name in dict.fromkeys(planned):
        print(f"{level:9s} {name:28s} {survived[level, name]:8d} {failed[level, name]:4d}")
    print(f"{survived.total()} of {len(planned)} faults survived (seed {seed})")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
