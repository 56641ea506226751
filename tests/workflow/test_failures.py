"""A method that fails costs that method only, and the next run tries it again."""

import csv

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]

BROKEN = """
from posterity.baselines.montecarlo.prior import Prior


class Broken(Prior):
    def sample(self, window, samples):
        raise RuntimeError("broken on purpose")
"""
WANTED = ("results/tiny/table.csv", "results/tiny/figures/coverage.svg")


@pytest.fixture
def broken(study):
    """A finished study to which a method is added that fails."""
    (study.folder / "mylab.py").write_text(BROKEN)
    study.environment["PYTHONPATH"] += f":{study.folder}"
    study.edit("config/experiments/tiny.yaml", "\nmethods:\n", '\nmethods:\n  broken: {kind: "mylab:Broken"}\n')
    return study


def test_a_method_that_fails_costs_that_method_only(broken):
    def table() -> dict[str, dict[str, str]]:
        with (broken.results / "table.csv").open() as file:
            return {row["method"]: row for row in csv.DictReader(file)}

    figure = broken.results / "figures" / "coverage.svg"
    before = figure.stat().st_mtime_ns
    code, printed = broken.end("--", *WANTED)
    assert code != 0
    last = [line for line in printed.splitlines() if line][-2:]
    for shard, line in enumerate(last):
        log = f"results/tiny/logs/assimilate/broken/{shard}.log"
        assert line == f"failed: assimilate: broken, test shard {shard} of tiny; see {log}"
        assert "broken on purpose" in (broken.folder / log).read_text()
    rows = table()
    assert list(rows) == ["prior", "4dvar", "npe", "broken"]
    assert rows["broken"]["failed"] == "see results/tiny/logs/assimilate/broken/0.log"
    assert rows["4dvar"]["RMSE, start"]
    assert not rows["4dvar"]["failed"]
    assert figure.stat().st_mtime_ns > before

    # The next run tries again, and makes nothing anew of what it makes without.
    made = (broken.results / "table.csv").stat().st_mtime_ns
    code, printed = broken.end("--", *WANTED)
    assert code != 0
    assert "Error in rule assimilate" in printed
    assert (broken.results / "table.csv").stat().st_mtime_ns == made

    # Once it is mended, it stands in the table.
    broken.edit("mylab.py", 'raise RuntimeError("broken on purpose")', "return super().sample(window, samples)")
    code, printed = broken.end("--", *WANTED)
    assert code == 0, printed
    assert "failed" not in next(iter(table().values()))
    assert table()["broken"]["RMSE, start"]
