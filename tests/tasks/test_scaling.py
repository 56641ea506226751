"""Variants set beside each other: trained, drawn, scored, and read back."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from posterity.data import SCORES, read
from posterity.errors import ConfigError, DataError
from posterity.experiment import Experiment, every
from posterity.experiment.dependencies import dependencies
from posterity.metrics import summarize
from posterity.tasks.aggregate import aggregate
from posterity.tasks.assimilate import assimilate
from posterity.tasks.evaluate import evaluate
from posterity.tasks.sample import sample
from posterity.tasks.scaling import scaling
from posterity.tasks.simulate import simulate
from posterity.tasks.train import train

SIZES = {
    "title": "Rings of 4 and 6 sites",
    "system": {"kind": "linear", "options": {"size": 6}},
    "observation": {"std": 1.0},
    "prior": {"std": 1.0},
    "window": 4,
    "splits": {"train": {"cases": 32}, "valid": {"cases": 8}, "test": {"cases": 4}},
    "samples": 20,
    "methods": {
        "prior": {"kind": "prior"},
        "npe": {
            "kind": "npe",
            "label": "NPE",
            "seeds": 2,
            "options": {
                "network": {"kind": "convolution", "options": {"width": 4, "blocks": 1}},
                "flow": {"kind": "nsf", "options": {"transforms": 1, "hidden": [8]}},
            },
            "training": {"epochs": 2, "batch": 16},
        },
    },
    "variants": {
        "n4": {"system": {"options": {"size": 4}}, "methods": {"npe": {"published_log_score": -1.5}}},
        "n6-long": {"window": 5},
    },
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Experiment], Path]:
    """The variants of a study that has been run to its scores, and the folder of results."""
    folder = tmp_path_factory.mktemp("sizes")
    path = folder / "sizes.yaml"
    path.write_text(yaml.safe_dump(SIZES, sort_keys=False))
    experiments = [experiment for _, experiment in every(path)]
    for experiment in experiments:
        run(experiment, folder / "results" / experiment.name)
    return experiments, folder / "results"


def run(experiment: Experiment, folder: Path) -> None:
    """Runs an experiment to its scores."""
    shards = {split: folder / f"{split}.nc" for split in ("train", "valid", "test")}
    for split, shard in shards.items():
        simulate(experiment, split, 0, shard)
    metrics = []
    for name in experiment.methods:
        posterior, weights = folder / f"{name}.nc", folder / "models" / name
        if name in experiment.trained():
            train(experiment, name, [shards["train"]], [shards["valid"]], weights, "cpu")
            sample(experiment, name, weights, shards["test"], posterior, device="cpu")
        else:
            assimilate(experiment, name, shards["test"], posterior, device="cpu")
        metrics.append(folder / f"metrics-{name}.nc")
        evaluate(experiment, shards["test"], posterior, metrics[-1])
    aggregate(experiment, metrics, folder / "metrics.nc", folder / "table.csv")


@pytest.fixture(scope="module")
def written(done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the task has written."""
    folder = tmp_path_factory.mktemp("written")
    experiments, results = done
    scaling(experiments, results, folder / "scaling.nc", folder / "scaling.csv", folder / "scaling.svg")
    return folder


@pytest.mark.slow
def test_trainings_of_a_group_are_its_seeds(done, written) -> None:
    (_, long), results = done
    found = read(written / "scaling.nc", "scaling", SCORES)
    assert found["variant"].values.tolist() == ["n4", "n6-long"]
    assert found["method"].values.tolist() == ["prior", "NPE"]
    assert found["size"].values.tolist() == [4, 6]
    assert found["window"].values.tolist() == [4, 5]
    summary = summarize(read(results / "sizes/n6-long/metrics.nc", "comparison", SCORES), long.window)
    description = json.loads((results / "sizes/n6-long/models/npe-2/estimator.json").read_text())
    own = found.sel({"variant": "n6-long", "method": "NPE", "seed": 1})
    expected = summary.sel({"method": "npe-2"})
    for name in ("log_score", "log_score_error"):
        np.testing.assert_allclose(own[name], expected[name], rtol=1e-6)
    np.testing.assert_allclose(own["crps"], expected["crps"].sel(moment="window end"), rtol=1e-6)
    np.testing.assert_allclose(own["sampling_seconds"], 1000 * expected["seconds"] / 20, rtol=1e-6)
    np.testing.assert_allclose(own["valid_loss"], description["best_valid_loss"], rtol=1e-6)
    np.testing.assert_allclose(own["training_seconds"], description["seconds"], rtol=1e-6)
    np.testing.assert_allclose(own["parameters"], description["parameters"], rtol=1e-6)


def test_the_file_says_what_code_it_depends_on(done, written) -> None:
    experiments, _ = done
    code = json.loads(read(written / "scaling.nc", "scaling", SCORES).attrs["code"])
    assert code == dependencies("scaling", experiments[0]).modules


@pytest.mark.slow
def test_what_is_not_there_is_nan(written) -> None:
    found = read(written / "scaling.nc", "scaling", SCORES)
    assert found["auc"].isnull().all()
    prior = found.sel({"method": "prior"})
    assert prior["crps"].notnull().values.tolist() == [[True, False], [True, False]]
    assert prior[["log_score", "valid_loss", "training_seconds", "parameters"]].to_array().isnull().all()
    np.testing.assert_allclose(found["published_log_score"], [[np.nan, -1.5], [np.nan, np.nan]])


@pytest.mark.slow
def test_the_table_has_a_row_for_each_training(written) -> None:
    with (written / "scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [(row["variant"], row["size"], row["window"], row["method"], row["seed"]) for row in rows]
    own = [("prior", "1"), ("NPE", "1"), ("NPE", "2")]
    assert names == [(*variant, *pair) for variant in (("n4", "4", "4"), ("n6-long", "6", "5")) for pair in own]
    assert rows[0]["log_score"] == rows[4]["published_log_score"] == ""
    assert float(rows[1]["published_log_score"]) == -1.5
    assert (written / "scaling.png").is_file()
    assert (written / "scaling.svg").is_file()


@pytest.mark.slow
def test_a_file_without_variants_and_missing_trainings_are_named(done, written, tmp_path) -> None:
    experiments, results = done
    targets = (tmp_path / "scaling.nc", tmp_path / "scaling.csv", tmp_path / "scaling.svg")
    with pytest.raises(ConfigError, match="sizes/n4: has no variants to compare"):
        scaling(experiments[:1], results, *targets)
    description = results / "sizes/n4/models/npe-1/estimator.json"
    text = description.read_text()
    try:
        description.unlink()
        with pytest.raises(DataError, match=r"sizes/n4/models/npe-1/estimator\.json: cannot be read"):
            scaling(experiments, results, *targets)
    finally:
        description.write_text(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_training_that_failed_is_missing_and_the_others_are_there(done, written, tmp_path) -> None:
    experiments, results = done
    shutil.copytree(results, tmp_path / "results")
    folder = tmp_path / "results" / experiments[0].name
    left = [folder / f"metrics-{name}.nc" for name in experiments[0].methods if name != "npe-2"]
    aggregate(experiments[0], left, folder / "metrics.nc", folder / "table.csv", failed={"npe-2": "train/npe-2.log"})
    shutil.rmtree(folder / "models" / "npe-2")
    scaling(experiments, tmp_path / "results", tmp_path / "s.nc", tmp_path / "s.csv", tmp_path / "s.svg")
    found = read(tmp_path / "s.nc", "scaling", SCORES)["crps"].load()
    whole = read(written / "scaling.nc", "scaling", SCORES)["crps"].load()
    gone = {"variant": "n4", "method": "NPE", "seed": 1}
    assert whole.sel(gone).notnull()
    assert found.sel(gone).isnull()
    whole.loc[gone] = np.nan
    xr.testing.assert_identical(found, whole)


def test_the_coverage_of_parameters_stands_beside_the_length_of_the_record(tmp_path) -> None:
    """Draws of the prior cover as often as they say, of however many states."""
    study = {
        "title": "Advection at an unknown speed",
        "system": {"kind": "linear", "options": {"size": 4}},
        "parameters": {"damping": {"kind": "uniform", "options": {"low": 0.0, "high": 0.2}}},
        "observation": {"std": 1.0},
        "prior": {"std": 1.0},
        "window": 1,
        "splits": {"train": {"cases": 1}, "valid": {"cases": 1}, "test": {"cases": 300}},
        "samples": 9,
        "methods": {"prior": {"kind": "prior"}},
        "variants": {"one": {"window": 1}, "two": {"window": 2}},
    }
    path = tmp_path / "records.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    experiments = [experiment for _, experiment in every(path)]
    for experiment in experiments:
        run(experiment, tmp_path / "results" / experiment.name)
    scaling(experiments, tmp_path / "results", tmp_path / "s.nc", tmp_path / "s.csv", tmp_path / "s.png")
    coverage = read(tmp_path / "s.nc", "scaling", SCORES)["parameter_coverage"].load()
    assert coverage.sizes == {"variant": 2, "method": 1, "seed": 1, "parameter": 1}
    np.testing.assert_allclose(coverage, 0.9, atol=4 * (0.9 * 0.1 / 300) ** 0.5)
