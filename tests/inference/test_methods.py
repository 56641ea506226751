"""Methods and problems in Python: what tasks write, from the same numbers; and refusals in words."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr

import posterity as ps
from posterity.baselines import VariationalInference
from posterity.data import read
from posterity.errors import ConfigError, DataError
from posterity.experiment import load
from posterity.inference.components import composed
from posterity.inference.session.descriptions import configuration, described, problem_of
from posterity.problems import Composed, Mask, Observation, Pointwise, Quadratic, RandomMask, Uniform
from posterity.problems.observing.grids import Strided
from posterity.systems import LinearAdvection, Lorenz96
from posterity.tasks.assimilate import assimilate
from posterity.tasks.common import seed_of
from posterity.tasks.evaluate import evaluate
from posterity.tasks.sample import sample
from posterity.tasks.simulate import simulate
from posterity.tasks.train import train


def of_the_session() -> Mask:
    """A mask whose class no file can name."""

    @dataclass(frozen=True)
    class Mine(Mask):
        every: int = 2

        def __call__(self, batch, window, shape):
            return torch.ones((window, *shape), dtype=torch.bool)

    return Mine()


SMALL = {
    "context": 2,
    "network": {"kind": "convolution", "options": {"width": 8, "blocks": 1}},
    "flow": {"kind": "coupling-spline", "options": {"transforms": 1, "hidden": [8], "bins": 4}},
}
FILE = """
title: A ring of 6 sites
system: {kind: linear, options: {size: 6}}
observation: {mask: [{kind: random, options: {fraction: 0.5}}], std: [0.5, 1.0]}
prior: {std: [0.5, 1.5]}
window: 4
forecast: 2
splits: {train: {cases: 40}, valid: {cases: 12}, test: {cases: 3}}
samples: 20
methods:
  4dvar: {kind: 4dvar}
  npe:
    kind: npe
    options:
      context: 2
      network: {kind: convolution, options: {width: 8, blocks: 1}}
      flow: {kind: coupling-spline, options: {transforms: 1, hidden: [8], bins: 4}}
    training: {epochs: 2, batch: 16}
  npe-importance: {refines: npe, refinement: importance}
reference: {kind: importance, samples: 16, runs: 2}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def ring() -> ps.Problem:
    return ps.Problem(
        LinearAdvection(size=6),
        4,
        forecast=2,
        std=(0.5, 1.0),
        mask={"kind": "random", "options": {"fraction": 0.5}},
        background_std=(0.5, 1.5),
    )


def same(one: xr.Dataset, two: xr.Dataset) -> bool:
    """Whether the numbers of two datasets are the same bits in single precision, time and memory aside."""
    return all(
        np.array_equal(one[name].values.astype(np.float32), two[name].values.astype(np.float32), equal_nan=True)
        for name in one.data_vars
        if "seconds" not in str(name)
    ) and set(one.data_vars) == set(two.data_vars)


@pytest.fixture
def single() -> Iterator[None]:
    """Single precision, as users run it and files hold it."""
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float64)


@pytest.mark.slow
@pytest.mark.usefixtures("single")
def test_tasks_are_the_same_functions_between_files(file, ring, tmp_path) -> None:
    """Twins, draws, weights and scores of the command line are those of Python, with the seeds of the tasks."""
    experiment, study = load(file), ps.load(file)
    twins = {}
    for split in ("train", "valid", "test"):
        simulate(experiment, split, 0, tmp_path / f"{split}.nc")
        twins[split] = read(tmp_path / f"{split}.nc", "states" if split == "train" else "twin").load()
    twin = study.twins(3, seed_of(experiment, "simulate", "test", 0))
    assert same(twin, twins["test"])
    assert same(twin, ring.twins(3, seed_of(experiment, "simulate", "test", 0)))

    assimilate(experiment, "4dvar", tmp_path / "test.nc", tmp_path / "4dvar.nc", device="cpu")
    draws = study.method("4dvar").assimilate(twin, seed=seed_of(experiment, "posterior", "4dvar", 0))
    assert same(draws, read(tmp_path / "4dvar.nc", "posterior").load())
    evaluate(experiment, tmp_path / "test.nc", tmp_path / "4dvar.nc", tmp_path / "metrics.nc")
    assert same(ps.evaluate(twin, draws), xr.open_dataset(tmp_path / "metrics.nc", decode_times=False))

    train(experiment, "npe", [tmp_path / "train.nc"], [tmp_path / "valid.nc"], tmp_path / "npe", "cpu")
    npe = study.method("npe").fit(twins["train"], twins["valid"], seed=seed_of(experiment, "train", "npe"))
    npe.save(tmp_path / "own")
    weights = [(tmp_path / folder / "weights.safetensors").read_bytes() for folder in ("npe", "own")]
    assert weights[0] == weights[1]
    methods = {"npe": ps.load_estimator(tmp_path / "npe"), "npe-importance": study.method("npe-importance")}
    for name, method in methods.items():
        output = tmp_path / f"{name}.nc"
        sample(experiment, name, tmp_path / "npe", tmp_path / "test.nc", output, device="cpu")
        draws = method.sample(twin, 20, seed=seed_of(experiment, "posterior", name, 0))
        assert same(draws, read(output, "posterior").load())


def test_a_problem_in_few_words_is_the_one_in_many(ring) -> None:
    system = Lorenz96(size=8)
    short = ps.Problem(system, 3, operator="quadratic", std=2.0, mask=RandomMask(0.5), parameters={"forcing": (6, 10)})
    seen = Observation(Composed((1, 8), [Quadratic((1, 8))]), (2.0, 2.0), (RandomMask(0.5),))
    long = ps.Problem(system, 3, observation=seen, parameters={"forcing": Uniform(6, 10)})
    assert short == long
    assert short.twins(2, 3).identical(long.twins(2, 3))
    assert not short.twins(2, 3)["state"].equals(short.twins(2, 4)["state"])
    assert dataclasses.replace(short, cycles=2).twins(1).sizes["time"] == 6


@pytest.mark.parametrize(
    "operator",
    [[Quadratic, lambda shape: Strided(shape, 2)], ["quadratic", {"kind": "strided", "options": {"every": 2}}]],
)
def test_operators_are_given_the_shape_of_what_they_see(operator) -> None:
    assert composed((1, 8), ["x"], operator)[0].out_shape == (1, 4)


def test_channels_are_named_in_python_as_in_files() -> None:
    problem = ps.Problem("lorenz63", 2, operator={"kind": "channels", "options": {"channels": ["z", "x"]}})
    assert problem.observation.operator.operators[0].channels == (2, 0)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda problem: ps.Problem("lorenz69", 3), "unknown system 'lorenz69'; did you mean 'lorenz96'"),
        (
            lambda problem: ps.Problem({"kind": "lorenz96", "options": {"sise": 8}}, 3),
            "system.options: unknown option 'sise' of lorenz96; did you mean 'size'",
        ),
        (lambda problem: ps.Problem({"kin": "lorenz96"}, 3), "system: unknown key 'kin'; did you mean 'kind'"),
        (lambda problem: ps.method("4dvr", problem), "unknown method '4dvr'; did you mean '4dvar'"),
        (lambda problem: ps.method("EnKF", problem), "unknown method 'EnKF'; did you mean 'enkf'"),
        (lambda problem: ps.Problem("linear", 3, parameters={"speed": 1.0}), "prior: must be an object derived from"),
        (lambda problem: ps.method("vi", problem, famly="full"), "vi: unknown option 'famly'; did you mean 'family'"),
        (lambda problem: ps.method("vi", problem, family="ful"), "unknown family 'ful'; did you mean 'full'"),
        (lambda problem: ps.method("etkf", problem, members="many"), "method.options.members: "),
        (lambda problem: ps.method("etkf", problem, members=0), "etkf: members"),
        (lambda problem: ps.method("npe", problem).save("npe"), "npe: is not trained"),
        (
            lambda problem: ps.method("npe", problem).sample(problem.twins(1)),
            "npe: is not trained, and has nothing",
        ),
        (lambda problem: ps.method("npe", problem).fit(epoch=2), "npe.training: unknown key 'epoch'; did you mean"),
        (lambda problem: ps.method("guided-score", problem).refine("importance"), "has no density, and none to refine"),
        (lambda problem: ps.method("4dvar", problem).assimilate(problem.twins(1), samples=0), "at least one is needed"),
    ],
)
def test_what_is_not_there_is_refused_with_the_nearest(ring, made, message) -> None:
    with pytest.raises(ConfigError, match=message):
        made(ring)


@pytest.mark.parametrize(
    ("twin", "message"),
    [
        (
            lambda twin: twin.isel(obs_x=slice(4)),
            "twin: 'observation' has obs_x 4; the experiment's problem has obs_x 6",
        ),
        (lambda twin: twin.rename(observation="y"), "twin: variable 'observation' .* is missing"),
        (lambda twin: twin.rename(obs_x="site"), "twin: 'observation' has dimensions"),
        (lambda twin: twin["state"], "twin: must be an xarray.Dataset, not DataArray"),
        (lambda twin: twin.drop_vars("background"), "twin: variable 'background' is missing"),
    ],
)
def test_a_twin_of_another_problem_is_refused(ring, twin, message) -> None:
    with pytest.raises(DataError, match=message):
        ps.method("4dvar", ring).assimilate(twin(ring.twins(2)), samples=2)


def test_posteriors_of_other_twins_are_refused(ring) -> None:
    twin = ring.twins(3)
    draws = ps.method("prior", ring).assimilate(twin.isel(case=[2]), samples=4)
    assert ps.compare(twin, draws).loc["prior", "cases"] == 1
    with pytest.raises(DataError, match=r"posterior and twin: do not belong together: 'case' 2"):
        ps.evaluate(twin.isel(case=slice(2)), draws)
    with pytest.raises(DataError, match="posterior: has no attribute 'window'"):
        ps.evaluate(twin, draws.drop_attrs())
    with pytest.raises(DataError, match="posteriors: there are none"):
        ps.compare(twin, {})


def test_methods_by_class_take_objects_and_longer_records(ring) -> None:
    method = ps.method(VariationalInference, ring, family="full")
    assert repr(method) == "Method('VariationalInference': VariationalInference)"
    record = dataclasses.replace(ring, cycles=2, forecast=0).twins(2)
    short = dataclasses.replace(ring, forecast=0)
    assert ps.method("4dvar", short).assimilate(record, samples=3).sizes["time"] == 8
    # Fewer draws than a thousand, where there are no more that differ.
    assert ps.method("etkf", ring, members=10).assimilate(ring.twins(1)).sizes["sample"] == 10
    npe = ps.method({"kind": "npe", "options": SMALL}, short).fit(cases=16, epochs=1)
    with pytest.raises(DataError, match="twin: has 8 times, and npe sees one window of 4 states"):
        npe.sample(record)


def test_dates_stand_for_times_of_the_model(ring) -> None:
    twin = ring.twins(2)
    dated = twin.assign_coords(time=np.datetime64("2026-01-01", "h") + 6 * np.arange(6)).drop_attrs(deep=False)
    draws = ps.method("prior", ring).assimilate(dated, samples=5)
    assert draws["time"].attrs["units"].startswith("hours since 2026-01-01")
    scores = ps.evaluate(dated, draws)
    plain = ps.evaluate(twin, ps.method("prior", ring).assimilate(twin, samples=5))
    assert np.array_equal(scores["rmse"], plain["rmse"])


def test_a_description_is_of_the_same_problem() -> None:
    problem = ps.Problem(
        Lorenz96(size=8, dt=0.1),
        3,
        operator=[Quadratic, lambda shape: Strided(shape, 2)],
        mask=RandomMask(0.5),
        parameters={"forcing": (6.0, 10.0)},
        model_error=0.1,
        start=(0, 2),
    )
    told = json.loads(json.dumps(configuration(problem, "npe", "npe", SMALL)))
    assert problem_of(told) == problem
    assert told["methods.npe.options"]["network"] == SMALL["network"]


@pytest.mark.parametrize(
    ("group", "value"),
    [
        ("operator", Pointwise((1, 4), "tanh")),
        ("mask", of_the_session()),
        ("system", LinearAdvection(size=4, speed=torch.ones(2))),
    ],
)
def test_what_cannot_be_written_down_is_told(group, value) -> None:
    with pytest.raises(ConfigError):
        described(group, value, *([(1, 4)] if group == "operator" else []))


def test_an_estimator_of_a_class_of_the_session_is_saved_without_its_problem(tmp_path, caplog) -> None:
    problem = ps.Problem(LinearAdvection(size=4), 2, mask=of_the_session())
    npe = ps.method("npe", problem, **SMALL).fit(cases=16, epochs=1)
    npe.save(tmp_path)
    assert "weights alone are written" in caplog.text
    with pytest.raises(
        ConfigError, match=r"could not be written down; make the method of its problem, and call \.load"
    ):
        ps.load_estimator(tmp_path)
    twin = problem.twins(2)
    assert same(ps.method("npe", problem, **SMALL).load(tmp_path).sample(twin, 3), npe.sample(twin, 3))


def test_studies_know_their_methods(file) -> None:
    study = ps.load(file)
    assert study.methods == ["4dvar", "npe", "npe-importance"]
    assert "A ring of 6 sites" in repr(study)
    assert study.method("npe") is study.method("npe")
    with pytest.raises(ConfigError, match="'study' has no method 'npe-importanc'; did you mean 'npe-importance'"):
        study.method("npe-importanc")
    twin = study.twins(2)
    reference = study.reference(twin)
    assert reference.sizes["sample"] == 32
    assert dict(ps.to_arviz(reference, twin)["posterior"].sizes)["chain"] == 2


def test_importing_the_package_takes_no_torch_and_no_time() -> None:
    code = "from time import perf_counter as t; a = t(); import posterity, sys; print(t() - a, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    seconds, torch_is_there = done.stdout.split()
    assert torch_is_there == "False"
    assert "torch" not in done.stderr
    assert float(seconds) < 0.3
