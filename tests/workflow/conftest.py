"""A copy of the project in which the real Snakefile runs, and whose source can be edited."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from . import forks

ROOT = Path(__file__).resolve().parents[2]


class Study:
    """A working copy, and runs of Snakemake in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results" / "tiny"
        # The copy's package comes before the installed one, for the workflow and for its jobs.
        self.environment = {**os.environ, "PYTHONPATH": str(folder / "src")}

    @classmethod
    def new(cls, folder: Path, root: Path) -> "Study":
        """Copies a project, with the tiny experiment, and with what numba has compiled of it."""
        for name in ("Snakefile", "workflow", "config", "profiles", "envs", "src"):
            source = root / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.pyc*", "*.tmp*"))
            else:
                shutil.copy(source, folder / name)
        shutil.copy(Path(__file__).parent / "tiny.yaml", folder / "config" / "experiments" / "tiny.yaml")
        return cls(folder)

    def command(self, *flags: str, named: str = "tiny", python: str = sys.executable) -> list[str]:
        """The command line of Snakemake, for some experiments."""
        snakemake = [python, "-m", "snakemake", "--profile", "profiles/local"]
        return [*snakemake, "--config", f"experiments={named}", *flags]

    def start(self, *flags: str) -> subprocess.Popen:
        """Starts a run to be killed: it has a process group of its own, with its jobs."""
        return subprocess.Popen(
            self.command(*flags), cwd=self.folder, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def end(self, *flags: str, named: str = "tiny") -> tuple[int, str]:
        """Runs to the end, which may be a bad one; returns its status and what was printed."""
        done = subprocess.run(
            self.command(*flags, named=named, python=forks.python()), cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900,
        )  # fmt: skip
        return done.returncode, done.stdout

    def run(self, *flags: str, named: str = "tiny") -> str:
        """Runs to the end, which must be a good one; returns what was printed."""
        status, printed = self.end(*flags, named=named)
        assert status == 0, printed
        return printed

    def planned(self, named: str = "tiny") -> Mapping[str, int]:
        """The jobs that a run would do, by rule."""
        table = re.findall(r"^(\w+)\s+(\d+)$", self.run("--dry-run", named=named), flags=re.MULTILINE)
        return {rule: int(count) for rule, count in table if rule not in ("total", "all", "default")}

    def edit(self, path: str, old: str = "", new: str = "") -> None:
        """Replaces a chunk of a file, which must be there; without one, adds a line of code to a module."""
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new) if old else text + "\n\nUNUSED = 0\n")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study that has run to its end undisturbed; not to be edited. Processes that share the tests share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    folder.mkdir(exist_ok=True)
    with (folder / ".made").open("a+") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        # Not `tell`: that is where the file ended when it was opened, before another process wrote behind the lock.
        if not os.fstat(made.fileno()).st_size:
            Study.new(folder, ROOT).run()
            made.write("made")
    return Study(folder)


@pytest.fixture
def study(finished: Study, tmp_path: Path) -> Study:
    """A copy of a finished study, to edit."""
    folder = tmp_path / "study"
    shutil.copytree(finished.folder, folder)
    return Study(folder)


@pytest.fixture
def fresh(finished: Study, tmp_path: Path) -> Study:
    """The same study, not run yet."""
    return Study.new(tmp_path, finished.folder)


@pytest.fixture
def copied(tmp_path: Path) -> Study:
    """A copy of the project in which nothing has run."""
    folder = tmp_path / "study"
    folder.mkdir()
    return Study.new(folder, ROOT)


@pytest.fixture
def sizes(tmp_path: Path) -> Study:
    """A study of two sizes, not run yet."""
    study = Study.new(tmp_path, ROOT)
    shutil.copy(Path(__file__).parent / "sizes.yaml", tmp_path / "config" / "experiments" / "sizes.yaml")
    return study


@pytest.fixture(scope="session")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of fields in the plane that has run to its end, its page with it; to be edited by one test only."""
    study = Study.new(tmp_path_factory.mktemp("fields"), ROOT)
    shutil.copy(Path(__file__).parent / "fields.yaml", study.folder / "config" / "experiments" / "fields.yaml")
    study.run("--", "all", "reports", named="fields")
    return study
