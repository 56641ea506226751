"""The workflow from elsewhere: as a module of another one, by its path, from folders with spaces."""

import subprocess
from pathlib import Path

import pytest

from . import forks

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]

MODULE = """
module posterity:
    snakefile: "../check out/workflow/Snakefile"
    config: {"experiments": ["my experiments/small.yaml"], "of_another_workflow": 1}

use rule * from posterity AS

rule mine:
    default_target: True
    input: "results/small/simulations/test/0.nc"
    output: "size.txt"
    shell: "wc -c {input} > {output}"
"""

SMALL = """
title: Small
system: {kind: linear, options: {size: 4}}
observation: {std: 1.0}
prior: {std: 1.0}
window: 2
splits: {test: {cases: 2}}
methods: {prior: {kind: prior}}
"""


@pytest.fixture
def elsewhere(copied, tmp_path):
    """A working directory beside a copy of the project, both with spaces in their names; runs Snakemake there."""
    project = copied.folder.rename(tmp_path / "check out")
    folder = tmp_path / "my study"
    (folder / "my experiments").mkdir(parents=True)
    (folder / "my experiments" / "small.yaml").write_text(SMALL)
    environment = {**copied.environment, "PYTHONPATH": str(project / "src")}

    def run(*flags: str) -> tuple[Path, str]:
        command = [forks.python(), "-m", "snakemake", "--cores", "1", *flags]
        done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return folder, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("names", ["", "as posterity_*"])
def test_it_is_a_module_of_another_workflow(elsewhere, tmp_path, names):
    (tmp_path / "my study" / "Snakefile").write_text(MODULE.replace("AS", names))
    folder, _ = elsewhere()
    assert "results/small/simulations/test/0.nc" in (folder / "size.txt").read_text()


def test_config_and_experiments_are_found_beside_the_snakefile(elsewhere):
    _, printed = elsewhere("-s", "../check out/Snakefile", "--dry-run")
    assert "of demo" in printed
    _, printed = elsewhere(
        "-s", "../check out/Snakefile", "-n", "--config", "experiments=my experiments/small.yaml,tiny"
    )
    assert "of small" in printed
    assert "of tiny" in printed
