"""Time and peak memory of one draw of a trajectory of the Kolmogorov flow, 64 × 64 × 2 velocities, against its length.

    python benchmarks/trajectories.py [--frames 8 16 32 64] [--size 64] [--steps 32] [--figure FILE]

A small U-Net denoises windows of five states; it is not trained, on which time and memory do not depend. Averages of 8
× 8 cells of every fourth state are observed, and guide the whole (`sda`, a fold around each state, as published) or
windows (moment matching with two iterations, blankets of five states that overlap by two). Each draw has a process of
its own, on one thread, and its seconds are those of the processor. With 64 states a trajectory has 524 288 unknowns.
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

#: The most resident memory that a draw may take, in GB.
LIMIT = 16.0

#: How draws are made: options of the estimator.
WAYS: dict[str, dict[str, Any]] = {
    "fold, sda": {
        "composition": {"kind": "fold", "options": {"order": 2}},
        "guidance": {"kind": "sda", "options": {}},
    },
    "blankets, moment matching": {
        "composition": {"kind": "blankets", "options": {"length": 5, "overlap": 2}},
        "guidance": {"kind": "moment-matching", "options": {"iterations": 2}},
        "per_window": True,
    },
}


def main() -> None:
    """Draws trajectories of all lengths in both ways, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", nargs="*", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--figure", type=Path, help="Draws the table into a file.")
    args = parser.parse_args()
    print("| draws | states | unknowns | windows | s | s per state | peak GB | GB above importing |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    rows = {way: [row(way, frames, args.size, args.steps) for frames in args.frames] for way in WAYS}
    if args.figure:
        draw(args.figure, args.frames, rows)
    exceeded = any(found["peak"] > LIMIT for found in chain(*rows.values()))
    print(f"the limit of {LIMIT} GB is {'EXCEEDED' if exceeded else 'kept'}")
    sys.exit(exceeded)


def row(way: str, frames: int, size: int, steps: int) -> dict[str, float]:
    """Makes a draw in a process of its own, prints what it took, and returns it."""
    command = f"from trajectories import measure; measure({way!r}, {frames}, {size}, {steps})"
    process = subprocess.Popen([sys.executable, "-c", command], cwd=Path(__file__).parent, stdout=subprocess.PIPE)
    assert process.stdout is not None
    written = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"the draw of {frames} states ({way}) failed; its message stands above")
    found = {**json.loads(written), "peak": usage.ru_maxrss * 1024 / 1e9}
    print(
        f"| {way} | {frames} | {2 * size**2 * frames} | {found['windows']} | {found['seconds']:.1f} | "
        f"{found['seconds'] / frames:.2f} | {found['peak']:.2f} | {found['peak'] - found['before']:.2f} |",
        flush=True,
    )
    return found


def measure(way: str, frames: int, size: int, steps: int) -> None:
    """Makes one draw of an untrained estimator, and prints what it took as JSON."""
    import resource
    import time

    import torch

    from posterity.experiment.sections import MethodConfig
    from posterity.inference.components import build
    from posterity.problems import Coarsen, Observation, Problem, TimeMask
    from posterity.systems import Kolmogorov

    torch.set_num_threads(1)
    torch.manual_seed(0)
    system = Kolmogorov(size=size, spinup=5.0)
    observation = Observation(Coarsen(system.shape, 8), std=0.1, masks=(TimeMask(4),))
    problem = Problem(system, observation, window=frames, joint="climatology", background_std=None)
    options = {
        "order": 2,
        "network": {"kind": "unet", "options": {"widths": [32, 64], "blocks": 1}},
        "sampler": {"kind": "predictor-corrector", "options": {"steps": steps, "corrections": 1, "tau": 0.5}},
        **WAYS[way],
    }
    estimator = build("method", MethodConfig(kind="sda", options=options), problem)
    twin = problem.sample((1,))
    estimator.standardize(twin)
    estimator.mark_trained()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    start = time.process_time()
    draws = estimator.sample(twin.window, 1)
    seconds = time.process_time() - start
    assert draws.x.shape == (1, 1, frames, *system.shape)
    assert draws.x.isfinite().all()
    windows = sum(len(part.start) for part in estimator.composition.windows(frames))
    print(json.dumps({"seconds": seconds, "before": before, "windows": windows}))


def draw(file: Path, frames: list[int], rows: dict[str, list[dict[str, float]]]) -> None:
    """Draws seconds and memory over the number of states."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(ncols=2, figsize=(7, 2.8), layout="constrained")
    for way, found in rows.items():
        axes[0].plot(frames, [part["seconds"] for part in found], "o-", label=way)
        axes[1].plot(frames, [part["peak"] for part in found], "o-", label=way)
    for axis, label in zip(axes, ("seconds of a processor", "peak memory (GB)"), strict=True):
        axis.set(xlabel="states", ylabel=label, xlim=(0, None), ylim=(0, None))
    axes[1].legend(frameon=False, loc="upper left")
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
