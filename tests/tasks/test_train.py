"""The tasks ``train`` and ``sample``: weights that survive kills, and what is said of files that do not fit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep, time

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from posterity import data
from posterity.data.artifacts import check_intact, described
from posterity.errors import ConfigError, DataError, PosterityError
from posterity.estimators import Training
from posterity.inference.experiments import build_method, build_problem
from posterity.tasks.files.lock import lock
from posterity.tasks.sample import sample
from posterity.tasks.simulate import simulate
from posterity.tasks.train import StoppedError, train

#: A small estimator.
SMALL = {
    "kind": "npe",
    "options": {
        "context": 2,
        "network": {"kind": "convolution", "options": {"width": 8, "blocks": 1}},
        "flow": {"kind": "coupling-spline", "options": {"transforms": 1, "hidden": [8], "bins": 4}},
    },
}

FILES = {"weights.safetensors", "estimator.json", "history.jsonl"}


@pytest.fixture
def shards(experiment, tmp_path):
    """Simulates the training and validation shards of an experiment, and one of the test split."""

    def simulated(study=None, folder: str = "simulations") -> dict[str, list[Path]]:
        study = study or experiment()
        found: dict[str, list[Path]] = {}
        for split, count in (("train", 2), ("valid", 2), ("test", 1)):
            found[split] = [tmp_path / folder / split / f"{shard}.nc" for shard in range(count)]
            for shard, path in enumerate(found[split]):
                simulate(study, split, shard, path)
        return found

    return simulated


def test_a_training_writes_weights_what_they_are_and_the_losses(experiment, shards, tmp_path) -> None:
    study, files, output = experiment(), shards(), tmp_path / "models" / "npe"
    train(study, "npe", files["train"], files["valid"], output)
    assert {path.name for path in output.iterdir()} == FILES
    assert [path.name for path in output.parent.iterdir()] == ["npe"]
    # All may be read by those who may read what this process writes.
    assert len({path.stat().st_mode for path in (*output.iterdir(), *files["test"])}) == 1
    history = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2, 3]
    described = json.loads((output / "estimator.json").read_text())
    best = min(history, key=lambda record: record["valid_loss"])
    assert (described["best_epoch"], described["best_valid_loss"]) == (best["epoch"], best["valid_loss"])
    # Others may read them, if the user lets them.
    os.umask(mask := os.umask(0))
    assert {path.stat().st_mode & 0o777 for path in output.iterdir()} == {0o666 & ~mask}
    assert described["loss_units"] == "nat"
    weights = load_file(output / "weights.safetensors")
    estimator = build_method(study, "npe", build_problem(study))
    assert described["parameters"] == sum(parameter.numel() for parameter in estimator.parameters())
    assert weights.keys() == estimator.state_dict().keys()


def test_a_trained_estimator_samples(experiment, shards, tmp_path) -> None:
    study, files, output = experiment(), shards(), tmp_path / "npe"
    train(study, "npe", files["train"], files["valid"], output)
    for name in ("a.nc", "b.nc"):
        sample(study, "npe", output, files["test"][0], tmp_path / name)
    with data.read(tmp_path / "a.nc", "posterior") as one, data.read(tmp_path / "b.nc", "posterior") as two:
        assert one["state"].shape == (2, 20, 6, 1, 6)
        assert one.attrs["method"] == "npe"
        assert (one["state"] == two["state"]).all()


@pytest.mark.slow
def test_weights_of_another_configuration_are_refused(experiment, shards, tmp_path) -> None:
    files, output = shards(), tmp_path / "npe"
    train(experiment(), "npe", files["train"], files["valid"], output)
    for other in (
        experiment("noisier", observation={"std": 3.0}),
        experiment("seeded", seed=5),
        experiment("wider", methods={"npe": {"kind": "npe", "training": {"epochs": 3, "batch": 16}}}),
    ):
        with pytest.raises(
            ConfigError, match=r"npe: was trained for another problem or with other options; train 'npe"
        ):
            sample(other, "npe", output, files["test"][0], tmp_path / "posterior.nc")
    # What weights do not depend on may change.
    other = experiment("same", samples=7, title="Other", splits={"test": {"cases": 9}})
    sample(other, "npe", output, files["test"][0], tmp_path / "posterior.nc")


def test_weights_that_are_missing_or_damaged_are_named(experiment, shards, tmp_path) -> None:
    files, output = shards(), tmp_path / "npe"

    def drawn() -> None:
        sample(experiment(), "npe", output, files["test"][0], tmp_path / "posterior.nc")

    with pytest.raises(DataError, match=r"npe/estimator\.json: cannot be read \(.*\); train the estimator first"):
        drawn()
    train(experiment(), "npe", files["train"], files["valid"], output)
    whole = (output / "weights.safetensors").read_bytes()
    (output / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"npe/weights\.safetensors: is damaged, or not of the training that estimator"):
        drawn()
    # Where the description tells of no other bytes.
    told = json.loads((output / "estimator.json").read_text())
    (output / "estimator.json").write_bytes(described(told, {}))
    with pytest.raises(DataError, match=r"npe/weights\.safetensors: cannot be read \(.*\); train 'npe' again"):
        drawn()
    save_file({f"former.{name}": value for name, value in load(whole).items()}, output / "weights.safetensors")
    with pytest.raises(DataError, match=r"npe/weights\.safetensors: does not fit 'npe', as weights of an earlier"):
        drawn()
    (output / "weights.safetensors").unlink()
    with pytest.raises(DataError, match=r"npe/weights\.safetensors: cannot be read \(.*\); train 'npe' again"):
        drawn()
    for other in ('{"configuration": ', "[1, 2]", '"configuration"', "{}"):
        (output / "estimator.json").write_text(other)
        with pytest.raises(DataError, match=r"npe/estimator\.json: cannot be read"):
            drawn()


@pytest.mark.slow
def test_a_bit_of_a_description_is_noticed_though_it_leaves_it_readable(experiment, shards, tmp_path) -> None:
    """Of values, of their names, and of digests."""
    files, output = shards(), tmp_path / "npe"
    train(experiment(), "npe", files["train"], files["valid"], output)
    whole = (output / "estimator.json").read_text()
    for old, new in (
        ('"seed": ', '"seed": 1'),
        ('"seed"', '"sedd"'),
        ('"sha256"', '"sha254"'),
        ('.json": "', '.json": "a'),
    ):
        assert old in whole
        (output / "estimator.json").write_text(whole.replace(old, new, 1))
        with pytest.raises(DataError, match=r"npe/estimator\.json: cannot be read \(.*\); train the estimator first"):
            sample(experiment(), "npe", output, files["test"][0], tmp_path / "posterior.nc")
        with pytest.raises(DataError, match=r"npe/estimator\.json: cannot be read"):
            check_intact(output / "history.jsonl")


def damaged(path: Path) -> None:
    """Overwrites the middle of a file, where its data are."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle - 500 : middle + 500] = bytes(1000)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(("split", "shard"), [("train", 0), ("train", 1), ("valid", 1)])
def test_a_truncated_shard_is_named(experiment, shards, tmp_path, split, shard) -> None:
    files = shards()
    broken = files[split][shard]
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(
        DataError, match=r"cannot be read as NetCDF .*; it may be truncated, or of another format"
    ) as raised:
        train(experiment(), "npe", files["train"], files["valid"], tmp_path / "npe")
    assert str(raised.value).startswith(f"{broken}: ")


def test_a_damaged_shard_is_named(experiment, shards, tmp_path) -> None:
    large = experiment(
        splits={"train": {"cases": 2000, "shard": 1000}, "valid": {"cases": 4, "shard": 2}, "test": {"cases": 1}}
    )
    files = shards(large)
    damaged(files["train"][1])
    with pytest.raises(DataError, match=r"is damaged \(.*\); delete it and make it again") as raised:
        train(large, "npe", files["train"], files["valid"], tmp_path / "npe")
    assert str(raised.value).startswith(f"{files['train'][1]}: ")


@pytest.mark.slow
def test_shards_that_do_not_fit_are_named(experiment, shards, tmp_path) -> None:
    study, files = experiment(), shards()
    long = shards(experiment("long", window=5), "long")
    for given, message in (
        ((long["train"], files["valid"]), r"long/train/0\.nc: 'state' has time 7; the experiment's problem has time 6"),
        (
            ([files["train"][0], long["train"][1]], files["valid"]),
            r"long/train/1\.nc: has 7 along 'time', but .* has 6",
        ),
        ((files["train"], long["valid"]), r"long/valid/0\.nc: 'state' has time 7"),
        ((files["valid"], files["train"]), r"simulations/train/0\.nc: variable 'observation' .* is missing"),
        (([tmp_path / "no.nc"], files["valid"]), r"no\.nc: there is no such file; simulate it first"),
    ):
        with pytest.raises(DataError, match=message):
            train(study, "npe", *given, tmp_path / "npe")


@pytest.mark.slow
def test_a_training_that_diverges_says_where(experiment, shards, tmp_path) -> None:
    study = experiment(methods={"npe": {"kind": "npe", "training": {"learning_rate": 1e30, "clip": 1e30, "batch": 4}}})
    files = shards(study)
    with pytest.raises(PosterityError, match=r"methods\.npe\.training: the .*loss is .* at epoch 1.*; try a smaller"):
        train(study, "npe", files["train"], files["valid"], tmp_path / "npe")
    assert not (tmp_path / "npe").exists()


@pytest.mark.slow
def test_a_target_without_some_of_the_states_is_told(experiment, shards, tmp_path) -> None:
    """White noise has a divergence."""
    target = {"kind": "state", "options": {"correlation": {"kind": "solenoidal", "options": {"length": 0.5}}}}
    npe = SMALL | {"options": SMALL["options"] | {"target": target}, "training": {"epochs": 1}}
    system = {"kind": "linear", "options": {"size": [4, 4], "names": ["u", "v"]}}
    study = experiment(system=system, observation={"std": 0.5}, methods={"npe": npe})
    files = shards(study)
    with pytest.raises(ConfigError, match=r"methods\.npe: target\.correlation: Solenoidal leaves out 0"):
        train(study, "npe", files["train"], files["valid"], tmp_path / "npe")


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_is_left_aside(experiment, shards, tmp_path, monkeypatch, caplog) -> None:
    """And one of other data, options or code is not even looked at."""
    study, files = experiment(), shards()
    train(study, "npe", files["train"], files["valid"], tmp_path / "alone")
    monkeypatch.setattr("posterity.tasks.training.checkpoint.INTERVAL", 0.0)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("posterity.data.weights.save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(study, "npe", files["train"], files["valid"], tmp_path / "npe")
    (checkpoint,) = (tmp_path / ".npe.unfinished").glob("[!.]*.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with caplog.at_level("WARNING", "posterity"):
        train(study, "npe", files["train"], files["valid"], tmp_path / "npe")
    assert "cannot be read" in caplog.text
    assert "the training starts anew" in caplog.text
    assert same_weights(tmp_path / "npe", tmp_path / "alone")
    assert not (tmp_path / ".npe.unfinished").exists()


def same_weights(one: Path, two: Path) -> bool:
    """Whether two trainings ended in the same bits."""
    return (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()


def losses(folder: Path) -> list[float]:
    """The validation losses of a training."""
    return [json.loads(line)["valid_loss"] for line in (folder / "history.jsonl").read_text().splitlines()]


#: A command that saves its state whenever it may.
EAGER = """
import sys
from posterity import cli
from posterity.estimators.learning import training
from posterity.tasks.training import checkpoint
training.LOOK, checkpoint.INTERVAL = 2, 0.0
cli.main()
"""


@pytest.mark.slow
def test_a_training_that_is_killed_ends_in_the_same_bits(study, experiment, shards, tmp_path) -> None:
    """Killed at a random moment, then run again; in single precision, as users run it."""
    methods = {"npe": SMALL | {"training": {"epochs": 25, "batch": 8}}}
    path, files = study("killed", methods=methods), shards(experiment("killed", methods=methods))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def command(output: Path) -> list[str]:
        split = [part for name in ("train", "valid") for part in (f"--{name}", *map(str, files[name]))]
        arguments = ["train", str(path), "--method", "npe", *split, "--output", str(output), "--device", "cpu"]
        return [sys.executable, "-c", EAGER, *arguments]

    alone, output = tmp_path / "alone", tmp_path / "npe"
    subprocess.run(command(alone), env=environment, check=True, capture_output=True)

    unfinished = tmp_path / ".npe.unfinished"
    process = subprocess.Popen(command(output), env=environment, stderr=subprocess.DEVNULL)
    start = monotonic()
    while not list(unfinished.glob("[!.]*.pt")):
        assert process.poll() is None
        assert monotonic() - start < 120
        sleep(0.01)
    sleep(random.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (checkpoint,) = unfinished.glob("[!.]*.pt")
    state = torch.load(checkpoint, weights_only=True)
    assert 0 < state["total"] < 25 * 5

    resumed = subprocess.run(command(output), env=environment, check=True, capture_output=True, text=True)
    assert f"goes on after epoch {state['epoch']}, step {state['step']}" in resumed.stderr
    assert same_weights(output, alone)
    assert not unfinished.exists()
    assert losses(output) == losses(alone)
    assert {path.name for path in output.iterdir()} == FILES


def test_compiling_without_a_compiler_is_refused_at_once(experiment, shards, tmp_path, monkeypatch) -> None:
    study = experiment(methods={"npe": SMALL | {"training": {"epochs": 1, "compile": True}}})
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    files = shards()
    with pytest.raises(ConfigError, match=r"methods\.npe\.training\.compile: on a CPU it takes a C\+\+ compiler"):
        train(study, "npe", files["train"], files["valid"], tmp_path / "npe", "cpu")


@pytest.mark.slow
def test_a_training_stops_before_the_end_of_its_job_and_at_signals(experiment, shards, tmp_path, monkeypatch) -> None:
    """And goes on when it is run again, to the same bits; one that has ended only writes them again."""
    monkeypatch.setattr("posterity.estimators.learning.training.LOOK", 2)
    study, files = experiment(), shards()
    train(study, "npe", files["train"], files["valid"], tmp_path / "alone")
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)]
    for told, place in (
        (None, "epoch 1, step 2"),
        (signal.SIGTERM, "epoch 2, step 0"),
        (signal.SIGUSR2, "epoch 2, step 1"),
    ):
        with monkeypatch.context() as job:
            if told is None:
                job.setenv("SLURM_JOB_END_TIME", str(int(time()) + 60))
            else:
                # It comes before the training listens, which a job therefore starts with signals held back.
                signal.pthread_sigmask(signal.SIG_BLOCK, [told])
                signal.raise_signal(told)
            with pytest.raises(StoppedError, match=rf"methods\.npe: .* time limit, at {place}; its state is saved"):
                train(study, "npe", files["train"], files["valid"], tmp_path / "npe")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)] == before
    train(study, "npe", files["train"], files["valid"], tmp_path / "npe", keep=True)
    assert same_weights(tmp_path / "npe", tmp_path / "alone")

    shutil.rmtree(tmp_path / "npe")
    monkeypatch.setattr(Training, "_step", None)
    train(study, "npe", files["train"], files["valid"], tmp_path / "npe")
    assert same_weights(tmp_path / "npe", tmp_path / "alone")
    assert not (tmp_path / ".npe.unfinished").exists()


@pytest.mark.slow
def test_two_processes_train_one_estimator(study, experiment, shards, tmp_path) -> None:
    """Started by torchrun; the one that writes says how many they were."""
    methods = {"npe": SMALL | {"training": {"epochs": 2, "batch": 8, "gpus": 2}}}
    path, files = study("shared", methods=methods), shards(experiment("shared", methods=methods))
    split = [part for name in ("train", "valid") for part in (f"--{name}", *map(str, files[name]))]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--module", "posterity"]
    output = ["--output", str(tmp_path / "npe"), "--device", "cpu"]
    subprocess.run(
        [sys.executable, "-m", *launcher, "train", str(path), "--method", "npe", *split, *output],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    described = json.loads((tmp_path / "npe" / "estimator.json").read_text())
    assert described["processes"] == 2
    assert len(losses(tmp_path / "npe")) == 2


def test_a_second_training_of_the_same_is_refused(experiment, shards, tmp_path) -> None:
    """Both would write one checkpoint."""
    study, files, output = experiment(), shards(), tmp_path / "npe"
    with (
        lock(tmp_path / ".npe.unfinished"),
        pytest.raises(DataError, match=rf"is in use by process {os.getpid()}"),
    ):
        train(study, "npe", files["train"], files["valid"], output)
    train(study, "npe", files["train"], files["valid"], output)
    assert {path.name for path in output.iterdir()} == FILES
