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
from pathlib import Path

from faults import KINDS, mountable
from study import HERE, TASKS, chosen, needed, warm

import tasks


def main() -> int:
    """Reads the arguments and runs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="which")
    parser.add_argument("--kinds", default="", help="only kinds whose names hold one of these, by commas")
    parser.add_argument("--tasks", default="", help="only tasks whose names hold one of these, by commas")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="posterity-chaos-") as folder:
        return campaign(Path(folder), arguments)


def plan(asked: argparse.Namespace, disks: bool) -> list[str]:
    """The kinds of faults, each in turn in a random order, of those that can be brought about here."""
    possible = [
        name
        for name in chosen(KINDS, asked.kinds)
        if chosen((task.name for task in KINDS[name].tasks), asked.tasks) and (disks or not KINDS[name].disk)
    ]
    rng, names = random.Random(asked.seed), list[str]()
    while possible and len(names) < asked.faults:
        names += rng.sample(possible, len(possible))
    return names[: asked.faults]


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
    survived, failed = Counter[str](), Counter[str]()
    for number, name in enumerate(planned):
        began = time.monotonic()
        rng = random.Random(f"{seed} {number} {name}")
        told, wrong = tasks.disturb(reference, folder / f"fault-{number}", name, rng, moments, asked.tasks)
        (failed if wrong else survived)[name] += 1
        verdict = "NOT SURVIVED" if wrong else "survived"
        print(f"{number + 1:4d} {name}: {told}: {verdict} ({time.monotonic() - began:.1f} s)", flush=True)
        print("".join(f"       {line}\n" for one in wrong for line in one.splitlines()), end="", flush=True)
    print(f"\n{'fault':28s} {'survived':>8s} {'not':>4s}")
    for name in dict.fromkeys(planned):
        print(f"{name:28s} {survived[name]:8d} {failed[name]:4d}")
    print(f"{survived.total()} of {len(planned)} faults survived (seed {seed})")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
