"""What the catalogue of workflows asks for, where there is Snakemake alone, and use from other repositories.

The steps are those of https://github.com/snakemake/snakemake-workflow-catalog.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path

import jsonschema
import pytest
import xarray as xr
import yaml
from packaging.requirements import Requirement

from posterity import __version__
from posterity.experiment.studies import KEYS

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
RULES = {"simulate", "train", "sample", "assimilate", "reference", "evaluate", "aggregate", "plot"}

#: Where a release would be, for programs that know its address only.
ADDRESS = "https://github.com/someone/posterity"
#: What its package calls itself, to be told from the one that is tested.
VERSION = "9.8.7"


def needed(name: str, found: set[str]) -> set[str]:
    """A distribution, and all that it needs."""
    if name not in found:
        found.add(name)
        for text in distribution(name).requires or ():
            required = Requirement(text)
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                needed(required.name, found)
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The interpreter of an environment that holds Snakemake and what it needs, of the versions that are installed."""
    folder = tmp_path_factory.mktemp("snakemake") / "alone"
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for name in needed("snakemake", set()):
        for top in {file.parts[0] for file in distribution(name).files or ()} - {".."}:
            if not (link := packages / top).exists():
                link.symlink_to(distribution(name).locate_file(top))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A repository of the project, with a tag."""
    folder = tmp_path_factory.mktemp("repository") / "posterity"
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", ".snakemake", "results")
    for name in (
        ".snakemake-workflow-catalog.yml", ".test", "LICENSE", "README.md", "Snakefile", "config", "envs", "profiles",
        "src", "workflow",
    ):  # fmt: skip
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    package = folder / "src" / "posterity" / "__init__.py"
    package.write_text(package.read_text().replace(f'"{__version__}"', f'"{VERSION}"'))
    author = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "All"], ["tag", "v0.1.0"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def run(repository, tmp_path):
    """Runs a command in a folder, without this package on its path; addresses lead to the repository."""
    redirected = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
    }
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, **redirected, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def done(*command: str | Path, folder: Path, status: int = 0, **more: str) -> str:
        finished = subprocess.run(command, cwd=folder, env=environment | more, text=True, capture_output=True)
        printed = finished.stdout + finished.stderr
        assert finished.returncode == status, printed
        return printed

    return done


def test_snakemake_alone_holds_nothing_of_ours(alone, run, tmp_path) -> None:
    listed = "import pkgutil, sys; sys.path.pop(0); print(*(module.name for module in pkgutil.iter_modules()))"
    found = run(alone, "-c", listed, folder=tmp_path)
    assert "snakemake" in found.split()
    assert {"posterity", "torch", "numpy", "xarray", "scipy", "typer"}.isdisjoint(found.split())


def test_it_is_linted_without_a_word(alone, run, repository) -> None:
    assert run(alone, "-m", "snakemake", "--lint", folder=repository).splitlines()[-1].startswith("Congratulations")


def test_its_rules_are_drawn(alone, run, repository) -> None:
    drawn = run(
        alone, "-m", "snakemake", "--forceall", "-s", "workflow/Snakefile", "-d", ".test", "-c", "1", "--rulegraph",
        folder=repository,
    )  # fmt: skip
    assert set(re.findall(r'label = "(\w+)"', drawn)) == RULES | {"all"}


def test_its_usage_is_described(repository) -> None:
    settings = yaml.safe_load((repository / ".snakemake-workflow-catalog.yml").read_text())
    assert set(settings["usage"]) <= {"mandatory-flags", "software-stack-deployment"}
    assert set(settings["usage"]["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda", "report"}
    assert (repository / "config" / "README.md").is_file()
    assert {"snakemake", "workflow"} <= set(re.findall(r"\w+", (repository / "README.md").read_text().lower()))


def test_its_schema_is_that_of_its_configuration(repository) -> None:
    schema = yaml.safe_load((repository / "workflow" / "schemas" / "config.schema.yaml").read_text())
    assert set(schema["properties"]) == set(KEYS)
    for folder in (".", ".test"):
        jsonschema.validate(yaml.safe_load((repository / folder / "config" / "config.yaml").read_text()), schema)
    for wrong in ({}, {"experiments": []}, {"experiments": ""}, {"experiments": ["demo"], "container": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_what_it_lacks_is_said_before_any_job(alone, run, repository) -> None:
    command = [alone, "-m", "snakemake", "-s", "workflow/Snakefile", "-d", ".test", "-c", "1"]
    assert "has no torch: install the project" in run(*command, folder=repository, status=1)


def test_it_is_deployed_by_address_and_tag(alone, run, repository, tmp_path) -> None:
    """By snakedeploy, which copies configuration and profiles, and writes a workflow with this one as a module."""
    deploy = [sys.executable, "-m", "snakedeploy.client", "deploy-workflow", ADDRESS, "mine", "--tag", "v0.1.0"]
    run(*deploy, folder=tmp_path)
    mine = tmp_path / "mine"
    assert (
        'github("someone/posterity", path="workflow/Snakefile", tag="v0.1.0")'
        in (mine / "workflow" / "Snakefile").read_text()
    )
    assert (mine / "profiles" / "slurm" / "profile.yaml").is_file()
    shutil.rmtree(mine / "config" / "experiments")
    shutil.copytree(repository / ".test" / "config" / "experiments", mine / "config" / "experiments")
    (mine / "config" / "config.yaml").write_text("experiments: [miniature]\n")
    planned = run(alone, "-m", "snakemake", "-c", "1", "-n", folder=mine)
    assert set(re.findall(r"^(\w+) +\d+$", planned, flags=re.MULTILINE)) >= RULES
    # The package is that of the tag, although none is installed.
    (copied,) = (tmp_path / "cache").rglob("src/posterity/__init__.py")
    assert VERSION in copied.read_text()


OTHER = """
module posterity:
    snakefile: "git+file://REPOSITORY/workflow/Snakefile@v0.1.0"
    config: config["assimilation"]

use rule * from posterity as posterity_*

rule size:
    default_target: True
    input: "results/miniature/simulations/test/0.nc"
    output: "size.txt"
    shell: "wc -c {input} > {output}"
"""


def test_a_second_repository_takes_it_as_a_module(run, repository, tmp_path) -> None:
    """With a configuration of its own, a commit of this one, and a rule that uses its results."""
    other = tmp_path / "other"
    (other / "workflow").mkdir(parents=True)
    (other / "workflow" / "Snakefile").write_text(OTHER.replace("REPOSITORY", str(repository)))
    shutil.copytree(repository / ".test" / "config" / "experiments", other / "config" / "experiments")
    assimilation = json.dumps({"experiments": ["miniature"], "of_another": 1})
    command = [sys.executable, "-m", "snakemake", "-c", "1", "--config", f"assimilation={assimilation}"]
    run(*command, folder=other)
    assert "results/miniature/simulations/test/0.nc" in (other / "size.txt").read_text()
    # Its jobs run with the package of that commit, whatever is installed.
    with xr.open_dataset(other / "results" / "miniature" / "simulations" / "test" / "0.nc", decode_times=False) as twin:
        assert twin.attrs["version"] == VERSION
