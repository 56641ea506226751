"""What a parse of the workflow imports and reads: it is paid by every dry run, and by every job of a cluster."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]

#: Runs Snakemake, then prints what was imported, and how many sources were read.
WATCHED = """
import json, sys
from snakemake.cli import main
import posterity.experiment.sources.kept as kept

read, one = [], kept.read
kept.read = lambda text, path: read.append(path) or one(text, path)
status = 0
try:
    main()
except SystemExit as end:
    status = end.code
print(json.dumps([status, sorted(sys.modules), len(read)]))
"""


def test_a_parse_imports_little_and_reads_no_source_twice(copied, tmp_path) -> None:
    environment = {**copied.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def parsed() -> tuple[list[str], int]:
        command = [sys.executable, "-c", WATCHED, *copied.command("--dry-run", "--quiet")[3:]]
        done = subprocess.run(command, cwd=copied.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        status, modules, reads = json.loads(done.stdout.splitlines()[-1])
        assert status == 0, done.stdout + done.stderr
        return modules, reads

    modules, first = parsed()
    ours = {name for name in modules if name.startswith("posterity.")}
    assert {name.split(".")[1] for name in ours} == {"errors", "experiment", "memory"}
    assert {"torch", "xarray", "scipy", "matplotlib", "typer"}.isdisjoint(modules)
    _, second = parsed()
    assert first > 50
    assert second == 0
