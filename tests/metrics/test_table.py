"""The table of scores: what derives from it fits together."""

import numpy as np
import pytest
import xarray as xr

from posterity.data import SCORES as KINDS
from posterity.data.schema import SCHEMA
from posterity.metrics import attributes, rows, summarize
from posterity.metrics.score import Source, Units
from posterity.metrics.table import SCORES, headed, scores_of

SIZES = {"case": 6, "time": 4, "channel": 1, "bin": 5, "level": 4, "parameter": 2, "space": 2}


def everything() -> xr.Dataset:
    """Made-up numbers for all that the table has, of states without a grid."""
    rng = np.random.default_rng(0)
    found = {}
    for score in SCORES:
        dims = [name for name in score.dims if name != "*"]
        if score.source is not Source.SUMMARY and set(dims) <= set(SIZES):
            found |= {name: (dims, rng.random([SIZES[dim] for dim in dims])) for name in score.names}
    coordinates = {"level": [0.5, 0.8, 0.9, 0.95], "parameter": ["F", "b"], "space": ["state", "observation"]}
    return xr.Dataset(found, {"case": np.arange(6), **coordinates}).expand_dims({"method": ["one"]})


def test_names_places_and_headings_are_used_once() -> None:
    names = [name for score in SCORES for name in score.names]
    shown = [quantity for score in SCORES for quantity in score.shown]
    for several in (names, [q.name for q in shown], [q.heading for q in shown], [h.place for _, h in headed()]):
        assert len(set(several)) == len(several)


def test_all_that_tables_show_is_in_the_summary() -> None:
    summary = summarize(everything(), window=3)
    for score in SCORES:
        for quantity in score.shown:
            assert quantity.name in summary
            assert not quantity.error or f"{quantity.name}_error" in summary
            assert quantity.beside in ("", *summary.data_vars)


def test_every_quantity_has_its_columns() -> None:
    (row,) = rows(summarize(everything(), window=3))
    for score in SCORES:
        for quantity in score.shown:
            heading = quantity.heading.format(level="90", parameter="F")
            assert any(column.startswith(heading) for column in row)


def test_files_hold_the_scores_of_their_kind() -> None:
    for kind, source in (("metrics", Source.METRICS), ("classifier", Source.CLASSIFIER)):
        assert list(KINDS[kind]) == [name for score in scores_of(source) for name in score.names]
    assert not set(KINDS) & set(SCHEMA)


def test_attributes_say_the_units_and_what_floors_are() -> None:
    assert attributes("rmse", "m/s") == {"long_name": "RMSE of the mean", "units": "m/s"}
    assert attributes("mmd_floor")["long_name"] == attributes("mmd")["long_name"] + ", between runs of the reference"
    with pytest.raises(KeyError):
        attributes("no_such_score")


def test_headings_say_units_but_of_plain_numbers_and_of_distances() -> None:
    assert [units.heading("m/s") for units in Units] == ["", " (m/s)", " ((m/s)^2)", " (nat)", " (s)", "", ""]
    assert Units.STATE.heading("1") == ""
