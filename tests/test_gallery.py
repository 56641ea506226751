"""The examples of the gallery run as they stand, and come to what their text says of it."""

import runpy
from pathlib import Path
from typing import Any

import pytest

GALLERY = Path(__file__).resolve().parents[1] / "docs" / "gallery"

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs an example in a folder of its own, and returns its names."""
    monkeypatch.chdir(tmp_path)

    def ran(name: str) -> dict[str, Any]:
        return runpy.run_path(str(GALLERY / f"{name}.py"))

    return ran


def test_each_example_is_run_here() -> None:
    assert {path.stem for path in GALLERY.glob("*.py")} == {
        "numpy_simulator", "own_data", "own_estimator", "reference_posterior"
    }  # fmt: skip


def test_own_data(run) -> None:
    found = run("own_data")
    judged = found["judged"]
    assert all("2026-03-01" in draws["time"].attrs["units"] for draws in found["posteriors"].values())
    assert judged["mean_error"].idxmax() == "score, guided"
    assert judged.loc[["4DVAR", "score, in a frame"], "c2st"].max() < judged.loc["score, guided", "c2st"]


def test_own_estimator(run) -> None:
    table = run("own_estimator")["table"]
    assert table.loc["mine, refined", "c2st"] < 0.57 < table.loc["mine", "c2st"]


def test_numpy_simulator(run, capsys) -> None:
    found = run("numpy_simulator")
    assert "Hares passes no gradients on" in capsys.readouterr().out
    table = found["table"]
    assert table["rmse"].idxmax() == "prior"
    assert table.loc[["ensemble smoother", "particles"], "rmse"].max() < table.loc["flow", "rmse"]


def test_reference_posterior(run) -> None:
    found = run("reference_posterior")
    assert {each.place for each in found["by_truth"].methods} == {1}, "errors do not tell methods apart by the truth"
    places = {each.method: each.place for each in found["by_reference"].methods}
    assert places["the reference again"] == 1 < places["VI, mean field"]
