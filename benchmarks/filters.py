"""Measures ensemble filters beside DAPPER's: the same experiments on the same machine, in turn.

    python benchmarks/filters.py --peers PYTHON [--json FILE]

``PYTHON`` is the interpreter of an environment of its own with DAPPER (``pip install dapper==1.7.1``). The experiment
is Sakov & Oke (2008): Lorenz-96 with 40 sites, all observed at every step with unit variance; ETKF and LETKF as DAPPER
documents them for it. DAPPER assimilates one experiment at a time; Posterity does 64 of them as one batch, whose
seconds are divided by 64, and one alone. CPU seconds on one thread; DAPPER's include its own statistics, which it
computes while it assimilates. Both work in their own precision: DAPPER in double, Posterity in single. Analysis errors
behind the first tenth of the cycles are printed, since a filter that has lost the truth takes as long.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

# Before NumPy and torch are imported: one thread each, so that neither side wins by the other's idle core.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

from turns import Side, parser, serve, take_turns, write

SITES, EXPERIMENTS = 40, 64
#: Members, inflation and radius of localisation.
SETTINGS: dict[str, tuple[int, float, float | None]] = {"ETKF": (24, 1.013, None), "LETKF": (7, 1.04, 4.0)}


def peer() -> Any:
    """What DAPPER makes of orders: the seconds of an experiment, and its error."""
    import dapper.da_methods as da
    import dapper.tools.progressbar
    from dapper.mods.Lorenz96.sakov2008 import HMM

    dapper.tools.progressbar.disable_progbar = True

    def answer(order: dict[str, Any]) -> list[float]:
        members, inflation, radius = SETTINGS[order["method"]]
        HMM.tseq.Ko, HMM.tseq.BurnIn = order["cycles"], 0
        truth, observations = HMM.simulate()
        if radius is None:
            method = da.EnKF("Sqrt", N=members, infl=inflation, rot=True)
        else:
            method = da.LETKF(N=members, infl=inflation, rot=True, loc_rad=radius)
        start = time.process_time()
        method.assimilate(HMM, truth, observations, liveplots=False)
        passed = time.process_time() - start
        return [passed, float(method.stats.err.rms.a[order["cycles"] // 10 :].mean())]

    return answer


def ours(name: str, experiments: int, cycles: int) -> list[float]:
    """The seconds of Posterity for one of some experiments, and their median error."""
    import torch

    from posterity.baselines import ETKF, LETKF
    from posterity.problems import Identity, Observation, Problem
    from posterity.systems import Lorenz96

    torch.set_num_threads(1)
    problem = Problem(
        Lorenz96(size=SITES, dt=0.05),
        Observation(Identity((1, SITES))),
        window=1,
        # As there: from larger errors, 24 members often lose the truth for good.
        background_std=(0.001**0.5, 0.001**0.5),
        cycles=cycles,
    )
    members, inflation, radius = SETTINGS[name]
    twin = problem.sample((experiments,))
    if radius is None:
        method: ETKF | LETKF = ETKF(problem, members=members, inflation=inflation, rotation=True)
    else:
        method = LETKF(problem, members=members, inflation=inflation, rotation=True, radius=radius)
    start = time.process_time()
    draws = method.sample(twin.window, members)
    passed = (time.process_time() - start) / experiments
    error = (draws.x.mean(dim=0) - twin.x).square().mean(dim=(-2, -1)).sqrt()
    return [passed, float(error[:, cycles // 10 :].mean(dim=-1).median())]


def noting(run: Callable[[], list[float]], errors: list[float]) -> Callable[[], float]:
    """The seconds of a run, whose error is noted."""

    def seconds() -> float:
        passed, error = run()
        errors.append(error)
        return passed

    return seconds


def main() -> None:
    """Prints the seconds of all sides, and their errors."""
    options = parser(__doc__, "DAPPER")
    options.add_argument("--cycles", type=int, default=300, help="analyses of each experiment (default: %(default)s)")
    arguments = options.parse_args()
    if arguments.serve:
        serve(peer())
        return
    side = Side(arguments.peers, __file__, "--serve") if arguments.peers else None
    rows = []
    for name in SETTINGS:
        runs = {
            f"{EXPERIMENTS} experiments": lambda name=name: ours(name, EXPERIMENTS, arguments.cycles),
            "one experiment": lambda name=name: ours(name, 1, arguments.cycles),
        }
        if side is not None:
            runs["DAPPER"] = lambda name=name: side(method=name, cycles=arguments.cycles)
        errors: dict[str, list[float]] = {what: [] for what in runs}
        turns = {what: noting(run, errors[what]) for what, run in runs.items()}
        row = take_turns(turns, arguments.repeats, name)
        for what, found in errors.items():
            row[what]["error"] = statistics.median(found)
            print(f"{name}, {what}: analysis error {row[what]['error']:.3f}", flush=True)
        rows.append(row)
    write(arguments.json, rows)


if __name__ == "__main__":
    main()
