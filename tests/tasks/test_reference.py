"""The task ``reference``: independent runs joined, with the gap between them; and twins of every kind of problem."""

import numpy as np
import pytest
import torch
import xarray as xr

from posterity import data
from posterity.data.tensors import window_of
from posterity.errors import ConfigError
from posterity.inference.experiments import build_problem
from posterity.problems import exact_posterior
from posterity.tasks.assimilate import assimilate
from posterity.tasks.reference import reference
from posterity.tasks.simulate import simulate

EXACT = {"kind": "exact", "samples": 3000, "runs": 2}


@pytest.fixture
def made(experiment, tmp_path):
    """Simulates the first test shard of an experiment, and makes its reference."""

    def make(**changes) -> tuple[xr.Dataset, xr.Dataset]:
        study = experiment(**changes)
        simulate(study, "test", 0, tmp_path / "twin.nc")
        reference(study, tmp_path / "twin.nc", tmp_path / "reference.nc")
        twin, drawn = tmp_path / "twin.nc", tmp_path / "reference.nc"
        return data.read(twin, "twin").load(), data.read(drawn, "posterior").load()

    return make


@pytest.mark.slow
@pytest.mark.parametrize("error", [None, 0.3], ids=["strong", "weak"])
def test_it_is_the_exact_posterior_of_a_linear_problem(made, experiment, error) -> None:
    twin, drawn = made(reference=EXACT, model_error=error)
    assert drawn["state"].sizes["sample"] == 6000
    problem = build_problem(experiment(model_error=error))
    exact = exact_posterior(problem, window_of(twin, problem, "twin.nc"))
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    mean = torch.as_tensor(drawn["state"].mean("sample").to_numpy()).squeeze(2).double()
    assert (((mean - exact.mean) / std).abs() < 4.5 / 6000**0.5).all()
    assert np.isfinite(drawn["log_likelihood"]).all()


@pytest.mark.slow
def test_runs_are_numbered_and_differ_by_their_monte_carlo_error(made) -> None:
    _, drawn = made(reference=EXACT)
    assert drawn["run"].to_numpy().tolist() == [0] * 3000 + [1] * 3000
    halves = [drawn["state"].where(drawn["run"] == run, drop=True).mean("sample") for run in (0, 1)]
    gap = (abs(halves[0] - halves[1]) / drawn["state"].std("sample", ddof=1)).max(("time", "channel", "x"))
    np.testing.assert_allclose(drawn["info_gap"], gap, rtol=1e-3)
    assert (drawn["info_gap"] < 5 * (2 / 3000) ** 0.5).all()
    assert (drawn["info_gap_median"] < drawn["info_gap"]).all()
    assert (drawn.attrs["method"], drawn.attrs["experiment"]) == ("exact", "study")


@pytest.mark.slow
def test_one_run_has_no_gap(made) -> None:
    _, drawn = made(reference=EXACT | {"runs": 1})
    assert "info_gap" not in drawn


@pytest.mark.parametrize(("change", "message"), [
    ({}, "has no reference"),
    ({"reference": {"kind": "npe"}}, "'npe' must be trained"),
    ({"reference": EXACT, "system": {"kind": "lorenz96", "options": {"size": 6}}}, "needs a linear system"),
])  # fmt: skip
def test_what_cannot_be_a_reference_is_refused(experiment, tmp_path, change, message) -> None:
    study = experiment(**change)
    simulate(study, "test", 0, tmp_path / "twin.nc")
    with pytest.raises(ConfigError, match=message):
        reference(study, tmp_path / "twin.nc", tmp_path / "reference.nc")
    assert not (tmp_path / "reference.nc").exists()


JOINT = {
    "system": {"kind": "lorenz96", "options": {"size": 6}},
    "parameters": {"forcing": {"kind": "uniform", "options": {"low": 6.0, "high": 10.0}}},
    "model_error": 0.1,
}


def test_parameters_travel_through_files(experiment, tmp_path) -> None:
    study = experiment(**JOINT)
    simulate(study, "test", 0, tmp_path / "twin.nc")
    assimilate(study, "prior", tmp_path / "twin.nc", tmp_path / "posterior.nc", 50)
    with data.read(tmp_path / "twin.nc", "twin") as twin, data.read(tmp_path / "posterior.nc", "posterior") as drawn:
        assert twin["theta"].dims == ("case", "parameter")
        assert drawn["theta"].dims == ("case", "sample", "parameter")
        assert twin["parameter"].to_numpy().tolist() == drawn["parameter"].to_numpy().tolist() == ["forcing"]
        for theta in (twin["theta"], drawn["theta"]):
            assert ((theta > 6) & (theta < 10)).all()
    simulate(study, "train", 0, tmp_path / "train.nc")
    with data.read(tmp_path / "train.nc", "states") as states:
        assert states["theta"].sizes["case"] == 20


@pytest.mark.slow
def test_test_cases_come_from_the_truth_and_training_from_the_assumed_system(experiment, tmp_path) -> None:
    truth = {"kind": "lorenz96-two-scale", "options": {"size": 6, "fast": 4, "spinup": 1.0}}
    study = experiment(**JOINT | {"model_error": None, "truth": truth, "prior": {"joint": "climatology", "std": 1.0}})
    system = build_problem(study).system
    for split, kind, follows in (("train", "states", True), ("test", "twin", False)):
        simulate(study, split, 0, tmp_path / f"{split}.nc")
        with data.read(tmp_path / f"{split}.nc", kind) as twin:
            assert bool(twin["theta"].isnull().all()) is not follows
            if follows:
                continue
            x = torch.as_tensor(twin["state"].to_numpy())
            assert (system.step(x[:, :-1]) - x[:, 1:]).abs().max() > 0.01
