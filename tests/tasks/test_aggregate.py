"""The task ``aggregate``: methods side by side, and the table."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from posterity import data
from posterity.errors import DataError
from posterity.experiment import Experiment
from posterity.experiment.dependencies import dependencies
from posterity.metrics import summarize
from posterity.tasks.aggregate import aggregate
from posterity.tasks.files.verdict import kept, verdicts

TIMES, SITES = 4, 3


def study(window: int = 3, **cycles: int) -> Experiment:
    """An experiment whose windows have so many states."""
    return Experiment.model_validate(
        {
            "title": "A ring",
            "system": {"kind": "linear", "options": {"size": SITES}},
            "observation": {"std": 1.0},
            "prior": {"std": 1.0},
            "window": window,
            "splits": {"test": {"cases": 4}},
            "methods": {"vi": {"kind": "vi"}},
            **cycles,
        }
    )


def scored(method: str | None, cases: range, bins: int = 5, iterations: int = 2, value: float = 1.0) -> xr.Dataset:
    """Metrics of one method on some cases."""
    size = len(cases)
    field = np.full((size, TIMES, 1, SITES), value, dtype=np.float32)
    timed = np.full((size, TIMES), value, dtype=np.float32) + np.asarray(cases, dtype=np.float32)[:, None]
    return xr.Dataset(
        {
            "mean": (("case", "time", "channel", "x"), field),
            "std": (("case", "time", "channel", "x"), field),
            "rmse": (("case", "time"), timed),
            "spread": (("case", "time"), timed, {"units": "m/s"}),
            "crps": (("case", "time"), timed),
            "rank_histogram": (("case", "time", "bin"), np.ones((size, TIMES, bins))),
            "coverage": (("case", "time", "level"), np.full((size, TIMES, 4), 0.75)),
            "log_likelihood": ("case", np.full(size, -123.456)),
            "calibrated_log_likelihood": ("case", np.full(size, -100.0)),
            "samples": ("case", np.full(size, 100, dtype=np.int32)),
            "info_objective": (("case", "iteration"), np.full((size, iterations), value)),
        },
        {
            "case": np.asarray(cases),
            "time": 0.1 * np.arange(TIMES),
            "channel": ["u"],
            "bin": np.arange(bins),
            "level": [0.5, 0.8, 0.9, 0.95],
            "iteration": np.arange(iterations),
        },
        {"experiment": "lorenz", "seed": 1, "device": f"device of {method}"}
        | ({} if method is None else {"method": method}),
    )


@pytest.fixture
def run(tmp_path):
    """Writes metrics in order, joins them, and returns the comparison and the rows of the table."""

    def joined(*datasets: xr.Dataset, window: int = 3, **cycles: int) -> tuple[xr.Dataset, list[dict[str, str]]]:
        paths = [tmp_path / f"{position}.nc" for position in range(len(datasets))]
        for dataset, path in zip(datasets, paths, strict=True):
            data.write(dataset, path, "metrics", data.SCORES)
        output, table = tmp_path / "metrics.nc", tmp_path / "table.csv"
        aggregate(study(window, **cycles), paths, output, table)
        with table.open(encoding="utf-8") as file:
            return data.read(output, "comparison", data.SCORES).load(), list(csv.DictReader(file))

    return joined


@pytest.mark.slow
def test_chunks_and_methods_are_joined_in_order(run) -> None:
    parts = scored("vi", range(2)), scored("abc", range(4), value=2.0), scored("vi", range(2, 4))
    found, rows = run(*parts)
    assert list(found["method"].values) == ["vi", "abc"] == [row["method"] for row in rows]
    assert list(found["case"].values) == [0, 1, 2, 3]
    for position, expected in enumerate((xr.concat([parts[0], parts[2]], "case", data_vars="minimal"), parts[1])):
        xr.testing.assert_allclose(found.isel(method=position, drop=True), expected)
    assert found["mean"].dims == ("method", "case", "time", "channel", "x")


@pytest.mark.slow
def test_what_a_method_does_not_have_is_missing(run) -> None:
    one, two = scored("vi", range(3)), scored("abc", range(2), bins=3, iterations=4)
    found, _ = run(one.assign(info_seconds=("case", np.ones(3))), two)
    assert found.sizes["bin"] == 5
    assert found.sizes["iteration"] == 4
    np.testing.assert_array_equal(found["rmse"].notnull().sum(["case", "time"]), [12, 8])
    np.testing.assert_array_equal(found["rank_histogram"][:, 0, 0].notnull().sum("bin"), [5, 3])
    np.testing.assert_array_equal(found["info_objective"][:, 0].notnull().sum("iteration"), [2, 4])
    np.testing.assert_array_equal(found["info_seconds"].notnull().sum("case"), [3, 0])


@pytest.mark.slow
def test_chunks_of_a_method_may_iterate_for_different_times(run) -> None:
    found, _ = run(scored("vi", range(2), iterations=2), scored("vi", range(2, 4), iterations=5))
    np.testing.assert_array_equal(found["info_objective"][0].notnull().sum("iteration"), [2, 2, 5, 5])


@pytest.mark.slow
def test_attributes_that_all_share_are_kept(run) -> None:
    found, _ = run(scored("vi", range(2)), scored("abc", range(2)))
    assert found.attrs["experiment"] == "lorenz"
    assert "method" not in found.attrs
    assert "device" not in found.attrs


def test_the_comparison_says_what_it_depends_on_itself(run) -> None:
    parts = (scored(name, range(2)).assign_attrs(configuration=name, code="of the scores") for name in ("vi", "abc"))
    found, _ = run(*parts, window=2, cycles=2, burn_in=1)
    depends = dependencies("aggregate", study(window=2, cycles=2, burn_in=1))
    assert json.loads(found.attrs["configuration"]) == depends.configuration
    assert json.loads(found.attrs["code"]) == depends.modules


@pytest.mark.slow
def test_the_table_rounds_the_summary(run) -> None:
    found, rows = run(
        scored("vi", range(4)).assign(info_seconds=("case", np.full(4, 0.012345))), scored("abc", range(4))
    )
    summary = summarize(found, window=3).isel(method=0)
    row = rows[0]
    assert row["RMSE, window end (m/s)"] == "2.500"
    assert row["RMSE standard error, window end (m/s)"] == "0.65" == f"{float(summary['rmse_error'][1]):.2f}"
    assert row["spread-skill ratio, start"] == f"{np.sqrt(101 / 100):.3f}"
    assert row["coverage of 95 %, forecast end (%)"] == "75.0"
    assert row["log-likelihood (nat)"] == "-123.46"
    assert row["wall time per case (s)"] == "0.0123"
    assert row["wall time per draw (s)"] == "0.000123"
    assert row["gradients per case"] == ""
    assert "network calls per draw" not in row
    assert (row["cases"], row["samples"]) == ("4", "100")
    assert rows[1]["wall time per case (s)"] == ""


def test_large_numbers_keep_all_digits_of_their_integer_part(run) -> None:
    _, rows = run(scored("vi", range(1)).assign(info_model_steps=("case", [1234567.0])))
    assert rows[0]["model steps per case"] == "1234567"


def test_networks_have_columns_where_some_method_has_one(run) -> None:
    calls = {"info_network_calls": ("case", [960.0, 960.0]), "info_network_pullbacks": ("case", [0.0, 0.0])}
    _, rows = run(scored("sda", range(2)).assign(calls), scored("etkf", range(2)))
    assert [row["network calls per draw"] for row in rows] == ["960.0", ""]
    assert [row["network pullbacks per draw"] for row in rows] == ["0.000", ""]


def test_without_a_forecast_there_is_no_end_of_it(run) -> None:
    _, rows = run(scored("vi", range(2)), window=TIMES)
    assert not any("forecast end" in name for name in rows[0])


def test_a_file_without_a_method_is_refused(run, tmp_path) -> None:
    with pytest.raises(DataError, match="no attribute 'method'") as raised:
        run(scored("vi", range(2)), scored(None, range(2)))
    assert str(tmp_path / "1.nc") in str(raised.value)


def test_a_repeated_chunk_is_refused(run) -> None:
    with pytest.raises(DataError, match=r"0\.nc, .*1\.nc: case 1 of method 'vi' appears more than once"):
        run(scored("vi", range(2)), scored("vi", range(1, 3)))


def test_no_files_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="no metrics"):
        aggregate(study(), [], tmp_path / "metrics.nc", tmp_path / "table.csv")


def test_nothing_is_left_of_a_table_that_cannot_be_made(tmp_path: Path) -> None:
    data.write(scored("vi", range(2)), tmp_path / "0.nc", "metrics", data.SCORES)
    with pytest.raises(DataError, match="the window 9"):
        aggregate(study(window=9), [tmp_path / "0.nc"], tmp_path / "metrics.nc", tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.slow
def test_distances_are_in_the_table_if_one_method_has_them(run) -> None:
    distances = {
        "mean_error": (("case", "time"), np.full((4, TIMES), 0.5)),
        "mean_error_floor": (("case", "time"), np.full((4, TIMES), 0.1)),
        "c2st": ("case", np.array([0.6, 0.7, 0.8, 0.9])),
    }
    _, rows = run(scored("vi", range(4)).assign(distances), scored("abc", range(4)))
    assert rows[0]["error of the mean to the reference, window end"] == "0.5000"
    assert rows[0]["error of the mean to the reference between runs of the reference, window end"] == "0.1000"
    assert (rows[0]["C2ST"], rows[0]["C2ST standard error"]) == ("0.7500", "0.065")
    assert rows[1]["C2ST"] == ""
    assert not any("MMD" in name for name in rows[0])


@pytest.mark.slow
def test_credible_regions_are_in_the_table_if_one_method_has_them(run) -> None:
    own = {
        "energy_score": (("case", "time"), np.full((4, TIMES), 1.5)),
        "log_score": ("case", np.array([-3.0, -4.0, -5.0, -6.0])),
        "hpd_rank": ("case", np.array([0.1, 0.4, 0.7, 0.93])),
        "predictive_coverage": (("case", "level"), np.full((4, 4), 0.75)),
    }
    _, rows = run(scored("vi", range(4)).assign(own), scored("abc", range(4)))
    row = rows[0]
    assert row["energy score, window end (m/s)"] == "1.500"
    assert (row["log score (nat)"], row["log score standard error (nat)"]) == ("-4.5000", "0.65")
    assert [row[f"coverage of {level} % by highest density (%)"] for level in (50, 80, 90, 95)] == [
        "50.0", "75.0", "75.0", "100",
    ]  # fmt: skip
    assert row["coverage of 90 % of new observations (%)"] == "75.0"
    # Too few cases for a test; and the other method has none of it.
    assert row["p-value of credibilities by highest density"] == rows[1]["log score (nat)"] == ""
    assert not any("random points" in name or "variogram" in name or "AUC" in name for name in row)


def classified(method: str, area: float) -> xr.Dataset:
    """What classifiers tell of a method."""
    variables = {
        "auc": ("space", [area, 0.5]),
        "auc_std": ("space", [0.01, 0.02]),
        "true_positive_rate": (("space", "false_positive_rate"), np.tile([0.0, 0.5, 1.0], (2, 1))),
    }
    coordinates = {"space": ["state", "observation"], "false_positive_rate": [0.0, 0.5, 1.0]}
    return xr.Dataset(variables, coordinates, {"experiment": "lorenz", "method": method})


@pytest.mark.slow
def test_classifiers_stand_beside_the_methods_that_have_them(tmp_path) -> None:
    for method in ("vi", "npe"):
        data.write(scored(method, range(3)), tmp_path / f"{method}.nc", "metrics", data.SCORES)
    data.write(classified("npe", 0.61), tmp_path / "classifier.nc", "classifier", data.SCORES)
    output, table = tmp_path / "metrics.nc", tmp_path / "table.csv"
    paths = [tmp_path / f"{method}.nc" for method in ("vi", "npe")]
    aggregate(study(), paths, output, table, classifiers=[tmp_path / "classifier.nc"])
    found = data.read(output, "comparison", data.SCORES).load()
    assert found["auc"].dims == ("method", "space")
    np.testing.assert_allclose(found["auc"], [[np.nan, np.nan], [0.61, 0.5]], rtol=1e-6)
    assert found["true_positive_rate"].sizes == {"method": 2, "space": 2, "false_positive_rate": 3}
    assert list(found["method"].values) == ["vi", "npe"]
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["AUC, state"] == "0.6100"
    assert rows[1]["AUC standard error, observation"] == "0.020"
    assert rows[0]["AUC, state"] == ""
    with pytest.raises(DataError, match=r"classifier\.nc: is of the method 'npe', which has no metrics"):
        aggregate(study(), paths[:1], output, table, classifiers=[tmp_path / "classifier.nc"])


@pytest.mark.slow
def test_parameters_are_in_the_table_by_name(run) -> None:
    names = ("error", "std", "crps", "rank")
    parameters = {f"parameter_{name}": (("case", "parameter"), np.full((4, 1), 0.25)) for name in names}
    parameters["parameter_coverage"] = (("case", "parameter", "level"), np.full((4, 1, 4), 0.75))
    found, rows = run(scored("vi", range(4)).assign(parameters).assign_coords(parameter=["F"]), scored("abc", range(4)))
    assert found["parameter_error"].dims == ("method", "case", "parameter")
    assert rows[0]["error of F"] == rows[0]["CRPS of F"] == "0.2500"
    assert rows[0]["coverage of 90 % of F (%)"] == "75.0"
    assert rows[1]["error of F"] == ""


@pytest.mark.slow
def test_filters_beside_smoothers_are_missing_before_the_window_ends(run) -> None:
    part = scored("enkf", range(3))
    for name in ("mean", "std", "rmse", "spread", "crps", "rank_histogram", "coverage"):
        part[name] = part[name].where(part["time"] > 0.15)
    _, rows = run(part, scored("vi", range(3)))
    assert rows[0]["RMSE, start (m/s)"] == ""
    assert rows[0]["RMSE, window end (m/s)"] == rows[1]["RMSE, window end (m/s)"] == "2.000"
    assert rows[0]["cases"] == "3"


@pytest.mark.slow
def test_cycles_have_analyses_in_the_table(run) -> None:
    _, rows = run(scored("enkf", range(3)), window=1, cycles=4, burn_in=1)
    assert rows[0]["RMSE, analysis (m/s)"] == "2.000"
    assert not any("window end" in name for name in rows[0])


def test_methods_that_failed_have_a_row_that_names_their_log(tmp_path) -> None:
    """And the scores say that they lack them, so that they are redone with them."""
    methods = {name: {"kind": "prior"} for name in ("first", "broken", "vi")}
    experiment = Experiment.model_validate({**study().model_dump(), "methods": methods})
    paths = []
    for name in ("first", "vi"):
        paths.append(tmp_path / f"{name}.nc")
        data.write(scored(name, range(4)), paths[-1], "metrics", data.SCORES)
    output, table = tmp_path / "metrics.nc", tmp_path / "table.csv"
    aggregate(experiment, paths, output, table, failed={"broken": "results/study/logs/assimilate/broken/0.log"})
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["first", "broken", "vi"]
    assert [row["failed"] for row in rows] == ["", "see results/study/logs/assimilate/broken/0.log", ""]
    assert set(rows[1].values()) == {"broken", "", "see results/study/logs/assimilate/broken/0.log"}
    made = data.read(output, "comparison", data.SCORES)
    assert made["method"].values.tolist() == ["first", "vi"]
    assert json.loads(made.attrs["failed"]) == {"broken": "results/study/logs/assimilate/broken/0.log"}
    assert json.loads(made.attrs["configuration"])["methods"] == ["first", "vi"]


def test_the_verdict_is_of_the_joined_methods_and_names_those_that_failed(tmp_path) -> None:
    for name, value in (("good", 1.0), ("poor", 2.0)):
        data.write(scored(name, range(4), value=value), tmp_path / f"{name}.nc", "metrics", data.SCORES)
    files = [tmp_path / "poor.nc", tmp_path / "good.nc"]
    verdict = tmp_path / "results" / "study" / "verdict.json"
    aggregate(study(), files, tmp_path / "all.nc", tmp_path / "table.csv", failed={"npe": "a.log"}, verdict=verdict)
    found = kept(verdict)
    # In each case the one is worse by one.
    assert [(one["method"], one["place"], one["score"]) for one in found["methods"]] == [
        ("good", 1, 2.5), ("poor", 2, 3.5),
    ]  # fmt: skip
    assert found["floor"] is None
    assert "npe failed" in found["distrust"]
    said = list(verdicts(tmp_path / "results", ["study", "none"]))
    assert said[0].split() == ["place", "method", "CRPS", "calibrated", "by"]
    assert [line.split()[:3] for line in said[1:3]] == [["1", "good", "2.5"], ["2", "poor", "3.5"]]
    assert " ".join(said[5:]).endswith(f"{found['won']} {found['distrust']}")
    shutil.copytree(verdict.parent, tmp_path / "results" / "other")
    both = list(verdicts(tmp_path / "results", ["study", "other"]))
    assert both == [f"{name}: {found['won']}" for name in ("study", "other")]
    verdict.write_text("{")
    with pytest.raises(DataError, match=r"verdict\.json: cannot be read as a verdict .*; aggregate again"):
        kept(verdict)
