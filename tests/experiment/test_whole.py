"""Results that were cut off are told by their ends, and no others."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import save_file

from posterity.experiment import Experiment
from posterity.experiment.whole import damaged, whole

STUDY = {
    "title": "A study", "system": {"kind": "lorenz96", "options": {"size": 8}}, "window": 2,
    "observation": {"std": 1.0}, "prior": {"std": 1.0}, "splits": {"test": {"cases": 2, "shard": 1}},
    "methods": {"4dvar": "4dvar", "npe": {"kind": "npe", "training": {}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of all kinds, as they are written."""
    folder = tmp_path_factory.mktemp("made")
    files = {suffix: folder / f"made{suffix}" for suffix in (".nc", ".safetensors", ".json", ".jsonl", ".csv")}
    xr.Dataset({"state": ("x", np.arange(4.0))}).to_netcdf(files[".nc"], engine="netcdf4")
    save_file({"weight": np.ones((3, 2)), "bias": np.ones(3)}, files[".safetensors"])
    files[".json"].write_text(json.dumps({"seed": 1, "sha256": {"a": "b"}}, indent=2) + "\n")
    files[".jsonl"].write_text('{"epoch": 1}\n{"epoch": 2}\n')
    files[".csv"].write_text("method,score\r\n4dvar,1.0\r\n")
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([0, 1])
    for suffix in (".svg", ".png", ".gif"):
        files[suffix] = folder / f"made{suffix}"
        figure.savefig(files[suffix])
    plt.close(figure)
    return files


@pytest.mark.parametrize("suffix", [".nc", ".safetensors", ".json", ".svg", ".png"])
def test_a_file_is_whole_if_no_byte_lacks_at_its_end(made, tmp_path, suffix) -> None:
    content, cut = made[suffix].read_bytes(), tmp_path / f"cut{suffix}"
    assert whole(made[suffix])
    for size in {*range(0, len(content), max(1, len(content) // 50)), len(content) - 1}:
        cut.write_bytes(content[:size])
        assert not whole(cut), size


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".gif"])
def test_of_lines_and_animations_the_last_ones_may_lack(made, tmp_path, suffix) -> None:
    """Their formats do not say how many there are."""
    content, cut = made[suffix].read_bytes(), tmp_path / f"cut{suffix}"
    assert whole(made[suffix])
    for size in (0, 5, len(content) - 1):
        cut.write_bytes(content[:size])
        assert not whole(cut), size


def test_weights_whose_head_is_spoiled_are_not_whole(made, tmp_path) -> None:
    content = made[".safetensors"].read_bytes()
    for head in (b"\xff" * 8 + content[8:], content[:8] + b"x" + content[9:]):
        (tmp_path / "spoiled.safetensors").write_bytes(head)
        assert not whole(tmp_path / "spoiled.safetensors")


def test_only_what_the_configuration_asks_for_is_looked_at(tmp_path) -> None:
    experiment = Experiment(name="study", **STUDY)
    ours = [
        "simulations/test/1.nc", "posteriors/4dvar/0.nc", "metrics/npe/1.nc", "metrics.nc", "table.csv",
        "models/npe/estimator.json", "models/npe/weights.safetensors", "models/npe/history.jsonl",
        "figures/coverage.svg", "figures/coverage.png",
    ]  # fmt: skip
    # A shard, a method, a library of states and a reference of former days; and what is no result.
    others = [
        "posteriors/4dvar/2.nc",
        "posteriors/etkf/0.nc",
        "climatology.nc",
        "references/0.nc",
        "logs/plot/coverage.log",
    ]
    for file in ours + others:
        (tmp_path / "study" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "study" / file).touch()
    found = damaged(experiment, tmp_path)
    assert sorted(found) == sorted(tmp_path / "study" / file for file in ours)
