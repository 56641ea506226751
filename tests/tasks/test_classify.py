"""The task ``classify``: a file for each estimator, and what it refuses."""

import json

import numpy as np
import pytest

from posterity import data
from posterity.errors import ConfigError, PosterityError
from posterity.tasks.aggregate import aggregate
from posterity.tasks.classify import classify
from posterity.tasks.evaluate import evaluate
from posterity.tasks.sample import sample
from posterity.tasks.simulate import simulate
from posterity.tasks.train import train

CLASSIFIER = {
    "cases": 30,
    "judged": 12,
    "epochs": 2,
    "batch": 10,
    "network": {"kind": "convolution", "options": {"width": 8, "blocks": 1, "kernel": 3}},
}


@pytest.fixture
def files(experiment, tmp_path) -> dict[str, list]:
    """Simulates all splits, and trains the estimator."""
    study = experiment()
    found = {split: [tmp_path / split / f"{n}.nc" for n in range(2)] for split in ("train", "valid", "test")}
    for split, paths in found.items():
        for shard, path in enumerate(paths):
            simulate(study, split, shard, path)
    train(study, "npe", found["train"], found["valid"], tmp_path / "npe")
    return found


@pytest.mark.slow
def test_a_classifier_is_trained_and_stands_in_the_table(experiment, files, tmp_path) -> None:
    study = experiment(classifier=CLASSIFIER)
    for name in ("one.nc", "two.nc"):
        classify(study, "npe", tmp_path / "npe", tmp_path / name)
    with (
        data.read(tmp_path / "one.nc", "classifier", data.SCORES) as one,
        data.read(tmp_path / "two.nc", "classifier", data.SCORES) as two,
    ):
        assert list(one["space"].values) == ["state", "observation"]
        assert ((one["auc"] >= 0) & (one["auc"] <= 1)).all()
        assert (one["auc_std"] > 0).all()
        rates = one["true_positive_rate"].values
        assert one["true_positive_rate"].dims == ("space", "false_positive_rate")
        assert (np.diff(rates, axis=1) >= 0).all()
        assert (rates[:, -1] == 1).all()
        assert one.attrs["method"] == "npe"
        assert json.loads(one.attrs["configuration"])["classifier"]["cases"] == 30
        assert {"seed", "commit", "wall_seconds", "device"} <= set(one.attrs)
        # The same file again, number for number.
        assert (one["auc"].values == two["auc"].values).all()
    sample(study, "npe", tmp_path / "npe", files["test"][0], tmp_path / "posterior.nc")
    evaluate(study, files["test"][0], tmp_path / "posterior.nc", tmp_path / "npe.nc")
    aggregate(study, [tmp_path / "npe.nc"], tmp_path / "metrics.nc", tmp_path / "t.csv", [tmp_path / "one.nc"])
    assert "AUC, observation" in (tmp_path / "t.csv").read_text()
    with (
        data.read(tmp_path / "metrics.nc", "comparison", data.SCORES) as metrics,
        data.read(tmp_path / "one.nc", "classifier", data.SCORES) as one,
    ):
        np.testing.assert_allclose(metrics["auc"].sel({"method": "npe"}), one["auc"])


@pytest.mark.slow
def test_what_cannot_be_classified_is_refused(experiment, files, tmp_path) -> None:
    given = (tmp_path / "npe", tmp_path / "classifier.nc")
    with pytest.raises(
        ConfigError, match=r"'study' has no classifiers: say how to train them, at least 'classifier: \{\}'"
    ):
        classify(experiment(), "npe", *given)
    with pytest.raises(ConfigError, match="'4dvar' is not trained, and only draws of estimators are classified"):
        classify(experiment(classifier=CLASSIFIER), "4dvar", *given)
    with pytest.raises(PosterityError, match="classifier: cases: at least ten are needed, not 4"):
        classify(experiment(classifier={**CLASSIFIER, "cases": 4}), "npe", *given)
    with pytest.raises(PosterityError, match=r"classifier: the loss is .* try a smaller learning_rate"):
        classify(experiment(classifier={**CLASSIFIER, "learning_rate": 1e30}), "npe", *given)
    assert not given[-1].exists()


def test_classifiers_see_nothing_that_the_estimator_has_seen(experiment, files, tmp_path, monkeypatch) -> None:
    """Neither the states that it was trained on, nor those by which its weights were chosen."""
    study, seen, states = experiment(classifier=CLASSIFIER), [], []

    def judged(problem, view, settings, known, unknown):
        seen.extend((known.truth, unknown.truth))
        raise ValueError("is not trained here")

    monkeypatch.setattr("posterity.tasks.classify._judged", judged)
    with pytest.raises(PosterityError, match="is not trained here"):
        classify(study, "npe", tmp_path / "npe", tmp_path / "classifier.nc")
    for path in (*files["train"], *files["valid"]):
        with data.read(path, "states" if "train" in str(path) else "twin") as dataset:
            states.append(dataset["state"][:, 3].values)
    assert [len(truth) for truth in seen] == [30, 12]
    found = np.concatenate([truth.numpy() for truth in seen]).astype(np.float32)
    known = {state.tobytes() for state in np.concatenate(states).astype(np.float32)}
    assert len({state.tobytes() for state in found}) == 42
    assert not known & {state.tobytes() for state in found}


def test_the_network_is_checked_with_the_experiment(experiment) -> None:
    with pytest.raises(
        ConfigError, match=r"classifier\.network\.options: unknown option 'widht'.*did you mean 'width'"
    ):
        experiment(classifier={"network": {"kind": "convolution", "options": {"widht": 8}}})
    study = experiment(classifier={})
    assert study.classified() == ["npe"]
    assert experiment().classified() == []
