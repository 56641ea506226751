"""What a piece of work costs through Slurm: a study of many trivial pieces, one to a job and several.

    tests/slurm/cluster.sh up
    python benchmarks/pieces.py --pieces 40 --batch 1
    python benchmarks/pieces.py --pieces 2000 --batch 50

A third of the pieces simulates one case, a third draws from its posterior, a third scores the draws. CPU seconds are
those of Slurm's accounting (all that runs in jobs), and those of Snakemake that stays outside; a busy machine adds less
to them than to what a clock shows. The profile is that of `profiles/slurm`, without GPUs and with one thread for a job.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
RULES = ("simulate", "assimilate", "evaluate")

STUDY = """
title: Many small pieces
system: {{kind: linear, options: {{size: 4}}}}
observation: {{std: 1.0}}
prior: {{std: 1.0}}
window: 4
samples: 20
splits: {{test: {{cases: {shards}, shard: 1}}}}
methods:
  prior: {{kind: prior}}
"""


def main() -> None:
    """Runs the study, and prints what it has cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=int, default=40, help="how many pieces (default: 40)")
    parser.add_argument("--batch", type=int, default=1, help="how many of them share a job (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="jobs at a time (default: 2)")
    options = parser.parse_args()
    shards = max(1, options.pieces // len(RULES))
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())
    profile["jobs"], profile["slurm-init-seconds-before-status-checks"] = options.jobs, 2
    profile["set-threads"] = dict.fromkeys(RULES, 1)
    profile["set-resources"] = {rule: {"batch": options.batch} for rule in RULES}
    with tempfile.TemporaryDirectory(prefix="pieces.", dir=Path.home()) as folder:
        Path(folder, "profile").mkdir()
        Path(folder, "profile", "profile.yaml").write_text(yaml.safe_dump(profile))
        Path(folder, "study.yaml").write_text(STUDY.format(shards=shards))
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--profile", "profile"]
        command += ["results/study/metrics.nc", "--config", "experiments=study.yaml"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        # What is kept between runs, of sources, is kept now.
        subprocess.run([*command, "--dry-run", "--quiet"], cwd=folder, env=environment, check=True, capture_output=True)
        before, start = cpu_seconds(), time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        wall, outside = time.perf_counter() - start, cpu_seconds() - before
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
    run = re.search(r"SLURM run ID: (\S+)", done.stdout + done.stderr)[1]
    jobs = accounted(run)
    inside, count = sum(jobs), shards * len(RULES) + 1
    print("| pieces | batch | jobs of Slurm | wall | CPU in jobs, s a piece | CPU of Snakemake, s a piece |")
    print("|---:|---:|---:|---:|---:|---:|")
    cost = f"{inside / count:.2f} | {outside / count:.3f}"
    print(f"| {count} | {options.batch} | {len(jobs)} | {wall / 60:.1f} min | {cost} |")


def accounted(run: str) -> list[float]:
    """The CPU seconds of each job of a run, once Slurm has them all."""
    command = ["sacct", "--noheader", "--parsable2", "--format", "JobID,State,TotalCPU", "--name", run]
    while True:
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        # The steps of a job have lines of their own.
        jobs = [(state, total) for job, state, total in (line.split("|") for line in lines) if "." not in job]
        if all(state == "COMPLETED" for state, _ in jobs):
            return [seconds(total) for _, total in jobs]
        time.sleep(1)


def seconds(text: str) -> float:
    """A duration of Slurm, such as 01:02:03 or 02:03.456, in seconds."""
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total


def cpu_seconds() -> float:
    """The CPU time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
