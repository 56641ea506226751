"""The page of an experiment: the table first, captions for all figures, the configuration, nothing from elsewhere."""

import re
from base64 import b64encode

import pytest
import yaml

from posterity.errors import DataError
from posterity.experiment import catalog
from posterity.metrics import Judged, Verdict
from posterity.tasks.files.verdict import keep
from posterity.tasks.report import CAPTIONS, report

TABLE = "method,RMSE,failed\nprior,1.25,\nnpe,,see results/study/logs/train/npe.log\n"


@pytest.fixture
def page(experiment, tmp_path):
    """Writes the page of some figures, and returns it."""

    def made(*names: str) -> str:
        (tmp_path / "table.csv").write_text(TABLE)
        figures = [tmp_path / f"{name}.svg" for name in names]
        for figure in figures:
            figure.write_text(f"<svg>{figure.stem}</svg>")
        report(experiment(title="A < B"), tmp_path / "table.csv", figures, tmp_path / "report.html")
        return (tmp_path / "report.html").read_text()

    return made


def test_every_figure_has_a_caption() -> None:
    assert set(CAPTIONS) == set(catalog.names("figure"))


def test_the_table_stands_first_and_each_figure_has_its_caption(page) -> None:
    text = page("data", "of_another_package", "table", "scores")
    assert re.findall(r'<img alt="(\w+)"', text) == ["table", "scores", "data", "of_another_package"]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", text) == [
        CAPTIONS["table"], CAPTIONS["scores"], CAPTIONS["data"], "of_another_package",
    ]  # fmt: skip
    assert text.index("<td>1.25</td>") > text.index('alt="table"')
    assert text.index("<td>1.25</td>") < text.index('alt="scores"')


def test_it_names_what_failed_and_carries_the_configuration(page, experiment) -> None:
    text = page()
    assert "<b>npe failed</b>: see results/study/logs/train/npe.log" in text
    assert "<h1>A &lt; B</h1>" in text
    (shown,) = re.findall(r"<pre>(.*?)</pre>", text, flags=re.DOTALL)
    assert yaml.safe_load(shown.replace("&lt;", "<").replace("&#x27;", "'")) == experiment(title="A < B").model_dump(
        mode="json"
    )
    assert not re.search(r'(?:src|href)="?(?!data:)', text)


def test_a_missing_table_is_named(experiment, tmp_path) -> None:
    with pytest.raises(DataError, match=r"table\.csv: cannot be read \(No such file or directory\); aggregate"):
        report(experiment(), tmp_path / "table.csv", [], tmp_path / "report.html")


def test_what_moves_is_shown_moving(experiment, tmp_path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    files = [tmp_path / "animation.gif", tmp_path / "animation.svg", tmp_path / "data.svg"]
    for file in files:
        file.write_bytes(file.name.encode())
    report(experiment(), tmp_path / "table.csv", files, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert re.findall(r'<img alt="(\w+)" src="data:([\w/+]+);base64,(\w+=*)">', text) == [
        ("data", "image/svg+xml", b64encode(b"data.svg").decode()),
        ("animation", "image/gif", b64encode(b"animation.gif").decode()),
    ]
    with pytest.raises(DataError, match=r"scores\.png: a page shows \.svg and \.gif"):
        report(experiment(), tmp_path / "table.csv", [tmp_path / "scores.png"], tmp_path / "report.html")


def test_the_verdict_stands_before_all_else(experiment, tmp_path) -> None:
    one = Judged("4dvar", 1, 0.125, 0.01, 16, False, "ranks of the truth at the start, p = 0.003", float("nan"), 1.5)
    nan = float("nan")
    found = Verdict("CRPS", "", "window end", 16, nan, (one,), "4dvar < all others.", "Distrust: 4dvar.")
    keep(found, tmp_path / "verdict.json")
    (tmp_path / "table.csv").write_text(TABLE)
    report(experiment(), tmp_path / "table.csv", [], tmp_path / "report.html", tmp_path / "verdict.json")
    text = (tmp_path / "report.html").read_text()
    assert "<b>4dvar &lt; all others.</b>" in text
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    assert re.findall(r"<t[hd][^>]*>(.*?)</t", rows[0]) == ["place", "method", "CRPS", "calibrated", "by", "s/case"]
    assert re.findall(r"<t[hd][^>]*>(.*?)</t", rows[1]) == [
        "1", "4dvar", "0.125 ± 0.010", "no", "ranks of the truth at the start, p = 0.003", "1.5",
    ]  # fmt: skip
    # Words begin on the left, under their heads.
    assert re.findall(r"<t[hd] class=words>(.*?)</t", rows[0]) == ["method", "calibrated", "by"]
    assert text.index("Distrust: 4dvar.") < text.index("<td>1.25</td>")
