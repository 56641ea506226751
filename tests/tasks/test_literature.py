"""The task ``literature``: averages over cycles behind the burn-in, beside published numbers."""

import numpy as np
import pytest

from posterity import data
from posterity.errors import ConfigError
from posterity.tasks.aggregate import aggregate
from posterity.tasks.assimilate import assimilate
from posterity.tasks.evaluate import evaluate
from posterity.tasks.literature import literature
from posterity.tasks.simulate import simulate

CYCLES = {
    "window": 2,
    "forecast": 0,
    "cycles": 5,
    "burn_in": 2,
    "methods": {"etkf": {"kind": "etkf", "published": 0.5, "samples": 20}, "prior": {"kind": "prior"}},
    "splits": {"test": {"cases": 3}},
}


@pytest.fixture
def compared(experiment, tmp_path):
    """A cycling experiment, with its metrics."""
    study = experiment(**CYCLES)
    twin, metrics = tmp_path / "twin.nc", []
    simulate(study, "test", 0, twin)
    for method in study.methods:
        posterior, scores = tmp_path / f"{method}.nc", tmp_path / f"{method}_scores.nc"
        assimilate(study, method, twin, posterior)
        evaluate(study, twin, posterior, scores)
        metrics.append(scores)
    aggregate(study, metrics, tmp_path / "all.nc", tmp_path / "table.csv")
    return study, tmp_path / "all.nc"


@pytest.mark.slow
def test_errors_are_averaged_over_analyses_behind_the_burn_in(compared, tmp_path) -> None:
    study, metrics = compared
    literature([study], [metrics], tmp_path / "literature.md")
    lines = (tmp_path / "literature.md").read_text().splitlines()
    assert len(lines) == 3
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    rmse = data.read(metrics, "comparison", data.SCORES).load()["rmse"].sel({"method": "etkf"})
    expected = float(rmse.isel(time=[5, 7, 9]).mean())
    assert cells[:3] == ["study", "etkf", "0.5"]
    assert float(cells[3]) == pytest.approx(expected, abs=6e-4)
    assert float(cells[5]) == pytest.approx(expected / 0.5, abs=6e-3)
    assert cells[6] == "3"


@pytest.mark.slow
def test_window_methods_are_cycled(compared) -> None:
    _, metrics = compared
    rmse = data.read(metrics, "comparison", data.SCORES).load()["rmse"]
    assert rmse.sizes["time"] == 10
    assert np.isfinite(rmse).all()


@pytest.mark.slow
def test_what_is_not_published_is_refused(compared, experiment, tmp_path) -> None:
    study, metrics = compared
    silent = experiment(**CYCLES | {"methods": {"prior": {"kind": "prior"}}})
    with pytest.raises(ConfigError, match="no method has a published error"):
        literature([silent], [metrics], tmp_path / "literature.md")
    with pytest.raises(ConfigError, match="1 files for 2 experiments"):
        literature([study, study], [metrics], tmp_path / "literature.md")
