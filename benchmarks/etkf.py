"""Measures the ensemble transform Kalman filter beside DAPPER's: the same experiment, the same machine, one run.

    python benchmarks/etkf.py PYTHON

``PYTHON`` is the interpreter of an environment of its own with DAPPER (``pip install dapper==1.7.1``), which this
script runs but does not contain. The experiment is Sakov & Oke (2008): Lorenz-96 with 40 sites, all observed at every
step with unit variance; 24 members, inflation 1.013, random rotation. DAPPER assimilates one experiment at a time,
Posterity 64 of them as one batch. Both sides run on one thread, in turn; DAPPER's time includes its own statistics,
which it computes while it assimilates.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

# Before NumPy and torch are imported: one thread each, so that neither side wins by the other's idle core.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

SITES = 40
MEMBERS = 24
INFLATION = 1.013
EXPERIMENTS = 64


def peer(cycles: int) -> tuple[float, float]:
    """One experiment of DAPPER: seconds, and the analysis RMSE after the first tenth."""
    import dapper.da_methods as da
    import dapper.tools.progressbar
    from dapper.mods.Lorenz96.sakov2008 import HMM

    dapper.tools.progressbar.disable_progbar = True
    HMM.tseq.Ko = cycles
    HMM.tseq.BurnIn = 0
    truth, observations = HMM.simulate()
    method = da.EnKF("Sqrt", N=MEMBERS, infl=INFLATION, rot=True)
    start = time.perf_counter()
    method.assimilate(HMM, truth, observations, liveplots=False)
    seconds = time.perf_counter() - start
    return seconds, float(method.stats.err.rms.a[cycles // 10 :].mean())


def ours(cycles: int) -> tuple[float, float]:
    """A batch of experiments: seconds for each, and their average analysis RMSE after the first tenth."""
    import torch

    from posterity.baselines import ETKF
    from posterity.problems import Identity, Observation, Problem
    from posterity.systems import Lorenz96

    torch.set_num_threads(1)
    problem = Problem(
        Lorenz96(size=SITES, dt=0.05),
        Observation(Identity((1, SITES))),
        window=1,
        joint="climatology",
        # As there: from larger errors, 24 members often lose the truth for good.
        background_std=(0.001**0.5, 0.001**0.5),
        cycles=cycles,
    )
    twin = problem.sample((EXPERIMENTS,))
    method = ETKF(problem, members=MEMBERS, inflation=INFLATION, rotation=True)
    start = time.perf_counter()
    draws = method.sample(twin.window, MEMBERS)
    seconds = (time.perf_counter() - start) / EXPERIMENTS
    error = (draws.x.mean(dim=0) - twin.x).square().mean(dim=(-2, -1)).sqrt()
    return seconds, float(error[:, cycles // 10 :].mean())


def main() -> None:
    """Prints both times, their ratio, and both errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="the interpreter of an environment with DAPPER, or 'peer' in that environment")
    parser.add_argument("--cycles", type=int, default=300, help="analyses of each experiment (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, in turn (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.python == "peer":
        print(json.dumps(peer(arguments.cycles)))
        return
    command = [arguments.python, __file__, "peer", "--cycles", str(arguments.cycles)]
    theirs, own = [], []
    for _ in range(arguments.repeats):
        printed = subprocess.run(command, capture_output=True, text=True)
        if printed.returncode:
            sys.exit(printed.stderr)
        theirs.append(json.loads(printed.stdout.splitlines()[-1]))
        own.append(ours(arguments.cycles))
    times = [statistics.median(seconds for seconds, _ in side) for side in (theirs, own)]
    ratios = [a[0] / b[0] for a, b in zip(theirs, own, strict=True)]
    errors = [statistics.mean(error for _, error in side) for side in (theirs, own)]
    print(f"ETKF, {SITES} sites, {MEMBERS} members, {arguments.cycles} cycles, one thread, {arguments.repeats} runs")
    print(f"DAPPER     {times[0] * 1e3:8.1f} ms per experiment, analysis RMSE {errors[0]:.3f}")
    print(f"Posterity  {times[1] * 1e3:8.1f} ms per experiment in a batch of {EXPERIMENTS}, RMSE {errors[1]:.3f}")
    print(f"ratio      {statistics.median(ratios):8.1f}  (from {min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
