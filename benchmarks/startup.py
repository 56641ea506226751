"""What starting costs: the dry run of a workflow, the parse in each of its jobs, the imports of each task.

    python benchmarks/startup.py                       # this checkout
    python benchmarks/startup.py --root ../another     # another one, with the same interpreter

CPU seconds of a process and its children, user and system together, the least of some repeats after a first one that
fills caches: a busy machine adds to what a clock shows, and less to this. Snakemake alone is what it takes for a
workflow of one rule.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ALONE = 'rule all:\n    output: "a"\n    shell: "touch {output}"\n'

#: Of ten methods and 500 shards: 500 simulations, 5000 draws, 5000 scores, and what is made of them.
MANY = """
title: Ten thousand jobs
system: {kind: lorenz96, options: {size: 8}}
observation: {std: 1.0}
prior: {std: 1.0}
window: 4
splits: {test: {cases: 1000, shard: 2}}
methods:
  prior: {kind: prior}
  4dvar: {kind: 4dvar}
  enks: {kind: enks, options: {members: 20}}
  vi: {kind: vi}
  importance: {kind: importance}
  free-run: {kind: free-run}
  hmc: {kind: hmc}
  smc: {kind: smc}
  climatology: {kind: climatology}
  etkf: {kind: etkf, options: {members: 20}}
"""

#: What an executor adds to the command line of a job.
JOB = ["--mode", "subprocess", "--force", "--nolock", "--no-hooks", "--allowed-rules", "evaluate", "--target-jobs"]

TASKS = ("simulate", "assimilate", "train", "sample", "evaluate", "aggregate", "plot", "report")


def main() -> None:
    """Measures all, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout")
    parser.add_argument("--repeats", type=int, default=3, help="runs after the first (default: 3)")
    options = parser.parse_args()
    root = options.root.resolve()
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Snakefile").write_text(ALONE)
        Path(folder, "many.yaml").write_text(MANY)
        snakemake = [sys.executable, "-m", "snakemake", "--quiet", "--cores", "1", "--dry-run"]
        workflow = [*snakemake, "--snakefile", str(root / "Snakefile")]
        many = [*workflow, "--config", "experiments=many.yaml"]
        commands = {
            "Snakemake alone": snakemake,
            "dry run of `demo`": workflow,
            "dry run of 10 515 jobs": many,
            "a job of `demo`": [*workflow, *JOB, "evaluate:experiment=demo,method=prior,shard=0"],
            "a job of 10 515": [*many, *JOB, "evaluate:experiment=many,method=prior,shard=0"],
            "`import posterity`": [sys.executable, "-c", "import posterity"],
            "`posterity --version`": [sys.executable, "-m", "posterity", "--version"],
        } | {f"imports of `{task}`": [sys.executable, "-c", IMPORTS.format(task=task)] for task in TASKS}
        print("| | CPU seconds |\n|---|---:|")
        for name, command in commands.items():
            repeats = 1 if name.startswith("dry run of 10") else options.repeats
            seconds = min([cpu_seconds(command, folder, environment) for _ in range(repeats + 1)][1:])
            print(f"| {name} | {seconds:.2f} |", flush=True)


IMPORTS = "import posterity.cli, posterity.tasks.{task}"


def cpu_seconds(command: list[str], folder: str, environment: dict[str, str]) -> float:
    """The CPU time of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
