"""The estimator of the page on extending, in a package of its own: listed, trained, drawn from, and in the table."""

import csv
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from . import forks

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"

EXPERIMENT = {
    "title": "A ring of 8 sites",
    "system": {"kind": "linear", "options": {"size": 8}},
    "observation": {"mask": [{"kind": "grid", "options": {"every": 2}}], "std": 0.5},
    "prior": {"std": 1.0},
    "window": 4,
    "splits": {"train": {"cases": 512}, "valid": {"cases": 64}, "test": {"cases": 8}},
    "samples": 50,
    "methods": {
        "prior": {"kind": "prior"},
        "gaussian": {
            "kind": "gaussian-npe",
            "options": {"network": {"kind": "mlp", "options": {"hidden": [32]}}},
            "training": {"epochs": 20, "batch": 64, "learning_rate": 1e-2},
        },
        "refined": {"refines": "gaussian", "refinement": "importance"},
    },
}


@pytest.fixture
def study(copied, tmp_path: Path):
    """A copy of the project, and beside it the package of the page as an installer would leave it."""
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if "(DensityEstimator)" in block
    ]
    assert len(code.splitlines()) < 60
    site = tmp_path / "site"
    (site / "mylab").mkdir(parents=True)
    (site / "mylab" / "__init__.py").touch()
    (site / "mylab" / "gaussian.py").write_text(code)
    installed = site / "mylab-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text(
        "[posterity.methods]\ngaussian-npe = mylab.gaussian:GaussianPosterior\n"
    )
    copied.environment["PYTHONPATH"] += f":{site}"
    (copied.folder / "config" / "experiments" / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    return copied


def test_an_estimator_of_another_package_lands_in_the_table(study) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(
            [forks.python(), "-m", *command], cwd=study.folder, env=study.environment, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert re.search(
        r"gaussian-npe +A network from the window to the mean and the standard deviations of what is",
        run("posterity", "list", "methods"),
    )
    run("snakemake", "--profile", "profiles/local", "--config", "experiments=mine", "--", "results/mine/table.csv")
    with (study.folder / "results" / "mine" / "table.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["prior", "gaussian", "refined"]
    # It has learned something, and refinement makes up for some of what it has not.
    prior, gaussian, refined = (float(rows[name]["RMSE, start"]) for name in ("prior", "gaussian", "refined"))
    assert refined < gaussian < prior
