"""A few faults of every seed are survived, and the program that brings them about notices what is not.

The long version is `make chaos`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
#: Files that are written at once under their own names: what atomic writes are held against.
LEAKY = """
import contextlib, runpy, sys
from posterity.data import files

@contextlib.contextmanager
def leaky(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    for _ in range(8):  # moments at which the process may be killed
        list(path.parent.iterdir())
    yield path

files.atomic = leaky
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def chaos(*flags: str, code: tuple[str, ...] = ()) -> tuple[int, str]:
    """Runs the program; returns its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, *code, str(HERE), *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_few_faults_are_survived():
    code, printed = chaos("--level", "task", "--faults", "10", "--seed", "1", "--tasks", "simulate,train,sample")
    assert code == 0, printed
    assert "10 of 10 faults survived (seed 1)" in printed


def test_a_few_faults_of_runs_of_the_workflow_are_survived():
    """The machine fails amid a run, results are cut off after one, and files are older than their inputs."""
    kinds = "Snakemake and its jobs,truncated,files older"
    code, printed = chaos("--level", "workflow", "--faults", "3", "--seed", "1", "--kinds", kinds)
    assert code == 0, printed
    assert "3 of 3 faults survived (seed 1)" in printed


def test_half_written_files_are_noticed():
    """Were files not written atomically, a kill would leave half of one, and the program would say so."""
    flags = ("--level", "task", "--faults", "3", "--kinds", "kill -9 at a file", "--tasks", "simulate", "--seed", "3")
    code, printed = chaos(*flags, code=("-c", LEAKY))
    assert code == 1, printed
    assert re.search(r"NOT SURVIVED.*\n +half-written: results/small/simulations/\w+/0\.nc: ", printed)
