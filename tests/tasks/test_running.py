"""Progress of a run, read from what Snakemake says, and its end."""

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from posterity.errors import ConfigError, PosterityError
from posterity.tasks.running import progress as progressing
from posterity.tasks.running.progress import Progress, clock, durations
from posterity.tasks.running.run import run, table

PLAN = """\
Job stats:
job           count
----------  -------
simulate          2
assimilate        4
default           1
total             7
"""


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The time, which stands still until a test moves it."""
    found = [100.0]
    monkeypatch.setattr(progressing, "monotonic", lambda: found[0])
    return found


def told(progress: Progress, *lines: str) -> list[str]:
    """What a progress makes of some lines."""
    return [said for line in lines if (said := progress.read(line))]


def test_it_counts_jobs_by_stage_and_says_which_ended(now) -> None:
    progress = Progress(start=now[0])
    assert told(progress, "Building DAG of jobs...", *PLAN.split("\n"), "Select jobs to execute...") == []
    assert {name: stage.total for name, stage in progress.stages.items()} == {"simulate": 2, "assimilate": 4}
    told(progress, "Job 3: simulate: shard 0 of the test split of demo", "Job 4: simulate: shard 1 of the test split")
    assert set(progress.running) == {"3", "4"}
    assert told(progress, "Finished jobid: 3 (Rule: simulate)", "1 of 7 steps (14%) done") == [
        "simulate: shard 0 of the test split of demo"
    ]
    assert (progress.done, progress.total) == (1, 6)
    failure = ["Error in rule simulate:", "    message: None", "    jobid: 4", "    log: results/a.log"]
    assert told(progress, *failure) == ["failed: simulate: shard 1 of the test split"]
    # Snakemake says it again when it ends.
    assert told(progress, *failure) == []
    assert progress.stages["simulate"].failed == 1
    told(progress, *PLAN.split("\n"))
    assert (progress.done, progress.total, progress.running) == (0, 6, {})


def test_the_time_left_is_that_of_the_jobs_ahead_at_the_pace_so_far(now) -> None:
    progress = Progress(start=now[0])
    told(progress, *PLAN.split("\n"))
    assert progress.left() is None
    told(progress, "Job 1: simulate: a", "Job 2: simulate: b")
    now[0] += 10
    told(progress, "Finished jobid: 1 (Rule: simulate)", "Finished jobid: 2 (Rule: simulate)")
    # Four jobs of which nothing is known, ten seconds each as all so far, two at a time.
    assert progress.left() == pytest.approx(20)
    known = Progress({"assimilate": 30.0}, start=now[0] - 10)
    known.stages, known.running = progress.stages, {}
    assert known.left() == pytest.approx(60)
    told(known, "Job 3: assimilate: c")
    now[0] += 10
    # Of 120 seconds ten are done, and side by side there were one and a half.
    assert known.left() == pytest.approx(110 / 1.5)


def test_earlier_runs_tell_how_long_jobs_take(tmp_path) -> None:
    for name, seconds in {
        "assimilate/etkf/0": "2.0",
        "assimilate/etkf/1": "4.0",
        "aggregate": "5.0",
        "plot/a": "x",
    }.items():
        path = tmp_path / "benchmarks" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:01\n")
    assert durations(tmp_path) == {"aggregate": 5.0, "assimilate": 3.0}
    assert durations(tmp_path / "none") == {}
    assert [clock(seconds) for seconds in (59.6, 61, 3725)] == ["1:00", "1:01", "1:02:05"]


def test_the_table_fits_a_terminal_and_names_what_runs(now) -> None:
    progress = Progress(start=now[0])
    told(progress, *PLAN.split("\n"), "Job 1: simulate: shard 0", "Job 2: simulate: shard 1")
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(table(progress))
    lines = console.export_text().splitlines()
    assert lines[1].split() == ["simulate", "0/2", "shard", "0", "and", "1", "more"]
    assert lines[2].split() == ["assimilate", "0/4"]
    assert lines[3].startswith("0/6 jobs")


@pytest.fixture
def project(tmp_path, monkeypatch, experiment) -> Path:
    """A folder with an experiment, a profile, and a workflow that something else stands for: see `stand_in`."""
    (tmp_path / "config" / "experiments").mkdir(parents=True)
    text = Path(__file__).parents[2].joinpath(".test/config/experiments/miniature.yaml").read_text()
    (tmp_path / "config" / "experiments" / "mini.yaml").write_text(text)
    (tmp_path / "profiles" / "local").mkdir(parents=True)
    (tmp_path / "Snakefile").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], status: int = 0) -> None:
    """Has a script that prints some lines stand for Snakemake; its arguments are the first."""
    (folder / "snakemake.py").write_text(
        f"import sys\nprint(sys.argv[1:])\nfor line in {lines!r}:\n    print(line)\nsys.exit({status})\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def test_a_run_ends_with_what_there_is_and_keeps_the_log(project, monkeypatch, capsys) -> None:
    stand_in(project, monkeypatch, [*PLAN.split("\n"), "Job 1: simulate: a", "Finished jobid: 1 (Rule: simulate)"])
    said = list(run("mini", cores="3", flags=["--quiet"]))
    assert said[-1] == "mini: the table is results/mini/table.csv, figures are in results/mini/figures"
    assert capsys.readouterr().err.rstrip().endswith("simulate: a")
    (log,) = (project / "results" / "mini" / "logs" / "run").iterdir()
    given = log.read_text().splitlines()[0]
    assert "'--config', 'experiments=mini', '--snakefile'" in given
    assert given.endswith("'--cores', '3', '--quiet']")
    assert "'--profile', 'profiles/local'" in given


def test_a_dry_run_counts_the_jobs(project, monkeypatch) -> None:
    stand_in(project, monkeypatch, PLAN.split("\n"))
    lines = list(run("mini", dry=True))
    assert [line.split()[:2] for line in lines] == [["2", "simulate"], ["4", "assimilate"], ["6", "jobs;"]]
    stand_in(project, monkeypatch, ["Nothing to be done."])
    assert list(run("mini", dry=True)) == ["Nothing to be done: all results are up to date."]


def test_a_run_that_fails_names_what_failed_and_the_log(project, monkeypatch) -> None:
    stand_in(project, monkeypatch, ["WorkflowError:", "failed: train: npe of mini; see results/mini/logs/npe.log"], 1)
    with pytest.raises(PosterityError) as raised:
        list(run("mini"))
    first, last = str(raised.value).splitlines()
    assert first == "failed: train: npe of mini; see results/mini/logs/npe.log"
    assert last.startswith("the run did not end well (exit code 1); see results/mini/logs/run/")
    stand_in(project, monkeypatch, ["WorkflowError in line 3:", "no such thing"], 1)
    with pytest.raises(PosterityError, match="no such thing"):
        list(run("mini"))


def test_what_is_not_there_is_named(project, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="--profile: there is no profile 'slrum'"):
        list(run("mini", profile="slrum"))
    with pytest.raises(ConfigError, match="did you mean 'mini'"):
        list(run("minni"))
