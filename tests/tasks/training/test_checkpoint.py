"""Checkpoints: files that are no state of the training, and disks that are full."""

import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from posterity.errors import DataError
from posterity.estimators import FlowMatching, Training
from posterity.nn import MLP
from posterity.tasks.training.checkpoint import Checkpoint
from posterity.testing import linear_gaussian


@pytest.fixture
def training() -> Callable[[int], Training]:
    """A training of a small network, with first weights of its own."""

    def made(seed: int) -> Training:
        torch.manual_seed(seed)
        problem = linear_gaussian(4)
        return Training(estimator=FlowMatching(problem, network=MLP((8,))), problem=problem)

    return made


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    found = Checkpoint(tmp_path / "fmpe", "", [])
    found.folder.mkdir()
    return found


def stepped(training: Training) -> Training:
    """The same behind a step, so that it has all parts of a state."""
    sum(parameter.square().sum() for parameter in training.estimator.parameters()).backward()
    training.optimizer.step()
    training.total = 1
    return training


def state(path: Path, **changes: object) -> None:
    """Replaces parts of a state."""
    torch.save({**torch.load(path, weights_only=True), **changes}, path)


def other_network(path: Path) -> None:
    torch.save(Training(estimator=FlowMatching(linear_gaussian(4)), problem=linear_gaussian(4)).state_dict(), path)


def flip(path: Path) -> None:
    """Flips a bit of the weights."""
    content = bytearray(path.read_bytes())
    weights = max(torch.load(path, weights_only=True)["estimator"].values(), key=torch.Tensor.numel)
    content[content.index(weights.numpy().tobytes())] ^= 1
    path.write_bytes(content)


#: What stands where the state should.
ELSE: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("not a state"),
    "flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
    "list": lambda path: torch.save([1, 2], path),
    "number": lambda path: torch.save(3.0, path),
    "weights": lambda path: torch.save({"map.weight": torch.ones(2)}, path),
    "lacks": lambda path: torch.save({"estimator": torch.load(path, weights_only=True)["estimator"]}, path),
    "network": other_network,
    "optimizer": lambda path: state(path, optimizer={}),
    "progress": lambda path: state(path, epoch="first"),
}


@pytest.mark.parametrize("spoil", ELSE.values(), ids=ELSE.keys())
def test_a_file_that_is_something_else_starts_the_training_anew(training, checkpoint, caplog, spoil) -> None:
    """With a word, and from the first weights: nothing of the file is taken."""
    checkpoint.save(stepped(training(1)))
    spoil(checkpoint.path)
    fresh, expected = training(2), training(2)
    with caplog.at_level("WARNING", "posterity"):
        checkpoint.load(fresh)
    assert f"{checkpoint.path}: cannot be read" in caplog.text
    assert "the training starts anew" in caplog.text
    assert fresh.total == 0
    assert not fresh.optimizer.state
    for part in ("estimator", "average"):
        found, first = getattr(fresh, part).state_dict(), getattr(expected, part).state_dict()
        assert all(torch.equal(found[name], first[name]) for name in first)


def test_a_disk_that_is_full_is_a_message_and_the_last_state_is_kept(training, checkpoint) -> None:
    """A limit of the size of files stands for the disk."""
    begun = stepped(training(1))
    checkpoint.save(begun)
    kept = checkpoint.path.read_bytes()
    begun.total = 2
    handler, (soft, hard) = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, hard))
    try:
        with pytest.raises(DataError, match=r"\.pt: cannot be written \(.*\); check .* that the disk has room"):
            checkpoint.save(begun, now=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert checkpoint.path.read_bytes() == kept
    assert [path.name for path in checkpoint.folder.iterdir()] == [checkpoint.path.name]
    resumed = training(2)
    checkpoint.load(resumed)
    assert resumed.total == 1
