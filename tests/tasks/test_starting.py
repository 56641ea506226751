"""Files to begin with: what is written works as it is, and a table of observations goes through to a figure."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from posterity import cli, data
from posterity.errors import ConfigError, DataError
from posterity.experiment import files, load
from posterity.tasks.check import check
from posterity.tasks.starting.new import new
from posterity.tasks.starting.tables import import_table

TABLE = """\
when, Bergen, Oslo, Bodø, remark
2024-01-01T18:00, , 0.4, 2.0, late
2024-01-01T00:00, 1.5, , 3.2, ok
2024-01-01T06:00, 2.5, 0.1, -999, ok
"""
STUDY = {
    "title": "Stations",
    "system": {"kind": "lorenz96", "options": {"size": 8, "dt": 0.05, "spinup": 2.0}},
    "observation": {"std": [0.5, 1.5]},
    "prior": {"std": 1.0},
    "window": 4,
    "forecast": 2,
    "time_unit": "5 days",
    "splits": {"test": {"cases": 1}},
    "samples": 50,
    "methods": {"etkf": {"kind": "etkf", "options": {"members": 50}}, "4dvar": {"kind": "4dvar"}},
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty project, where modules are found that are written into it."""
    (tmp_path / files.EXPERIMENTS).mkdir(parents=True)
    (tmp_path / files.EXPERIMENTS / "stations.yaml").write_text(yaml.safe_dump(STUDY))
    (tmp_path / "my.csv").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def posterity(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Runs a command."""
    monkeypatch.setattr(sys, "argv", ["posterity", *line.split()])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code


@pytest.mark.slow
def test_what_is_new_works_at_once(project) -> None:
    assert list(new("experiment", "mine"))[1:] == ["  posterity check mine", "  posterity run mine"]
    assert list(new("system", "my-ring"))[1] == '  system: {kind: "my_ring:MyRing"}'
    assert list(new("method", "weighted"))[1] == '  methods: {mine: {kind: "weighted:Weighted"}}'
    said = list(check("mine", load("mine")))
    assert said[1].split() == ["system", "lorenz96,", "states", "(1,", "16),", "dt", "0.1"]
    tree = yaml.safe_load((files.EXPERIMENTS / "mine.yaml").read_text())
    tree["system"], tree["methods"]["own"] = {"kind": "my_ring:MyRing"}, {"kind": "weighted:Weighted"}
    (files.EXPERIMENTS / "own.yaml").write_text(yaml.safe_dump(tree))
    said = list(check("own", load("own")))
    assert said[1].split()[:2] == ["system", "my_ring:MyRing,"]
    assert any("own (weighted:Weighted)" in line for line in said)


def test_nothing_is_written_over_and_names_are_names(project) -> None:
    list(new("experiment", "mine"))
    with pytest.raises(ConfigError, match=r"mine\.yaml: is there already; choose another name"):
        list(new("experiment", "mine"))
    with pytest.raises(ConfigError, match="'a/b' is no name of an experiment"):
        list(new("experiment", "a/b"))
    for name in ("3d", "class", "-"):
        with pytest.raises(ConfigError, match=f"'{name}' cannot name a module of Python"):
            list(new("method", name))


@pytest.mark.slow
def test_a_table_is_a_figure_after_three_commands(project, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr("posterity.tasks.plot.save", lambda made, *_: drawn.append(made))
    columns = "--times when --columns Bergen Oslo Bodø --sites 0 3 5 --missing -999"
    posterity(monkeypatch, f"import my.csv --experiment stations {columns} --output my.nc")
    posterity(monkeypatch, "assimilate stations --method 4dvar --twin my.nc --output posterior.nc")
    posterity(monkeypatch, "plot stations --figure trajectories --twin my.nc --posterior posterior.nc --output my.svg")
    axes = drawn[0].axes
    assert [panel.get_title() for panel in axes] == ["Bergen", "Oslo", "Bodø"]
    assert {panel.get_xlabel() for panel in axes} == {"time (hours since 2024-01-01)"}
    # Where the observations stand, in time and value: 0.05 time units are six hours, so four states and two behind.
    for panel, expected in zip(axes, ([(0, 1.5), (6, 2.5)], [(6, 0.1), (18, 0.4)], [(0, 3.2), (18, 2.0)]), strict=True):
        x, y = panel.containers[0].lines[0].get_data()
        known = np.isfinite(y)
        np.testing.assert_allclose(np.column_stack([x, y])[known], expected, atol=1e-6)
        assert max(line.get_xdata()[-1] for line in panel.lines) == 30


def test_a_twin_has_what_the_table_says_and_what_it_leaves_out_is_the_experiments(project, caplog) -> None:
    places = {"columns": ["Oslo", "Bodø"], "sites": [3, 5], "missing": [-999]}
    with caplog.at_level(logging.INFO, "posterity"):
        import_table(load("stations"), Path("my.csv"), Path("my.nc"), "when", **places)
    assert "no background is given: the climatology's mean and spread stand for it" in caplog.text
    assert "my.nc: 4 of 6 values at 3 times, from Oslo, Bodø" in caplog.text
    twin = data.read(Path("my.nc"), "twin").load()
    assert list(twin["obs_x"].values[[3, 5]]) == list(twin["x"].values[[3, 5]]) == ["Oslo", "Bodø"]
    np.testing.assert_allclose(twin["observation"][0, :, 0, 3], [0.4, np.nan, 0.1])
    assert twin["observation"][0, :, 0, [0, 1, 2, 4, 6, 7]].isnull().all()
    np.testing.assert_allclose(twin["observation_std"][0, :, 0, 3], 1.0)
    np.testing.assert_allclose(twin["background"].mean(), 2.3, atol=0.7)
    (Path("b.csv")).write_text("background,background_std\n" + "".join(f"{n}.5,0.5\n" for n in range(8)))
    given = places | {"std": [0.25, 0.5], "background": Path("b.csv")}
    import_table(load("stations"), Path("my.csv"), Path("my.nc"), "when", **given)
    twin = xr.open_dataset("my.nc")
    np.testing.assert_allclose(twin["observation_std"][0, 0, 0, [3, 5]], [0.25, 0.5])
    np.testing.assert_allclose(twin["background"][0, 0], np.arange(8) + 0.5)


def test_columns_may_be_channels_and_times_numbers(project) -> None:
    study = STUDY | {"system": {"kind": "lorenz63", "options": {"spinup": 1.0}}, "time_unit": None}
    study["prior"] = {"joint": "climatology", "std": None}
    study["methods"] = {"prior-importance": {"kind": "prior-importance", "options": {"draws": 100}}}
    (files.EXPERIMENTS / "chaos.yaml").write_text(yaml.safe_dump(study))
    Path("l.csv").write_text("t,a,b,c\n0,1,2,3\n2,4,5,\n4,7,8,9\n6,1,1,1\n")
    import_table(load("chaos"), Path("l.csv"), Path("l.nc"), "t", units="minutes")
    twin = data.read(Path("l.nc"), "twin").load()
    assert twin["observation"].dims == ("case", "time", "obs_channel")
    np.testing.assert_allclose(twin["observation"][0, 1], [4, 5, np.nan])
    assert twin["time"].attrs["units"] == "minutes"
    assert list(twin["station"].values) == ["a", "b", "c"]
    assert "background" not in twin


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (TABLE, {"times": "wen"}, "--times: my.csv has no column 'wen'; did you mean 'when'?"),
        (TABLE, {"columns": ["Brgen"]}, "--columns: my.csv has no column 'Brgen'; did you mean 'Bergen'?"),
        (TABLE, {"columns": ["remark"], "sites": [0]}, "column 'remark' holds 'late' in row 2, and no number"),
        (TABLE, {"columns": ["Oslo"]}, "has 1 columns of observations, and the experiment observes .*--sites, numbers"),
        (TABLE, {"columns": ["Oslo"], "sites": [8]}, "--sites: 8 is no place of its own among 0 to 7"),
        (TABLE, {"columns": ["Oslo"], "sites": [1, 2]}, "--sites: 2 places for 1 columns; give one for each"),
        (TABLE, {"columns": ["Oslo"], "sites": [1], "std": [1.0, 2.0]}, "--std: 2 numbers for 1 columns"),
        ("when,Oslo\nyesterday night,1\n", {"sites": [1]}, "column 'when' holds no times .*2020-01-31T12:00"),
        ("when,Oslo\n", {"sites": [1]}, "has no rows"),
        ("when,Oslo\n0,1,2\n", {"sites": [1]}, "row 2 has 3 cells, and the head 2; mend it"),
        ("when,Oslo\n,1\n", {"sites": [1]}, "column 'when' has no time in row 2; fill it in"),
        (
            TABLE.replace("18:00", "16:00"),
            {"columns": ["Oslo"], "sites": [1]},
            "stands between the states of the model",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_named(project, table, options, message) -> None:
    Path("my.csv").write_text(table)
    with pytest.raises((ConfigError, DataError), match=message):
        import_table(load("stations"), Path("my.csv"), Path("my.nc"), **({"times": "when"} | options))
    assert not Path("my.nc").exists()
