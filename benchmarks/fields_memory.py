"""Peak memory and time of each method on one window of the Kolmogorov flow, 64 × 64 × 2 velocities and ten states.

    python benchmarks/fields_memory.py [--methods 4dvar hmc] [--cases 1] [--size 64]

The problem is that of `config/experiments/kolmogorov_variational.yaml`; those called weak have model errors with the
spectrum of the climatology. Each method runs in a process of its own, one after the other, on one thread. Budgets are
cut, to what the table says: in iterations, steps, moves and temperatures, on which memory does not depend, and in draws
and directions, of which each takes what it takes alone. Observations are ten times as uncertain as the study's, so that
a minimisation takes a few products.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: The most resident memory that a method may take, in GB.
LIMIT = 8.0

SAMPLES = 40
#: Observations are ten times as uncertain as the study's, so that a minimisation takes a few products.
NOISE = 1.0
MINIMUM = {"increment": 10, "restarts": 0}
DIRECTIONS = {"eigenpairs": 16}
LAPLACE = {"kind": "laplace", "options": {**MINIMUM, **DIRECTIONS}}
STEP = {"optimizer": {"kind": "natural-gradient", "options": {"iterations": 1, "samples": 16, **DIRECTIONS}}}
CHAINS = {"proposal": LAPLACE, "ess": 0.5, "moves": 1, "leapfrog": 1}
#: Of each method its kind, options other than the study's, and what is cut.
METHODS: dict[str, tuple[str, dict[str, Any], str]] = {
    "prior": ("prior", {}, ""),
    "3dvar": ("3dvar", {"members": SAMPLES}, ""),
    "enkf": ("enkf", {"members": SAMPLES}, ""),
    "etkf": ("etkf", {"members": SAMPLES}, ""),
    "enks": ("enks", {"members": SAMPLES}, ""),
    "letkf": ("letkf", {"members": SAMPLES, "radius": 4.0}, ""),
    "lenks": ("lenks", {"members": SAMPLES, "radius": 4.0}, ""),
    "ienks": ("ienks", {"members": SAMPLES}, ""),
    "ienks, weak": ("ienks", {"members": SAMPLES}, ""),
    "lagged": ("lagged-4dvar", {"members": SAMPLES, "draws": 100, "iterations": 2}, "100 directions, 2 iterations"),
    "4dvar": ("4dvar", {**MINIMUM, **DIRECTIONS}, "16 directions"),
    "4dvar, weak": ("4dvar", {**MINIMUM, **DIRECTIONS, "iterations": 5}, "16 directions, 5 iterations"),
    "ensemble-4dvar": ("ensemble-4dvar", {**MINIMUM, "iterations": 1}, "1 iteration"),
    "vi, mean field": ("vi", {"family": "mean-field", **STEP}, "16 directions, 1 step of 16 draws"),
    "vi, rank 64": (
        "vi",
        {"family": {"kind": "low-rank", "options": {"rank": 64}}, **STEP},
        "16 directions, 1 step of 16 draws",
    ),
    "importance": ("importance", {"draws": 1024, "proposal": LAPLACE}, "16 directions, 1024 draws"),
    "smc": ("smc", {"particles": 64, "final": 0, **CHAINS}, "16 directions, 1 move of 1 step"),
    "hmc": (
        "hmc",
        {"particles": 8, "chains": 8, "warmup": 2, "iterations": 10, **CHAINS},
        "16 directions, 12 iterations of 1 step",
    ),
}


def main() -> None:
    """Runs the methods and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--cases", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    print("| method | cut to | s | sweeps | model steps | peak GB |\n|---|---|---:|---:|---:|---:|")
    exceeded = False
    for name in args.methods:
        exceeded |= row(name, args.cases, args.size) > LIMIT
    print(f"the limit of {LIMIT} GB is {'EXCEEDED, or a method failed' if exceeded else 'kept'}")
    sys.exit(exceeded)


def row(name: str, cases: int, size: int) -> float:
    """Runs a method in a process of its own, prints what it took, and returns its peak memory in GB, or infinity."""
    command = f"from fields_memory import measure; measure({name!r}, {cases}, {size})"
    process = subprocess.Popen([sys.executable, "-c", command], cwd=Path(__file__).parent, stdout=subprocess.PIPE)
    assert process.stdout is not None
    found = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    peak = usage.ru_maxrss * 1024 / 1e9
    if os.waitstatus_to_exitcode(status):
        print(f"| {name} | failed |||| {peak:.2f} |", flush=True)
        return float("inf")
    took = json.loads(found)
    print(
        f"| {name} | {METHODS[name][2]} | {took['seconds']:.0f} | {took['gradients']:.0f} | "
        f"{took['model_steps']:.0f} | {peak:.2f} |",
        flush=True,
    )
    return peak


def measure(name: str, cases: int, size: int) -> None:
    """Draws by a method from windows of the study's problem, and prints what it took as JSON."""
    from dataclasses import replace

    import torch

    from posterity.experiment import load
    from posterity.experiment.sections import MethodConfig
    from posterity.inference.components import build
    from posterity.inference.experiments import build_problem
    from posterity.problems import Observation, StateLibrary
    from posterity.problems.covariances import SolenoidalClimatology
    from posterity.systems import Kolmogorov
    from posterity.tensors import Constant

    torch.set_num_threads(1)
    torch.manual_seed(0)
    experiment = load(Path(__file__).parents[1] / "config/experiments/kolmogorov_variational.yaml/coarsened")
    problem = build_problem(experiment)
    assert isinstance(problem.system, Kolmogorov)
    system = replace(problem.system, size=size, spinup=10.0)
    library = StateLibrary(Constant(system.initial((64,))))
    weak = SolenoidalClimatology(draws=64, scale=1e-3) if "weak" in name else None
    observation = Observation(problem.observation.operator, std=NOISE)
    problem = replace(problem, system=system, observation=observation, library=library, error_correlation=weak)
    window = problem.sample((cases,)).window
    kind, options, _ = METHODS[name]
    method = build("method", MethodConfig(kind=kind, options=options), problem)
    start = time.process_time()
    draws = method.sample(window, SAMPLES)
    assert draws.x.isfinite().all()
    took = {key: float(draws.info[key].mean()) for key in ("model_steps", "gradients")}
    print(json.dumps({"seconds": time.process_time() - start, **took}))


if __name__ == "__main__":
    main()
