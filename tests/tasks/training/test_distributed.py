"""Processes that share a training: together they take the steps that one would take alone."""

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from posterity.tasks.training.distributed import shared

SCRIPT = """
import sys
import torch
from torch import nn
from posterity.estimators import Batches, Estimator, States, Training
from posterity.problems import Identity, Observation, Problem
from posterity.systems import LinearAdvection
from posterity.tasks.training.distributed import shared

torch.set_default_dtype(torch.float64)
problem = Problem(LinearAdvection(size=4), Observation(Identity((1, 4))), window=3)


class Regression(Estimator):
    def __init__(self, problem):
        super().__init__(problem)
        self.map = nn.Linear(4, 4)

    def loss(self, twin):
        return (self.map(twin.x[:, 0, 0]) - twin.x[:, 2, 0]).square().mean()

    def sample(self, window, samples):
        raise NotImplementedError


with shared(torch.device("cpu")) as rank:
    torch.manual_seed(0)
    twin = problem.sample((96,))
    states = States(twin.x, twin.theta, *twin.window[2:])
    # Only the first process starts from the weights that all are to have.
    torch.manual_seed(1 + rank)
    estimator = Regression(problem)
    training = Training(estimator=estimator, problem=problem, epochs=3, patience=3)
    batches = Batches(
        lambda cases: States(*(value[cases] for value in states)),
        *(96, 16), memory=int(sys.argv[2]), rank=training.rank, world=training.workers,
    )
    # Each process validates on its own.
    records = training.run(batches, [problem.sample((8,))])
    torch.save({"weights": estimator.state_dict(), "losses": [r["train_loss"] for r in records]},
               f"{sys.argv[1]}.{rank}.of.{training.workers}.pt")
"""


def free_port() -> str:
    """A port at which processes may meet."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def trained(tmp_path: Path, monkeypatch):
    """Runs the script in this process, or in several; returns what each of them saved."""

    def run(processes: int, memory: int) -> list[dict]:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT)
        arguments = [str(script), str(tmp_path / "state"), str(memory)]
        if processes == 1:
            monkeypatch.delenv("WORLD_SIZE", raising=False)
            monkeypatch.setattr(sys, "argv", arguments)
            with torch.device("cpu"):
                runpy.run_path(str(script))
        else:
            world = {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port(), "WORLD_SIZE": str(processes)}
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **world}
            started = [
                subprocess.Popen(
                    [sys.executable, *arguments], env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                )
                for rank in range(processes)
            ]
            assert [process.wait(timeout=300) for process in started] == [0] * processes
        return [torch.load(tmp_path / f"state.{rank}.of.{processes}.pt") for rank in range(processes)]

    return run


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(trained) -> None:
    """Of a training set that is read in parts, with a loss that draws nothing: equal but for the order of sums."""
    (alone,), (first, second) = trained(1, 32), trained(2, 32)
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
        torch.testing.assert_close(weight, alone["weights"][name], rtol=1e-9, atol=1e-12)
    assert first["losses"] == second["losses"] == pytest.approx(alone["losses"], rel=1e-9)


def test_alone_there_is_nobody_to_join(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with shared(torch.device("cpu")) as rank:
        assert rank == 0
        assert not torch.distributed.is_initialized()
