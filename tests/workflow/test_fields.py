"""A whole run with fields in the plane: from the library of states to maps, spectra and an animation."""

import json

import numpy as np
import pytest
import xarray as xr

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]


def test_fields_go_through_both_ways(fields):
    results = fields.folder / "results" / "fields"
    with xr.open_dataset(results / "climatology.nc", decode_times=False) as library:
        assert library["state"].shape == (16 + 8, 2, 12, 12)
        assert int(library["held_out"].sum()) == 8
    for method in ("letkf", "npe"):
        with xr.open_dataset(results / "posteriors" / method / "0.nc", decode_times=False) as posterior:
            assert posterior["state"].dims == ("case", "sample", "time", "channel", "y", "x")
            assert np.isfinite(posterior["state"].isel(time=-1)).all()
    with xr.open_dataset(results / "metrics.nc", decode_times=False) as metrics:
        assert metrics["method"].values.tolist() == ["letkf", "npe"]
        assert np.isfinite(metrics[["rmse", "spread", "spectrum", "truth_spectrum"]].isel(time=-1).to_array()).all()
        assert metrics["auc"].notnull().sel(space="state").values.tolist() == [False, True]
    description = json.loads((results / "models" / "npe" / "estimator.json").read_text())
    assert np.isfinite(description["best_valid_loss"])


def test_fields_are_drawn_and_shown(fields):
    results = fields.folder / "results" / "fields"
    drawn = {path.name for path in (results / "figures").iterdir()}
    assert drawn == {f"{name}.{kind}" for name in ("maps", "animation", "spectra") for kind in ("svg", "png")} | {
        "animation.gif"
    }
    page = (results / "report.html").read_text()
    assert all(f'alt="{name}"' in page for name in ("maps", "animation", "spectra"))


def test_a_library_of_other_states_redoes_what_is_drawn_from_it(fields):
    fields.edit("config/experiments/fields.yaml", "states: 16", "states: 17")
    planned = dict(fields.planned("fields"))
    figures = planned.pop("plot") + planned.pop("animate")
    assert figures == 3
    assert planned == {
        "climatology": 1, "simulate": 3, "train": 1, "sample": 1, "classify": 1, "assimilate": 1, "evaluate": 2,
        "aggregate": 1,
    }  # fmt: skip
