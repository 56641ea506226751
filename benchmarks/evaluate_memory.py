"""Peak memory and time of the task ``evaluate`` on a posterior larger than memory may be.

    python benchmarks/evaluate_memory.py --scale 1.0

Writes a twin and a posterior of 1000 samples × 512 cases × 16 times × 256 sites in single precision (8.4 GB; the
scale multiplies the cases) into a temporary folder, lazily, then scores it. Each stage is a process of its own,
whose peak resident memory the kernel reports.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLES, CASES, TIMES, SITES = 1000, 512, 16, 256

#: The most resident memory that scoring may take, in GB.
LIMIT = 1.5


def main() -> None:
    """Runs both stages and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.05, help="fraction of the 512 cases (default: 0.05)")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: the system's temporary folder)")
    cases = max(1, round(CASES * parser.parse_args().scale))
    size = 4e-9 * SAMPLES * cases * TIMES * SITES
    print(f"{SAMPLES} samples x {cases} cases x {TIMES} times x {SITES} sites: {size:.2f} GB in single precision")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as folder:
        stage("write", folder, cases)
        peak = stage("evaluate", folder, cases)
    print(f"the limit of {LIMIT} GB is {'kept' if peak < LIMIT else 'EXCEEDED'}")
    sys.exit(peak >= LIMIT)


def stage(name: str, folder: str, cases: int) -> float:
    """Runs one stage in a process of its own, and returns its peak resident memory in GB."""
    command = f"from evaluate_memory import {name}; {name}({folder!r}, {cases})"
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", command], cwd=Path(__file__).parent)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name} failed with status {process.returncode}")
    peak = usage.ru_maxrss * 1024 / 1e9
    print(f"{name:9} peak {peak:.2f} GB resident, {time.perf_counter() - start:.0f} s", flush=True)
    return peak


def write(folder: str, cases: int) -> None:
    """Writes a twin and a calibrated posterior, drawn chunk by chunk."""
    import dask.array as da
    import numpy as np
    import xarray as xr

    from posterity import data

    rng = da.random.default_rng(0)
    dims = ("case", "time", "channel", "x")
    coordinates = {"case": np.arange(cases), "time": 0.05 * np.arange(TIMES)}
    shape = (cases, TIMES, 1, SITES)
    truth = rng.standard_normal(shape, dtype=np.float32, chunks=(32, -1, -1, -1))
    noisy = truth + rng.standard_normal(shape, dtype=np.float32, chunks=(32, -1, -1, -1))
    seen = ("case", "time", "obs_channel", "obs_x")
    twin = {
        "state": (dims, truth),
        "observation": (seen, noisy),
        "observation_std": (seen, da.ones_like(noisy)),
    }
    data.write(xr.Dataset(twin, coordinates), Path(folder) / "twin.nc", "twin")
    draws = rng.standard_normal(
        (cases, SAMPLES, TIMES, 1, SITES), dtype=np.float32, chunks=(1, SAMPLES, TIMES, 1, SITES)
    )
    posterior = {
        "state": (("case", "sample", *dims[1:]), draws),
        "log_likelihood": (("case", "sample"), da.zeros((cases, SAMPLES), dtype=np.float32)),
        "info_seconds": ("case", np.ones(cases)),
    }
    data.write(xr.Dataset(posterior, coordinates, {"method": "noise"}), Path(folder) / "posterior.nc", "posterior")


def evaluate(folder: str, _: int) -> None:
    """Scores the posterior."""
    from posterity.experiment import Experiment
    from posterity.tasks.evaluate import evaluate as task

    experiment = Experiment.model_validate(
        {
            "title": "Draws about noise",
            "system": {"kind": "linear", "options": {"size": SITES}},
            "observation": {"std": 1.0},
            "prior": {"std": 1.0},
            "window": TIMES,
            "splits": {"test": {"cases": CASES}},
            "methods": {"noise": {"kind": "prior"}},
        }
    )
    task(experiment, Path(folder) / "twin.nc", Path(folder) / "posterior.nc", Path(folder) / "metrics.nc")


if __name__ == "__main__":
    main()
