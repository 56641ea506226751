"""The task that reads files, draws one figure and writes it twice."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import image
from matplotlib.figure import Figure
from PIL import Image

from posterity.data import SCORES, write
from posterity.data.artifacts import described
from posterity.data.times import model_times
from posterity.errors import ConfigError, DataError, PosterityError
from posterity.experiment import Experiment, catalog
from posterity.experiment.dependencies import dependencies
from posterity.figures.drawing.film import Film
from posterity.metrics import RATES, evaluate
from posterity.tasks.aggregate import aggregate
from posterity.tasks.plot import plot, save_film

CASES, SAMPLES, TIMES, SITES, WINDOW = 3, 20, 6, 5, 4
METHODS = {"sharp": 0.3, "blunt": 1.0}
PARAMETERS = ("forcing", "coupling")
Plot = Callable[..., None]


def study(figures: dict | None = None, **methods: dict) -> Experiment:
    """The made-up study, of two windows in a row; what figures show of it, and what methods say beside their kind."""
    return Experiment.model_validate(
        {
            "title": "A ring, observed itself",
            "system": {"kind": "linear", "options": {"size": SITES}},
            "observation": {"std": 0.5},
            "prior": {"std": 1.0},
            "window": WINDOW // 2,
            "cycles": 2,
            "burn_in": 1,
            "parameters": {name: {"kind": "normal", "options": {"mean": 0.0, "std": 1.0}} for name in PARAMETERS},
            "splits": {"test": {"cases": CASES}},
            "methods": {name: {"kind": "prior", **methods.get(name, {})} for name in METHODS},
            "figures": figures or {},
        }
    )


def coordinates(cases: np.ndarray) -> dict:
    """Coordinates of a ring of sites; case numbers do not start at zero."""
    return {
        "case": cases,
        "time": model_times(0.1, range(TIMES), TIMES),
        "channel": ["x"],
        "x": np.arange(SITES),
        "parameter": list(PARAMETERS),
    }


def made_classifier(method: str, path: Path) -> Path:
    """Writes what a classifier tells of a method."""
    classifier = xr.Dataset(
        {
            "auc": ("space", np.array([0.6, 0.55])),
            "auc_std": ("space", np.array([0.02, 0.03])),
            "true_positive_rate": (("space", "false_positive_rate"), np.tile(RATES**0.8, (2, 1))),
        },
        {"space": ["state", "observation"], "false_positive_rate": RATES},
        {"method": method},
    )
    write(classifier, path, "classifier", SCORES)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a made-up study: a twin, two methods and a reference in two chunks of cases, and the metrics."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("study")
    cases, event = np.arange(10, 10 + CASES), ("time", "channel", "x")
    truth = rng.standard_normal((CASES, TIMES, 1, SITES)).cumsum(axis=1)
    observation = truth + 0.5 * rng.standard_normal(truth.shape)
    observation[:, WINDOW:] = np.nan
    units = {"units": "m"}
    obs = ("case", "time", "obs_channel", "obs_x")
    twin = xr.Dataset(
        {
            "state": (("case", *event), truth, units),
            "theta": (("case", "parameter"), rng.standard_normal((CASES, len(PARAMETERS)))),
            "background": (("case", "channel", "x"), truth[:, 0] + 1, units),
            "background_std": (("case", "channel", "x"), np.ones_like(truth[:, 0]), units),
            "observation": (obs, observation, {**units, "of_state": 1}),
            "observation_std": (obs, np.full_like(truth, 0.5), units),
        },
        coordinates(cases),
    )
    write(twin, folder / "twin.nc", "twin")
    files = []
    for method, std in {**METHODS, "reference": 0.5}.items():
        draws = truth[:, None] + std * rng.standard_normal((CASES, SAMPLES, TIMES, 1, SITES))
        posterior = xr.Dataset(
            {
                "state": (("case", "sample", *event), draws, units),
                "theta": (
                    ("case", "sample", "parameter"),
                    std * rng.standard_normal((CASES, SAMPLES, len(PARAMETERS))),
                ),
                "log_likelihood": (("case", "sample"), rng.standard_normal((CASES, SAMPLES)), {"units": "nat"}),
                "info_objective": (("case", "iteration"), np.tile([9.0, 3.0, 2.0], (CASES, 1))),
                "info_seconds": ("case", np.ones(CASES)),
            },
            coordinates(cases),
            {"method": method},
        )
        if method == "reference":
            posterior = posterior.assign_attrs(method="smc").assign_coords(run=("sample", np.arange(SAMPLES) % 2))
        for chunk in (slice(0, 2), slice(2, None)):
            part = posterior.isel(case=chunk)
            write(part, folder / f"{method}-{chunk.start}.nc", "posterior")
            if method == "reference":
                continue
            files.append(folder / f"metrics-{method}-{chunk.start}.nc")
            write(evaluate(twin.isel(case=chunk), part).assign_attrs(method=method), files[-1], "metrics", SCORES)
    classifiers = [made_classifier(method, folder / f"classifier-{method}.nc") for method in METHODS]
    aggregate(study(), files, folder / "metrics.nc", folder / "metrics.csv", classifiers)
    for epochs, method in enumerate(METHODS, start=3):
        (folder / "models" / method).mkdir(parents=True)
        records = [{"epoch": n, "train_loss": 1 / n, "valid_loss": 2 / n, "seconds": 0.5} for n in range(1, epochs)]
        (folder / "models" / method / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "models" / next(iter(METHODS)) / "estimator.json").write_bytes(described({"loss_units": "nat"}, {}))
    return folder


@pytest.fixture
def draw(folder: Path, tmp_path: Path) -> Plot:
    """Draws a figure of the study into ``figure.svg`` and ``figure.png`` of the test's own folder."""
    posteriors = [folder / f"{method}-{start}.nc" for method in METHODS for start in (0, 2)]
    inputs = {"twin": folder / "twin.nc", "metrics": folder / "metrics.nc", "posteriors": posteriors}
    inputs["histories"] = [folder / "models" / method / "history.jsonl" for method in METHODS]
    inputs |= {"output": tmp_path / "figure.svg", "reference": folder / "reference-0.nc"}

    def drawn(name: str, experiment: Experiment | None = None, **changes: Path | list[Path] | None) -> None:
        """Draws it, of some other experiment or other files."""
        plot(experiment or study(), name, **{**inputs, **changes})

    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(catalog.CATALOG["figure"]))
def test_every_figure_is_written_twice_and_again_to_the_byte(draw, tmp_path, name):
    draw(name)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    moving = {"figure.gif"} if name == "animation" else set()
    assert set(first) == {"figure.svg", "figure.png"} | moving
    with mpl.rc_context({"font.size": 15, "svg.fonttype": "none", "savefig.dpi": 50}):
        draw(name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


@pytest.mark.slow
def test_files_hold_paths_and_no_date(draw, tmp_path):
    draw("scores")
    drawing = (tmp_path / "figure.svg").read_text()
    root = ElementTree.fromstring(drawing)
    assert not list(root.iter("{http://www.w3.org/2000/svg}text"))
    assert "<dc:date>" not in drawing
    assert image.imread(tmp_path / "figure.png").shape[1] == round(6.9 * 300)


@pytest.mark.slow
def test_only_what_a_figure_shows_is_read(draw, tmp_path):
    nowhere = tmp_path / "nowhere.nc"
    draw("scores", twin=nowhere, posteriors=[nowhere])
    draw("table", twin=nowhere, posteriors=[nowhere])
    draw("covariance", metrics=nowhere)
    with pytest.raises(PosterityError, match=r"nowhere\.nc: there is no such file"):
        draw("scores", metrics=nowhere)


def test_a_figure_says_what_it_depends_on(draw, tmp_path):
    draw("scores")
    depends = dependencies("plot", study(), "scores")
    expected = {"configuration": depends.configuration, "code": depends.modules}
    root = ElementTree.parse(tmp_path / "figure.svg").getroot()
    (said,) = root.iter("{http://purl.org/dc/elements/1.1/}description")
    assert json.loads(said.text) == json.loads(json.dumps(expected))


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What the task hands to a figure of trajectories."""
    seen: dict = {}

    def spy(twin, posteriors, window, observes_state, sites):
        """Notes the arguments, and draws nothing."""
        seen.update(twin=twin, posteriors=posteriors, window=window, observes_state=observes_state, sites=sites)
        return Figure(figsize=(1, 1))

    monkeypatch.setattr(catalog, "resolve", lambda group, name: spy)
    return seen


def test_one_case_is_chosen_by_its_place_and_found_by_its_number(draw, arguments, folder):
    draw("trajectories", study({"case": 2, "sites": [1]}))
    assert arguments["twin"]["case"].item() == 12
    assert list(arguments["sites"]) == [1]
    assert [posterior.attrs["method"] for posterior in arguments["posteriors"]] == list(METHODS)
    for method, posterior in zip(METHODS, arguments["posteriors"], strict=True):
        expected = xr.open_dataset(folder / f"{method}-2.nc")["state"].sel(case=12)
        np.testing.assert_array_equal(posterior["state"], expected)


def test_labels_replace_names(draw, arguments):
    draw("trajectories", study(sharp={"label": "Sharp as a knife"}))
    assert [posterior.attrs["method"] for posterior in arguments["posteriors"]] == ["Sharp as a knife", "blunt"]


@pytest.mark.slow
@pytest.mark.parametrize(("said", "expected"), [({"of_state": 1}, True), ({"of_state": 0}, False), ({}, False)])
def test_observations_say_whether_they_are_of_the_state(draw, arguments, folder, tmp_path, said, expected):
    twin = xr.open_dataset(folder / "twin.nc").load()
    twin["observation"].attrs = said
    own = tmp_path / "own.nc"
    write(twin, own, "twin")
    draw("trajectories", twin=own)
    assert arguments["observes_state"] is expected


def test_unknown_figures_and_cases_are_named(draw, folder):
    with pytest.raises(ConfigError, match="unknown figure 'score'; did you mean 'scores'"):
        draw("score")
    with pytest.raises(PosterityError, match=r"has 3 cases, so there is no case 3.*figures\.case"):
        draw("data", study({"case": 3}))
    with pytest.raises(PosterityError, match="no draws of sharp for case 12"):
        draw("covariance", study({"case": 2}), posteriors=[folder / "sharp-0.nc"])


def test_the_reference_is_that_of_the_case(draw, folder, monkeypatch):
    seen: dict = {}

    def spy(reference, twins):
        """Notes the arguments, and draws nothing."""
        seen.update(reference=reference, twins=twins)
        return Figure(figsize=(1, 1))

    monkeypatch.setattr(catalog, "resolve", lambda group, name: spy)
    draw("corner", study({"case": 1}))
    expected = xr.open_dataset(folder / "reference-0.nc").sel(case=11)
    np.testing.assert_array_equal(seen["reference"]["state"], expected["state"])
    np.testing.assert_array_equal(seen["reference"]["theta"], expected["theta"])
    assert seen["twins"].sizes["case"] == CASES
    with pytest.raises(PosterityError, match=r"reference-0\.nc: there is no case 12"):
        draw("corner", study({"case": 2}))


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What the task hands to a figure of trainings, of all methods and of one case."""
    seen: dict = {}

    def spy(standard, metrics, summary, histories):
        """Notes the arguments, and draws nothing."""
        seen.update(standard=standard, metrics=metrics, summary=summary, histories=histories)
        return Figure(figsize=(1, 1))

    monkeypatch.setattr(catalog, "resolve", lambda group, name: spy)
    return seen


@pytest.mark.slow
def test_the_standard_is_the_reference_or_a_method(draw, handed, folder):
    draw("reference")
    assert handed["standard"].attrs["method"] == "reference"
    draw("reference", study(blunt={"label": "Blunt as a spoon"}), reference=folder / "blunt-0.nc")
    assert handed["standard"].attrs["method"] == "Blunt as a spoon"


@pytest.mark.slow
def test_of_a_group_the_first_method_is_shown_but_for_the_table(draw, handed):
    draw("table", study(sharp={"group": "knives", "label": "knives (1)"}, blunt={"group": "knives"}))
    assert handed["metrics"]["method"].values.tolist() == ["knives (1)"]
    assert handed["summary"]["method"].values.tolist() == ["knives (1)", "blunt"]
    assert handed["histories"]["group"].values.tolist() == ["knives", "knives"]


@pytest.mark.slow
def test_histories_are_read_by_epoch(draw, handed):
    draw("training")
    histories = handed["histories"]
    assert histories["method"].values.tolist() == histories["group"].values.tolist() == list(METHODS)
    np.testing.assert_array_equal(histories["valid_loss"], [[2, 1, np.nan], [2, 1, 2 / 3]])
    np.testing.assert_array_equal(histories["epoch"], [1, 2, 3])
    # Of an older description, units are not known.
    assert histories["unit"].values.tolist() == ["nat", ""]
    assert histories.attrs["methods"] == list(METHODS)


def test_a_damaged_history_is_named(draw, tmp_path):
    broken = tmp_path / "npe" / "history.jsonl"
    broken.parent.mkdir()
    broken.write_text('{"epoch": 1, "train_lo')
    with pytest.raises(DataError, match=r"npe/history\.jsonl: cannot be read as a history"):
        draw("training", histories=[broken])


@pytest.mark.slow
def test_figures_that_need_a_reference_say_so_and_others_do_without(draw):
    with pytest.raises(
        PosterityError, match="figure 'corner': draws the reference, and there is none; give --reference"
    ):
        draw("corner", reference=None)
    draw("covariance", reference=None)


@pytest.mark.slow
def test_a_failed_figure_leaves_the_last_one(draw, tmp_path):
    draw("data")
    before = (tmp_path / "figure.svg").read_bytes()
    with pytest.raises(PosterityError):
        draw("trajectories", study({"sites": [SITES]}))
    assert (tmp_path / "figure.svg").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_an_animation_has_all_its_frames_and_begins_again(tmp_path) -> None:
    figure = Figure(figsize=(1, 1))
    colours = ["#ff0000", "#00ff00", "#0000ff"]
    for place, colour in enumerate(colours):
        figure.add_axes((0, 0.05 * place, 0.05, 0.05), facecolor=colour)
    save_film(Film(figure, 3, lambda frame: figure.set_facecolor(colours[frame])), tmp_path / "film.gif", "film")
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.format, film.n_frames, film.info["loop"]) == ("GIF", 3, 0)
        for frame, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
            film.seek(frame)
            np.testing.assert_allclose(film.convert("RGB").getpixel((70, 20)), colour, atol=8)
