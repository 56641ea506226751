"""Benchmarks run, at their smallest and without peers, and the page shows what they write."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = {
    "estimators": ("--eager", "--cases", "512", "--epochs", "1", "--draws", "10", "--repeats", "1"),
    "filters": ("--cycles", "5", "--repeats", "1"),
    "kolmogorov": ("--sizes", "48", "--repeats", "1"),
    "methods": ("--cases", "1", "--methods", "4dvar,etkf", "--repeats", "1"),
    "rollouts": ("--repeats", "1"),
    "samplers": ("--cases", "1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_and_the_page_shows_it(name, tmp_path):
    found = tmp_path / f"{name}.json"
    for command in ([f"{name}.py", *BENCHMARKS[name], "--json", found], ["page.py", tmp_path]):
        script = [sys.executable, ROOT / "benchmarks" / command[0], *command[1:]]
        run = subprocess.run(script, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    page = (tmp_path / "page.md").read_text()
    assert f"## `benchmarks/{name}.py`" in page
    assert page.count("\n|") > 3


def test_all_of_them_are_one_command():
    recipe = (ROOT / "Makefile").read_text().split("\nbenchmarks:")[1].split("\n\n")[0]
    assert [name for name in (*BENCHMARKS, "vi4dvar") if f"/{name}.py" not in recipe] == []
