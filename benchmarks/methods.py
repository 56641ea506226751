"""Measures methods of an experiment with compiled rollouts and with steps of torch, on the same windows.

    python benchmarks/methods.py [--experiment demo] [--methods 4dvar,vi-full,hmc] [--json FILE]

Both sides run in one process, in turn, on one thread and with the same random numbers; CPU seconds are counted. What
differs is only what a rollout is computed by.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

from turns import take_turns, write


@contextmanager
def by_steps() -> Iterator[None]:
    """Leaves the compiled loops out."""
    from posterity.systems.equations import rollouts

    compiled = rollouts.compiled
    rollouts.compiled = lambda: None  # type: ignore[assignment]
    try:
        yield
    finally:
        rollouts.compiled = compiled


def main() -> None:
    """Prints the times of each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="demo", help="the experiment (default: %(default)s)")
    parser.add_argument("--methods", default="4dvar,ensemble-4dvar,vi-full,etkf", help="names, with commas")
    parser.add_argument("--cases", type=int, default=16, help="the number of windows (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write what is printed, as JSON")
    arguments = parser.parse_args()
    import torch

    import posterity as ps

    torch.set_num_threads(1)
    study = ps.load(arguments.experiment)
    twin = study.twins(arguments.cases)
    rows = []
    for name in arguments.methods.split(","):
        method = study.method(name)

        def seconds(method: ps.Method = method) -> float:
            start = time.process_time()
            method.assimilate(twin, samples=study.experiment.samples, seed=0, device="cpu")
            return time.process_time() - start

        def slow(seconds: Callable[[], float] = seconds) -> float:
            with by_steps():
                return seconds()

        rows.append(take_turns({"compiled": seconds, "by steps": slow}, arguments.repeats, name))
    write(arguments.json, rows)


if __name__ == "__main__":
    main()
