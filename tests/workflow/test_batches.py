"""Pieces that share jobs of a cluster: how many jobs there are, and what becomes of others when a piece fails."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from . import forks

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]

#: Seven pieces, of which one fails until it is mended, and where each of them began and ended.
SNAKEFILE = """
rule all:
    default_target: True
    input:
        expand("{n}.txt", n=range(7)),
    localrule: True


rule draw:
    output:
        "{n}.txt",
    params:
        fail=lambda wildcards: int(wildcards.n == "3" and not os.path.exists("mended")),
    shell:
        "echo + {wildcards.n} {resources.mem_mb} >> said; sleep 0.1; echo - >> said;"
        " test {params.fail} = 0 && touch {output}"


onstart:
    from posterity.batches import share_jobs
    share_jobs(workflow)
"""

#: Stands for the command of a scheduler; jobs run one after the other.
SUBMIT = """#!/bin/sh
echo "$1" >> submitted
setsid flock queue sh "$1" > /dev/null 2>&1 < /dev/null &
"""


def test_pieces_share_jobs_and_fail_alone(tmp_path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "submit").write_text(SUBMIT)
    (tmp_path / "submit").chmod(0o755)
    # Made before, and to be made again: what is left of an old one never passes for new.
    (tmp_path / "3.txt").touch()
    command = [forks.python(), "-m", "snakemake", "--executor", "cluster-generic", "--jobs", "2", "--keep-going"]
    command += ["--cluster-generic-submit-cmd", "./submit", "--seconds-between-status-checks", "1", "--retries", "1"]
    command += ["--default-resources", "mem_mb=100 * attempt", "--set-resources", "draw:batch=4"]

    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

    def run(*flags: str) -> tuple[int, list[str]]:
        for name in ("submitted", "said"):
            (tmp_path / name).write_text("")
        done = subprocess.run([*command, *flags], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, (tmp_path / "said").read_text().split("\n")[:-1]

    status, said = run("--forceall")
    assert status != 0
    # Two jobs for seven pieces, and one for the piece that is tried again, with more memory.
    assert len((tmp_path / "submitted").read_text().split()) == 3
    tried = Counter(line for line in said if line.startswith("+"))
    assert tried == Counter([f"+ {n} 100" for n in range(7)] + ["+ 3 200"])
    # One after the other.
    assert [line[0] for line in said] == ["+", "-"] * 8
    assert {file.name for file in tmp_path.glob("*.txt")} == {f"{n}.txt" for n in range(7)} - {"3.txt"}

    (tmp_path / "mended").touch()
    status, said = run()
    assert (status, said) == (0, ["+ 3 100", "-"])
