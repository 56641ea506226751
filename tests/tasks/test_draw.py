"""What is said of the truth by the task that draws, so that scores need no torch."""

import numpy as np
import pytest
import torch
import xarray as xr

from posterity import data, metrics
from posterity.baselines.montecarlo.exact import Exact
from posterity.data.tensors import truth_of, window_of
from posterity.errors import DataError
from posterity.inference.experiments import build_problem
from posterity.tasks.assimilate import assimilate
from posterity.tasks.sample import load_estimator, sample
from posterity.tasks.simulate import simulate
from posterity.tasks.train import train

METHODS = {name: {"kind": name} for name in ("exact", "prior", "etkf")}


@pytest.fixture
def drawn(experiment, tmp_path):
    """Simulates test cases, and draws from their posteriors."""

    def posterior(method: str, cases: int = 5, samples: int = 20) -> xr.Dataset:
        study = experiment(splits={"test": {"cases": cases}}, methods=METHODS)
        simulate(study, "test", 0, tmp_path / "twin.nc")
        assimilate(study, method, tmp_path / "twin.nc", tmp_path / "posterior.nc", samples)
        with data.read(tmp_path / "posterior.nc", "posterior") as dataset:
            return dataset.load()

    return posterior


@pytest.mark.slow
def test_new_observations_are_covered_by_the_exact_posterior(drawn) -> None:
    exact, prior = (drawn(method, cases=400, samples=200)["predictive_pit"] for method in ("exact", "prior"))
    assert exact.dims == ("case", "time", "obs_channel", "obs_x")
    # Half of the entries are observed, and none behind the window.
    assert abs(float(exact[:, :4].notnull().mean()) - 0.5) < 4 * 0.5 / (400 * 24) ** 0.5
    assert exact[:, 4:].isnull().all()
    # The prior is calibrated too.
    for found in (exact, prior):
        for moment, expected in ((found, 0.5), ((found - 0.5) ** 2, 1 / 12)):
            means = moment.mean(["time", "obs_channel", "obs_x"])
            assert abs(float(means.mean()) - expected) < 4 * float(means.std()) / 400**0.5 + 0.5 / 200
    coverage = metrics.predictive_coverage(exact).mean("case")
    assert (abs(coverage - coverage["level"]) < 0.03).all()


def test_filters_are_held_against_the_last_observations(drawn) -> None:
    found = drawn("etkf")
    assert found["predictive_pit"].dims == ("case", "time", "obs_channel", "obs_x")
    assert found["predictive_pit"].isel(time=0).notnull().any()
    assert "truth_log_q" not in found


def test_draws_do_not_depend_on_whether_there_is_a_truth(drawn, tmp_path, experiment) -> None:
    with_truth = drawn("exact")
    twin = data.read(tmp_path / "twin.nc", "twin").load().drop_vars("state")
    data.write(twin, tmp_path / "own.nc", "twin")
    study = experiment(splits={"test": {"cases": 5}}, methods=METHODS)
    assimilate(study, "exact", tmp_path / "own.nc", tmp_path / "own_posterior.nc", 20)
    own = data.read(tmp_path / "own_posterior.nc", "posterior")
    xr.testing.assert_identical(own["state"].load(), with_truth["state"])
    assert "predictive_pit" not in own


def test_a_singular_matrix_is_told_in_words(experiment, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        torch.linalg.cholesky(torch.zeros(2, 2))

    study = experiment(splits={"test": {"cases": 5}}, methods=METHODS)
    simulate(study, "test", 0, tmp_path / "twin.nc")
    monkeypatch.setattr(Exact, "sample", fail)
    with pytest.raises(DataError, match=r"methods\.exact: a matrix is singular in float64; the smallest"):
        assimilate(study, "exact", tmp_path / "twin.nc", tmp_path / "posterior.nc", 20)
    assert not (tmp_path / "posterior.nc").exists()


@pytest.mark.slow
def test_a_trained_estimator_says_how_probable_the_truth_is(experiment, tmp_path) -> None:
    study, files = experiment(), {}
    for split in ("train", "valid", "test"):
        files[split] = tmp_path / f"{split}.nc"
        simulate(study, split, 0, files[split])
    train(study, "npe", [files["train"]], [files["valid"]], tmp_path / "npe")
    sample(study, "npe", tmp_path / "npe", files["test"], tmp_path / "posterior.nc")
    with data.read(tmp_path / "posterior.nc", "posterior") as posterior:
        problem = build_problem(study)
        estimator = load_estimator(study, "npe", problem, tmp_path / "npe", torch.device("cpu"))
        dataset = data.read(files["test"], "twin")
        window = window_of(dataset, problem, "twin")
        twin = truth_of(dataset, problem, window, "twin")
        with torch.no_grad():
            exact = estimator.log_prob(estimator.encode(twin), window)
        np.testing.assert_allclose(posterior["truth_log_q"], exact, rtol=1e-4, atol=1e-4)
        assert posterior["log_q"].dims == ("case", "sample")
        scored = metrics.evaluate(dataset.load(), posterior.load(), time=3)
        assert {"log_score", "hpd_rank", "tarp_rank", "predictive_coverage", "energy_score"} <= set(scored)
