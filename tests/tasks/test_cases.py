"""Cases of shards: those that are not finite are named and left out; validation draws are held a batch at a time."""

import weakref

import numpy as np
import pytest
import torch
import xarray as xr

from posterity.data.stream import Shards
from posterity.estimators import Batches
from posterity.inference.cases import Cases, Validation
from posterity.inference.experiments import build_problem
from posterity.tasks.simulate import simulate


@pytest.fixture
def failed(experiment, tmp_path):
    """The shards of a split, in which the model failed in case 3 and in case 27, or 8 of the validation."""

    def made(split: str, second: int):
        paths = [tmp_path / f"{split}-{shard}.nc" for shard in range(2)]
        for shard, path in enumerate(paths):
            simulate(experiment(), split, shard, path)
            dataset = xr.load_dataset(path, decode_times=False)
            for case, value in ((3, np.nan), (second, np.inf)):
                if case in dataset["case"]:
                    dataset["state"].loc[{"case": case, "time": dataset["time"][2:]}] = value
                    if "observation" in dataset:
                        dataset["observation"].loc[{"case": case, "time": dataset["time"][2:]}] = value
            dataset.to_netcdf(path)
        return paths, build_problem(experiment())

    return made


@pytest.mark.parametrize("memory", [None, 32], ids=["whole", "blocks"])
def test_training_cases_that_are_not_finite_are_named_once_and_left_out(failed, caplog, memory) -> None:
    paths, problem = failed("train", 27)
    cases = Cases(Shards.open(paths, "states"), problem, torch.device("cpu"))
    batches = Batches(cases.states, len(cases), 16, memory=memory)
    with caplog.at_level("WARNING", "posterity"):
        seen = [*batches.parts(100, 100), *(states for epoch in range(2) for states in batches.epoch(epoch))]
    assert [len(states.x) for states in seen] == [40, 16, 16, 8, 16, 16, 8] if memory is None else len(seen) > 6
    assert all(states.x.isfinite().all() for states in seen)
    # All cases that are finite, and no others.
    whole = torch.cat([states.x for states in seen[1 : 1 + len(batches)]])
    sound = cases.states(slice(None))
    sound = sound.x[sound.finite()]
    assert len(sound) == 38
    assert torch.equal(whole.flatten(1).unique(dim=0), sound.flatten(1).unique(dim=0))
    text = "are not finite, and are left out of the training: case"
    named = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(named) == 2
    assert named[0].startswith(f"{paths[0]}: 1 of ")
    assert named[0].endswith(f"{text} 3")
    assert named[1].startswith(f"{paths[1]}: 1 of ")
    assert named[1].endswith(f"{text} 27")


def test_validation_cases_that_are_not_finite_are_named_and_left_out(failed, caplog) -> None:
    paths, problem = failed("valid", 8)
    cases = Cases(Shards.open(paths, "twin"), problem, torch.device("cpu"))
    with caplog.at_level("WARNING", "posterity"):
        twins = cases.twins(slice(None))
    assert len(twins.x) == 10
    assert twins.x.isfinite().all()
    named = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message[-6:] for message in named] == ["case 3", "case 8"]
    assert not list(Validation(lambda start: cases.twins(slice(3, 4)), [0], hold=True))


@pytest.mark.parametrize("hold", [True, False])
def test_validation_draws_that_do_not_fit_are_held_a_batch_at_a_time(make_problem, hold) -> None:
    read: list[int] = []
    alive: list[weakref.ref] = []

    def reader(start: int):
        # The last one goes once the next is there.
        assert hold or sum(kept() is not None for kept in alive) <= 1
        twin = make_problem(4).sample((5,))
        read.append(start)
        alive.append(weakref.ref(twin.x))
        return twin

    draws = Validation(reader, range(0, 20, 5), hold)
    for _ in range(2):
        for twin in draws:
            assert len(twin.x) == 5
            del twin
    assert read == [0, 5, 10, 15] * (1 if hold else 2)
