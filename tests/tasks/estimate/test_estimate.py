"""``posterity estimate``: counts against arithmetic, costs against known ones, and what it refuses."""

from collections import Counter as Counts
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from posterity.errors import ConfigError, DataError
from posterity.experiment import Experiment, load
from posterity.tasks.estimate import estimate
from posterity.tasks.estimate.costs import Costs
from posterity.tasks.estimate.flops import Counter, drawing_flops
from posterity.tasks.estimate.jobs import Job, jobs
from posterity.tasks.estimate.measured import measured
from posterity.tasks.estimate.profiles import Profile
from posterity.tasks.estimate.sizes import Sizes
from posterity.tasks.estimate.work import Work

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def told(study: Experiment, **options: Any) -> list[str]:
    return list(estimate([study], **options))


def test_jobs_follow_from_shards_and_methods(experiment) -> None:
    """Three test shards, two of the others; three methods, of which one is trained."""
    planned = Counts(job.rule for job in jobs([experiment(figures={"only": ["table", "data"]})]))
    assert planned == {
        "simulate": 2 + 2 + 3, "train": 1, "sample": 3, "assimilate": 6, "evaluate": 9, "aggregate": 1, "plot": 2
    }  # fmt: skip


def test_variants_share_what_they_lend_and_are_set_side_by_side(experiment) -> None:
    study = experiment(figures={"only": []})
    alone = jobs([study])
    other = study.model_copy(update={"name": "other", "methods": {"npe": study.methods["npe"]}})
    # The other variant draws with its own training, and with the same number of shards.
    assert len(jobs([study, other])) == len(alone) + (2 + 2 + 3 + 1 + 3 + 3 + 1) + 1


def test_bytes_are_those_of_the_shapes(experiment) -> None:
    """Six sites; twins of six states with as many observations, padded over the forecast."""
    study = experiment()
    sizes = Sizes(study)
    states = 2 * (6 * 6 + 2 * 6)  # two cases: states, background and its standard deviation
    assert sizes.bytes(Job(study, "simulate", "test", 0)) == 4 * (states + 2 * 2 * 6 * 6)
    assert sizes.bytes(Job(study, "simulate", "train", 0)) == 4 * 10 * states
    # The last test shard has one case: 20 draws of six states, their log-likelihoods, and a transform of each datum.
    assert sizes.bytes(Job(study, "assimilate", "prior", 2)) == 4 * (20 * 6 * 6 + 20 + 6 * 6)


def test_operations_are_counted_by_twos() -> None:
    """A product of matrices is two operations for each of its terms, and a gradient by weights as many again."""
    layer, x = nn.Linear(3, 5, device="meta"), torch.zeros(7, 3, device="meta")
    with Counter() as counter:
        layer(x).sum().backward()
    assert counter.count == 2 * (2 * 7 * 3 * 5)


def test_steps_of_samplers_are_counted_from_the_first_two(experiment) -> None:
    """A sampler of Runge and Kutta evaluates the network four times a step, and three times in the last."""

    def drawn(steps: int) -> float | None:
        sampler = {"kind": "runge-kutta", "options": {"steps": steps}}
        network = {"kind": "mlp", "options": {"hidden": [8]}}
        options = {"sampler": sampler, "network": network}
        study = experiment(methods={"fmpe": {"kind": "fmpe", "options": options, "training": {}}})
        return drawing_flops(Sizes(study).estimator("fmpe"))

    counts = {steps: drawn(steps) for steps in (1, 2, 10)}
    one = (counts[2] - counts[1]) / 4  # type: ignore[operator]
    assert one > 0
    assert counts[10] == pytest.approx((4 * 10 - 1) * one)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment):
    """Benchmark files of a study that costs three seconds to start, and known ones for its work."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/small/benchmarks")

    def written(study: Experiment, rates: dict[str, float]) -> Path:
        (tmp_path / "config" / "experiments").mkdir(parents=True, exist_ok=True)
        (tmp_path / "small.yaml").rename(tmp_path / "config" / "experiments" / "small.yaml")
        work = Work(study)
        for job in jobs([study]):
            if job.rule in rates:
                file = folder / f"{job.benchmark}.tsv"
                file.parent.mkdir(parents=True, exist_ok=True)
                seconds = 3 + rates[job.rule] * work.of(job)[0]
                file.write_text(f"{HEAD}{seconds}\t0:00:01\t400.0\t0\t0\t0\t0\t0\t0\t{seconds}\n")
        return folder.parent

    return written


def test_a_fit_recovers_known_costs(experiment, ran) -> None:
    """Shards of two sizes tell start and slope apart; one hundred times as many cases are far outside of them."""
    folder = ran(experiment("small"), {"assimilate": 1e-3, "evaluate": 5e-4, "train": 1e-4})
    large = experiment("large", splits={"train": {"cases": 4000}, "test": {"cases": 500, "shard": 500}})
    work = Work(large)
    costs = Costs(measured([folder], "linear", Work))
    known = {"assimilate": 1e-3, "evaluate": 5e-4}
    for rule, rate in known.items():
        job = Job(large, rule, "prior", 0)
        found = costs.of(job, work)
        assert found.seconds == pytest.approx(3 + rate * work.of(job)[0], rel=1e-6)
        assert found.factor == pytest.approx(250)
    # Of trainings there is one size alone: what they take to start is then what the shortest job with torch takes.
    small, job = Work(load("small")), Job(large, "train", "npe")
    start = 3 + 1e-3 * small.of(Job(small.experiment, "assimilate", "prior", 2))[0]
    own = small.of(job._replace(experiment=small.experiment))[0]
    expected = start + (3 + 1e-4 * own - start) / own * work.of(job)[0]
    assert costs.of(job, work).seconds == pytest.approx(expected, rel=1e-6)


def test_a_training_that_ended_early_counts_as_long_as_it_was(experiment, ran) -> None:
    small = experiment("small")
    folder = ran(small, {"train": 1e-6})
    history = folder / "models" / "npe" / "history.jsonl"
    history.parent.mkdir(parents=True)
    history.write_text("{}\n")
    (run,) = measured([folder], "linear", Work)
    assert run.work == pytest.approx(Work(small).of(Job(small, "train", "npe"))[0] / 3)


def test_the_table_holds_jobs_against_the_limits_of_a_profile(experiment, ran, tmp_path) -> None:
    folder = ran(experiment("small"), {"assimilate": 1.0})
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "profile.yaml").write_text(
        "jobs: 4\ndefault-resources: {runtime: 30 * attempt, mem_mb: 300}\nset-resources: {assimilate: {runtime: 1}}\n"
    )
    methods = {"prior": {"kind": "prior"}, "4dvar": {"kind": "4dvar"}}
    lines = told(experiment("large", methods=methods), profile=str(tmp_path / "profile"), benchmarks=[folder])
    text = "\n".join(lines)
    assert lines[0].startswith("large: ")
    assert "time of assimilate" in text
    assert "memory of assimilate 4dvar: 419 MB, 1.3 times its limit of 315 MB" in text
    assert "at most 4 at a time" in text
    assert "not known: the time of" in text


def test_without_benchmarks_operations_and_steps_alone_tell_the_time(experiment) -> None:
    study = experiment()
    work, train = Work(study), Job(study, "train", "npe")
    assert Costs([], flops=1e6).of(train, work).seconds == work.of(train)[0] / 1e6
    assert Costs([]).of(train, work).seconds is None
    simulated = Costs([]).of(Job(study, "simulate", "test", 0), work)
    assert simulated.seconds
    assert simulated.time_from.startswith("timed here: ")


def test_limits_are_computed_and_nothing_is_run(tmp_path) -> None:
    file = tmp_path / "profile.yaml"
    file.write_text("default-resources:\n  runtime: 10 + 20 * attempt\n  mem_mb: __import__('os').abort()\n")
    limits = Profile(str(tmp_path)).limits("train", attempt=2)
    assert (limits.minutes, limits.memory, limits.threads) == (50, None, 1)


def test_an_unknown_profile_names_the_nearest(experiment, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles" / "slurm").mkdir(parents=True)
    (tmp_path / "profiles" / "slurm" / "profile.yaml").write_text("jobs: 1\n")
    with pytest.raises(ConfigError, match="there is no profile 'slrum'; did you mean 'slurm'"):
        told(experiment(), profile="slrum")


def test_benchmarks_of_another_system_are_refused(experiment, ran) -> None:
    folder = ran(experiment("small"), {"assimilate": 1e-3})
    other = experiment("other", system={"kind": "lorenz96", "options": {"size": 6}})
    with pytest.raises(ConfigError, match="is of 'small', whose system is linear; costs of lorenz96 do not follow"):
        told(other, benchmarks=[folder])


def test_what_is_no_benchmark_is_refused(experiment, ran, tmp_path) -> None:
    folder = ran(experiment("small"), {"assimilate": 1e-3})
    next(folder.rglob("*.tsv")).write_text("nothing\n")
    with pytest.raises(DataError, match="is no benchmark file of Snakemake"):
        told(experiment("large"), benchmarks=[folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="there are no benchmark files of an experiment in"):
        told(experiment("large"), benchmarks=[tmp_path / "empty"])
    with pytest.raises(ConfigError, match="--flops: must be a positive number"):
        told(experiment("large"), flops=0)
