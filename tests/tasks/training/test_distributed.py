"""Processes that share a training: however many, together they take the steps that one would take alone."""

import os
import subprocess
import sys

import pytest
import torch

from posterity.tasks.training.distributed import _from_slurm, shared

#: Trains by one, two and four processes, and by four that are stopped before two go on; forks, which start at once.
SCRIPT = """
import multiprocessing, os, socket, sys
import torch
from posterity.estimators import Batches, FlowMatching, States, Training
from posterity.estimators.learning import training as engine
from posterity.nn import MLP
from posterity.tasks.training.distributed import shared
from posterity.testing import linear_gaussian

engine.LOOK = 2
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
folder = sys.argv[1]


def train(name, rank, world, port, state, stop):
    os.environ |= dict(MASTER_ADDR="localhost", MASTER_PORT=port, WORLD_SIZE=str(world), RANK=str(rank))
    with shared(torch.device("cpu")):
        problem = linear_gaussian(4)
        torch.manual_seed(0)
        twin, valid = problem.sample((90,)), [problem.sample((size,)) for size in (8, 8, 8, 3)]
        states = States(twin.x, twin.theta, *twin.window[2:])
        # Only the first process starts from the weights that all are to have.
        torch.manual_seed(1 + rank)
        estimator = FlowMatching(problem, network=MLP((8,)))
        training = Training(estimator=estimator, problem=problem, epochs=3, learning_rate=0.01)
        sharing = dict(memory=40, rank=rank, world=world, shares=4)
        batches = Batches(lambda cases: States(*(value[cases] for value in states)), 90, 16, **sharing)
        if state:
            training.load_state_dict(torch.load(state, weights_only=True))
            assert training.workers == 4
        try:
            training.run(batches, valid[rank::world], stop=lambda: training.total >= stop)
        except engine.OutOfTimeError:
            torch.save(training.state_dict(), f"{folder}/state.pt")
            return
        losses = [(record["train_loss"], record["valid_loss"]) for record in training.history]
        torch.save({"weights": estimator.state_dict(), "losses": losses}, f"{folder}/{name}.{rank}.pt")


def run(name, world, state="", stop=10**6):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=train, args=(name, rank, world, port, state, stop)) for rank in range(world)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0, name


for world in (1, 2, 4):
    run(f"by {world}", world)
run("stopped", 4, stop=8)
run("resumed", 2, state=f"{folder}/state.pt")
run("resumed by 4", 4, state=f"{folder}/state.pt")
"""


@pytest.mark.slow
def test_one_two_and_four_processes_come_to_the_same_weights(tmp_path) -> None:
    """Of a training set that is read in parts, with a loss that draws: equal but for the order of sums, in float64."""
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    alone = torch.load(tmp_path / "by 1.0.pt", weights_only=True)
    assert len(alone["losses"]) == 3
    weights = {}
    for name, world in (("by 2", 2), ("by 4", 4), ("resumed", 2), ("resumed by 4", 4)):
        found = [torch.load(tmp_path / f"{name}.{rank}.pt", weights_only=True) for rank in range(world)]
        weights[name] = found[0]["weights"]
        for one in found:
            assert one["losses"] == found[0]["losses"] == [pytest.approx(pair, rel=1e-9) for pair in alone["losses"]]
            for key, weight in one["weights"].items():
                assert torch.equal(weight, found[0]["weights"][key]), key
                torch.testing.assert_close(weight, alone["weights"][key], rtol=1e-8, atol=1e-11)
    # As many as before come to the same bits.
    assert all(torch.equal(weight, weights["resumed by 4"][key]) for key, weight in weights["by 4"].items())


def test_alone_there_is_nobody_to_join(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with shared(torch.device("cpu")) as rank:
        assert rank == 0
        assert not torch.distributed.is_initialized()


def test_the_tasks_of_a_step_meet_elsewhere_after_every_start(monkeypatch) -> None:
    """All of one start at the same place, at the first node."""
    step = {"JOB_ID": "7", "STEP_ID": "0", "STEP_NUM_TASKS": "8", "JOB_NODELIST": "node[3-6]", "LOCALID": "1"}
    places = set()
    for start in ("", "1", "2"):
        for rank in ("3", "5"):
            monkeypatch.setattr(os, "environ", {f"SLURM_{name}": value for name, value in step.items()})
            os.environ |= {"SLURM_PROCID": rank} | ({"SLURM_RESTART_COUNT": start} if start else {})
            _from_slurm()
            assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")] == [rank, "8", "1"]
            places.add((os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]))
    assert len(places) == 3
    assert {address for address, _ in places} == {"node3"}
