"""The catalogue: every name stands for something, other packages add to it, and nothing heavy is imported early."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from posterity import cli, data
from posterity.baselines.variational.families import MeanField
from posterity.errors import ConfigError
from posterity.experiment import catalog
from posterity.problems import Posterior

EVERYTHING = [(group, kind) for group, kinds in catalog.CATALOG.items() for kind in kinds]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "kind"), EVERYTHING, ids=lambda value: value)
def test_every_name_stands_for_something(group, kind) -> None:
    found = catalog.resolve(group, kind)
    assert callable(found)
    assert f"{found.__module__}:{found.__name__}" == catalog.CATALOG[group][kind]


def test_methods_are_posteriors_and_names_are_sorted() -> None:
    assert all(issubclass(catalog.resolve("method", kind), Posterior) for kind in catalog.CATALOG["method"])
    assert list(catalog.names("figure")) == sorted(catalog.CATALOG["figure"])


def test_a_class_stands_for_itself() -> None:
    assert catalog.target("family", "some.module:Thing") == "some.module:Thing"
    assert catalog.resolve("family", "posterity.baselines.variational.families:MeanField") is MeanField


@pytest.mark.parametrize(
    ("group", "kind", "message"),
    [
        ("method", "4dva", "unknown method '4dva'; did you mean '4dvar'?"),
        ("optimizer", "zzz", "unknown optimizer 'zzz'; known: adam, natural-gradient"),
        ("figure", "covrage", "unknown figure 'covrage'; did you mean 'coverage'?"),
    ],
)
def test_an_unknown_name_is_refused(group, kind, message) -> None:
    with pytest.raises(ConfigError) as raised:
        catalog.target(group, kind)
    assert str(raised.value) == message


@pytest.mark.slow
def test_names_and_checks_import_no_torch() -> None:
    """Every job of the workflow does all this again, on machines that may have no torch."""
    code = (
        "import sys\n"
        "from posterity import cli\n"
        "from posterity.experiment import catalog, load\n"
        "from posterity.experiment.dependencies import dependencies\n"
        "experiment = load('vi4dvar')\n"
        "for name in experiment.methods:\n"
        "    dependencies('sample', experiment, name)\n"
        "catalog.names('system')\n"
        "heavy = {'torch', 'xarray', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PACKAGE = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from posterity.baselines import Prior
from posterity.systems import System


@dataclass(frozen=True, kw_only=True)
class Standstill(System):
    """x_{t+1} = gain x_t."""

    channels: ClassVar[tuple[str, ...]] = ("x",)
    gain: float
    size: int = 3
    dt: float = 1.0

    @property
    def shape(self):
        return (1, self.size)

    def initial(self, batch):
        return torch.randn(*batch, *self.shape)

    def step(self, x):
        return self.gain * x


class FirstGuess(Prior):
    """The prior under another name, with options of its own."""

    def __init__(self, problem, shift: float = 0.0):
        super().__init__(problem)
        object.__setattr__(self, "shift", shift)

    def sample(self, window, samples):
        found = super().sample(window, samples)
        return found._replace(x=found.x + self.shift)
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch, capsys):
    """A package that adds a system and a method, installed where only this test sees it."""
    site = tmp_path / "site"
    (site / "standstill").mkdir(parents=True)
    (site / "standstill" / "__init__.py").write_text("")
    (site / "standstill" / "parts.py").write_text(PACKAGE)
    info = site / "standstill-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: standstill\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[posterity.systems]\nstandstill = standstill.parts:Standstill\n\n"
        "[posterity.methods]\nfirst-guess = standstill.parts:FirstGuess\n"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def posterity(*arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs the command line in this process."""
        monkeypatch.setattr(sys, "argv", ["posterity", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as left:
            status = int(left.code or 0)
        return subprocess.CompletedProcess(sys.argv, status, *capsys.readouterr())

    yield posterity
    for name in ("standstill", "standstill.parts"):
        sys.modules.pop(name, None)


STUDY = {
    "title": "A system and a method from elsewhere",
    "system": {"kind": "standstill", "options": {"gain": 0.5}},
    "observation": {"std": 1},
    "prior": {"std": 1},
    "window": 2,
    "splits": {"test": {"cases": 2}},
    "samples": 5,
    "methods": {"guess": {"kind": "first-guess", "options": {"shift": 1000.0}}},
}


@pytest.mark.slow
def test_other_packages_add_systems_and_methods(plugin, tmp_path) -> None:
    assert re.search(r"^standstill +x_\{t\+1\} = gain x_t$", plugin("list", "systems").stdout, re.MULTILINE)
    listed = plugin("list", "methods").stdout
    assert re.search(r"^first-guess +The prior under another name, with options of its own$", listed, re.MULTILINE)
    assert "4dvar " in listed

    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(STUDY))
    checked = plugin("check", study)
    assert checked.returncode == 0, checked.stderr
    assert "system       standstill, states (1, 3), dt 1\n" in checked.stdout

    twin, posterior = tmp_path / "twin.nc", tmp_path / "posterior.nc"
    assert plugin("simulate", study, "--output", twin).returncode == 0
    done = plugin("assimilate", study, "--method", "guess", "--twin", twin, "--output", posterior)
    assert done.returncode == 0, done.stderr
    with data.read(posterior, "posterior") as dataset:
        state = dataset["state"].to_numpy()
    assert state.shape == (2, 5, 2, 1, 3)
    # Halved and shifted: the system and the method are those of the other package.
    np.testing.assert_allclose(state[:, :, 1] - 1000, 0.5 * (state[:, :, 0] - 1000), atol=1e-3)
    assert (state > 900).all()

    study.write_text(yaml.safe_dump(STUDY).replace("gain", "gian").replace("shift", "shfit"))
    refused = plugin("check", study)
    assert refused.returncode == 2
    assert "system.options: unknown option 'gian' of standstill; did you mean 'gain'?" in refused.stderr
