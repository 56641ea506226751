"""The task ``check``, and the others that try systems and operators before they compute."""

import sys

import numpy as np
import pytest
import xarray as xr

from posterity.errors import ConfigError
from posterity.inference.experiments import build_problem
from posterity.tasks.assimilate import assimilate
from posterity.tasks.check import check
from posterity.tasks.simulate import simulate
from posterity.tasks.train import train

PLUGINS = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from posterity.problems import Identity
from posterity.systems import BlackBox, LinearAdvection


@dataclass(frozen=True, kw_only=True)
class InPlace(LinearAdvection):
    def step(self, x):
        x *= 0.9
        return x


@dataclass(frozen=True, kw_only=True)
class Detached(LinearAdvection):
    def step(self, x):
        return torch.from_numpy(super().step(x.detach()).numpy())


@dataclass(frozen=True, kw_only=True)
class Plane(LinearAdvection):
    shape: ClassVar[tuple[int, ...]] = (1, 2, 3)
    axes: ClassVar[int | str] = 2

    def step(self, x):
        return 0.9 * x.roll(1, -1)


@dataclass(frozen=True, kw_only=True)
class Sometimes(LinearAdvection):
    limit: float = 2.0

    def step(self, x):
        return torch.where(x.abs().amax(-1, keepdim=True) > self.limit, torch.nan, x.roll(1, -1))


@dataclass(frozen=True, kw_only=True)
class Numpy(BlackBox):
    channels: ClassVar[tuple[str, ...]] = ("u", "v", "w")
    dt: float = 1.0
    shape: ClassVar[tuple[int, ...]] = (3,)

    def draw(self, generator, count):
        return generator.standard_normal((count, 3))

    def move(self, x, parameters):
        return 0.9 * np.roll(x, 1, axis=-1)


class Squares(Identity):
    def __call__(self, x):
        return torch.from_numpy(np.square(x.detach().numpy()))


class Foreign:
    dt, shape, channels = 1.0, (3,), ("a", "b", "c")
"""


PLANE = {"kind": "linear", "options": {"size": [6, 9], "names": ["u", "v"], "speed": [0.5, 0.3]}}


@pytest.fixture(autouse=True)
def plugins(monkeypatch, tmp_path):
    """A package of plug-ins, which breaks rules."""
    (tmp_path / "plugins.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("plugins", None)


def said(experiment) -> str:
    return "\n".join(check("study", experiment))


def test_a_broken_rule_is_named_by_every_task(experiment, tmp_path):
    broken = experiment(system={"kind": "plugins:InPlace", "options": {"size": 6}})
    simulate(experiment(), "test", 0, tmp_path / "twin.nc")
    paths = [tmp_path / "twin.nc"]
    for task in (
        lambda: check("study", broken).send(None),
        lambda: simulate(broken, "test", 0, tmp_path / "t.nc"),
        lambda: assimilate(broken, "prior", tmp_path / "twin.nc", tmp_path / "p.nc", device="cpu"),
        lambda: train(broken, "npe", paths, paths, tmp_path / "npe", device="cpu"),
    ):
        with pytest.raises(ConfigError, match=r"^system: InPlace: step writes into its argument"):
            task()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"system": {"kind": "plugins:Detached", "options": {"size": 6}}}, "system: Detached: step passes no gradient"),
        ({"system": {"kind": "plugins:Numpy"}}, "system: Numpy passes no gradients on"),
        (
            {"observation": {"std": 1, "operator": [{"kind": "plugins:Squares"}]}},
            "operator: Squares: __call__ passes no gradient on",
        ),
    ],
)
def test_methods_that_need_gradients_are_refused_by_name_where_there_are_none(experiment, changes, part):
    vi = {"kind": "vi", "options": {"optimizer": {"kind": "adam"}}}
    learned = {"kind": "amortised-vi", "training": {}}
    refined = {"refines": "npe", "refinement": {"kind": "hmc"}}
    plain = {"enkf": {"kind": "enkf"}, "ienks": {"kind": "ienks"}, "npe": {"kind": "npe", "training": {}}}
    assert "method       enkf" in said(experiment(methods=plain, **changes))
    for name, method in {"vi": vi, "learned": learned, "refined": refined, "4dvar": {"kind": "4dvar"}}.items():
        with pytest.raises(ConfigError, match=f"(?s)^methods.{name}.*{part}.*method"):
            said(experiment(methods={**plain, name: method}, **changes))


def test_all_methods_that_are_refused_are_named_together(experiment):
    methods = {"a": {"kind": "4dvar"}, "b": {"kind": "enkf"}, "c": {"kind": "smc"}}
    with pytest.raises(ConfigError, match=r"^methods\.a, methods\.c: need gradients; system: Detached: step"):
        said(experiment(methods=methods, system={"kind": "plugins:Detached", "options": {"size": 6}}))


def test_the_reference_is_tried_too(experiment):
    settings = {"kind": "hmc", "runs": 2, "samples": 10}
    with pytest.raises(ConfigError, match=r"^reference: needs gradients"):
        said(experiment(reference=settings, methods={"prior": {"kind": "prior"}}, system={"kind": "plugins:Detached"}))


def test_an_analysis_without_its_gradient_is_refused(experiment, tmp_path):
    simulate(experiment(), "test", 0, tmp_path / "twin.nc")
    broken = experiment(system={"kind": "plugins:Detached", "options": {"size": 6}})
    with pytest.raises(ConfigError, match=r"^methods\.4dvar: needs gradients"):
        assimilate(broken, "4dvar", tmp_path / "twin.nc", tmp_path / "p.nc", device="cpu")
    assimilate(broken, "prior", tmp_path / "twin.nc", tmp_path / "p.nc", device="cpu")


def test_a_class_of_no_base_is_refused(experiment):
    with pytest.raises(ConfigError, match="system 'plugins:Foreign': is not derived from System"):
        said(experiment(system={"kind": "plugins:Foreign"}))


def test_a_plane_passes(experiment):
    assert "states (1, 2, 3)" in said(experiment(system={"kind": "plugins:Plane"}))


@pytest.mark.parametrize(
    ("operators", "shape"),
    [
        (["vorticity", {"kind": "coarsen", "options": {"factor": [2, 3]}}], "(1, 3, 3)"),
        (["speed", {"kind": "strided", "options": {"every": [2, 4]}}], "(1, 3, 3)"),
        ([{"kind": "stations", "options": {"kernel": [2, 3], "stride": 1}}, "saturation"], "(2, 6)"),
        ([{"kind": "crop", "options": {"size": 5}}, {"kind": "arctan", "options": {"scale": 2}}], "(2, 5, 5)"),
    ],
    ids=str,
)
def test_operators_of_planes_pass(experiment, operators, shape):
    assert f"observation  {shape}" in said(experiment(system=PLANE, observation={"std": 1, "operator": operators}))


def test_waves_pass_but_for_methods_that_ask_for_sites(experiment):
    waves = {"std": 1, "operator": [{"kind": "truncation", "options": {"cutoff": [1, 2]}}]}
    study = experiment(system=PLANE, observation=waves, methods={"prior": {"kind": "prior"}})
    assert "observation  (2, 3, 5)" in said(study)
    with pytest.raises(ConfigError, match=r"methods\.npe: .*Truncation sees waves, which stand at no sites"):
        said(experiment(system=PLANE, observation=waves))


def test_a_swath_passes_and_what_does_not_suit_is_named(experiment):
    def swath(**options):
        mask = [{"kind": "track", "options": options}]
        return experiment(system={"kind": "linear", "options": {"size": 8}}, observation={"std": 1, "mask": mask})

    assert "observation  (1, 8)" in said(swath(width=3, speed=1.5))
    with pytest.raises(ConfigError, match="axis: 1 is none of a grid of 8 sites; choose 0"):
        said(swath(width=3, axis=1))


def test_failed_cases_are_counted_and_named(experiment, tmp_path, caplog):
    sometimes = experiment(
        system={"kind": "plugins:Sometimes", "options": {"size": 6}},
        prior={"joint": "climatology", "std": 1.0},
        splits={"test": {"cases": 60, "shard": 30}},
    )
    simulate(sometimes, "test", 1, tmp_path / "t.nc")
    with xr.open_dataset(tmp_path / "t.nc", decode_times=False) as twin:
        lost = twin["state"].isnull().any(("time", "channel", "x")).to_numpy()
        count, cases = twin.attrs["failed"], twin["case"].to_numpy()[lost]
    assert 0 < count == lost.sum() < 30
    (message,) = warnings(caplog)
    assert f"{count} of 30 cases of shard 1 of split test failed" in message
    assert "(case " + ", ".join(map(str, cases[:10])) in message
    simulate(experiment(), "test", 0, tmp_path / "t.nc")
    with xr.open_dataset(tmp_path / "t.nc", decode_times=False) as twin:
        assert twin.attrs["failed"] == 0
    assert len(warnings(caplog)) == 1


def warnings(caplog) -> list[str]:
    """What was warned of, whatever else the level of the log lets through."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_channels_have_names_in_experiment_files(experiment):
    study = experiment(
        system={"kind": "lorenz63"},
        observation={
            "std": 1,
            "operator": [{"kind": "channels", "options": {"channels": ["z", "x"]}}, "quadratic"],
            "mask": [{"kind": "channels", "options": {"channels": ["x"]}}],
        },
        methods={"prior": {"kind": "prior"}},
    )
    twin = build_problem(study).sample((2,))
    seen = ~twin.window.y.isnan().numpy()
    np.testing.assert_array_equal(seen, np.broadcast_to([False, True], seen.shape))
    noise = twin.window.y[..., 1] - twin.x[:, :4, 0].square()
    assert float(noise.abs().max()) < 5


def test_a_channel_that_there_is_not_is_refused(experiment):
    observation = {"std": 1, "mask": [{"kind": "channels", "options": {"channels": ["yy"]}}]}
    with pytest.raises(ConfigError, match="mask 'channels': channels: there is no 'yy'; did you mean 'y'"):
        said(experiment(system={"kind": "lorenz63"}, observation=observation))


def test_a_lattice_on_a_state_without_a_grid_is_refused(experiment):
    with pytest.raises(ConfigError, match="have no grid; choose the mask 'channels'"):
        said(experiment(system={"kind": "lorenz63"}, observation={"std": 1, "mask": ["grid"]}))
