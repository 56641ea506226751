"""Measures methods of an experiment: with compiled rollouts and with steps of torch, or beside another version.

    python benchmarks/methods.py [--experiment demo] [--methods 4dvar,vi-full] [--json FILE]
    python benchmarks/methods.py --beside CHECKOUT [--methods hmc,smc] [--option iterations=100]

Without ``CHECKOUT`` what differs is only what a rollout is computed by. With it, the other side is the package of
another work tree of this repository (``git worktree add --detach CHECKOUT COMMIT``), in a process of its own, as this
side is then. Both assimilate the same windows, in turn, on one thread; CPU seconds are counted, after a first turn that
counts for nothing. Of chains they are those for an independent draw of a window (``ess_bulk``, the median of windows).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

from turns import Side, serve, take_turns, write


@contextmanager
def by_steps() -> Iterator[None]:
    """Leaves the compiled loops out."""
    from posterity.systems.equations import rollouts

    compiled = rollouts.compiled
    rollouts.compiled = lambda kind: None  # type: ignore[assignment]
    try:
        yield
    finally:
        rollouts.compiled = compiled


class Player:
    """Assimilates windows of an experiment.

    Args:
        experiment: The name of the experiment.
        options: Options of the methods, other than those of the experiment.
        twin: The file of its windows.
    """

    def __init__(self, experiment: str, options: dict[str, int], twin: Path) -> None:
        import torch
        import xarray as xr

        import posterity as ps

        torch.set_num_threads(1)
        self.study, self.options, self.make = ps.load(experiment), options, ps.method
        self.twin = xr.load_dataset(twin)

    def __call__(self, name: str) -> float:
        """The CPU seconds of a method, or those for an independent draw of its chains."""
        if self.options:
            method, samples = self.make(name, self.study.problem, **self.options), None
        else:
            method, samples = self.study.method(name), self.study.experiment.samples
        start = time.process_time()
        draws = method.assimilate(self.twin, samples=samples, seed=0, device="cpu")
        passed = time.process_time() - start
        return passed / float(draws["info_ess_bulk"].median()) if "info_ess_bulk" in draws else passed


def main() -> None:
    """Prints the times of each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="demo", help="the experiment (default: %(default)s)")
    parser.add_argument("--methods", default="4dvar,ensemble-4dvar,vi-full,etkf", help="names, with commas")
    parser.add_argument("--cases", type=int, default=16, help="the number of windows (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn (default: %(default)s)")
    parser.add_argument("--beside", type=Path, help="the work tree of another version")
    parser.add_argument("--option", action="append", default=[], help="an option of the methods, as iterations=100")
    parser.add_argument("--json", type=Path, help="where to write what is printed, as JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {name: int(value) for name, value in (option.split("=") for option in arguments.option)}
    if arguments.serve:
        player = Player(arguments.experiment, options, arguments.serve)
        serve(lambda order: player(order["name"]))
        return
    import posterity as ps

    rows = []
    with TemporaryDirectory() as folder:
        twin = Path(folder) / "twin.nc"
        ps.load(arguments.experiment).twins(arguments.cases).to_netcdf(twin)
        play = sides(arguments, options, twin)
        for name in arguments.methods.split(","):
            turns = {side: (lambda run=run, name=name: run(name)) for side, run in play.items()}
            rows.append(take_turns(turns, arguments.repeats, name))
    write(arguments.json, rows)


def sides(arguments: argparse.Namespace, options: dict[str, int], twin: Path) -> dict[str, Callable[[str], float]]:
    """What runs a method on each side."""
    if arguments.beside is None:
        player = Player(arguments.experiment, options, twin)

        def slow(name: str) -> float:
            with by_steps():
                return player(name)

        return {"compiled": player, "by steps": slow}

    def of(root: Path) -> Callable[[str], float]:
        environment = ("env", f"PYTHONPATH={root / 'src'}", f"--chdir={root}", sys.executable)
        given = [f"--experiment={arguments.experiment}", *(f"--option={option}" for option in arguments.option)]
        side = Side(*environment, str(Path(__file__).resolve()), f"--serve={twin}", *given)
        return lambda name: side(name=name)

    return {"here": of(Path(__file__).resolve().parents[1]), "beside": of(arguments.beside.resolve())}


if __name__ == "__main__":
    main()
