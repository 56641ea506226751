"""Measures 4DVAR by matrices and by conjugate gradients, for growing states.

    python benchmarks/conjugate_gradients.py [--system lorenz96] [--cases 1] [--members 0] [--double]

Each pair runs one after the other in the same process, on the same windows: CPU time of the minimisation (`FourDVar`'s
options), the largest resident memory that each adds to the process before it, in a process of its own, sweeps of the
model and how far the costs are apart. With ``--members`` it is ensemble 4DVAR, whose members are the batch.
"""

import argparse
import resource
import time
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch

from posterity.baselines.variational.ensemble_fourdvar import PerturbedControl
from posterity.problems import Control, GridMask, Identity, Observation, Problem, Window
from posterity.problems.linearized.solvers import Cholesky, ConjugateGradients
from posterity.problems.minimize import minimize
from posterity.systems import Kolmogorov, LinearAdvection, Lorenz96, System

SIZES = {"linear": (16, 64, 256, 1024), "lorenz96": (16, 64, 256, 512, 1024), "kolmogorov": (8, 16, 32, 64)}
SOLVERS = {"matrices": Cholesky(), "products": ConjugateGradients()}


class Run(NamedTuple):
    """What a minimisation took and found.

    Args:
        seconds: CPU time.
        memory: The memory that it added at its height, in MiB.
        sweeps: Tangent and adjoint sweeps over the window, per case.
        iterations: Levenberg–Marquardt iterations, on average.
        cost: The costs of the minima, case by case.
    """

    seconds: float
    memory: float
    sweeps: float
    iterations: float
    cost: list[float]


def system(name: str, size: int) -> System:
    """A system of some size."""
    if name == "linear":
        return LinearAdvection(size=size)
    if name == "lorenz96":
        return Lorenz96(size=size, spinup=5.0)
    return Kolmogorov(size=size, spinup=5.0)


def measure(name: str, size: int, solver: str, cases: int, members: int, tolerance: float, double: bool) -> Run:
    """Minimises some windows of ten states, every other site of which is observed, with the background joint."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.double if double else torch.float)
    torch.set_num_threads(1)
    model = system(name, size)
    scale = 0.2 if name == "kolmogorov" else 1.0
    observation = Observation(Identity(model.shape), std=0.5 * scale, masks=(GridMask(2),))
    problem = Problem(model, observation, window=10, background_std=scale)
    window = problem.sample((cases,)).window
    control: Control = Control(problem, window)
    if members:
        window = Window(*(field.expand(members, *field.shape).flatten(0, 1) for field in window))
        window = window._replace(y=window.y + window.std * torch.randn_like(window.y))
        control = PerturbedControl(problem, window, torch.randn(members * cases, control.size))
    # What is loaded once, by the first derivative that is carried forward, is no part of it.
    warm = control.select(slice(0, 1)).linearize(control.zero()[:1])
    warm.tangent(warm.u)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = minimize(control, tolerance=tolerance, restarts=0, solver=SOLVERS[solver])
    seconds = time.process_time() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    sweeps, iterations = float(control.gradients.mean()), float(found.iterations.mean())
    return Run(seconds, memory, sweeps, iterations, found.cost.double().tolist())


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=SIZES, default="lorenz96")
    parser.add_argument("--sizes", type=int, nargs="*")
    parser.add_argument("--cases", type=int, default=1)
    parser.add_argument("--members", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--double", action="store_true", help="in double precision")
    parser.add_argument("--largest", type=int, default=1024, help="the most unknowns to try matrices for")
    args: Any = parser.parse_args()
    print("| unknowns | solver | s | MiB | sweeps | iterations | cost apart |\n|---:|---|---:|---:|---:|---:|---:|")
    for size in args.sizes or SIZES[args.system]:
        unknowns = system(args.system, size).shape
        number = torch.Size(unknowns).numel()
        costs: dict[str, list[float]] = {}
        for solver in SOLVERS:
            if solver == "matrices" and number > args.largest:
                continue
            with get_context("spawn").Pool(1) as pool:
                options = (args.cases, args.members, args.tolerance, args.double)
                run = pool.apply(measure, (args.system, size, solver, *options))
            costs[solver] = run.cost
            apart = max(
                (abs(a - b) / (1 + b) for a, b in zip(costs[solver], costs.get("matrices", ()), strict=False)),
                default=float("nan"),
            )
            print(
                f"| {number} | {solver} | {run.seconds:.2f} | {run.memory:.0f} | {run.sweeps:.0f} | "
                f"{run.iterations:.1f} | {apart:.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
