"""The state of an unfinished training, beside its output."""

import hashlib
import pickle
import shutil
from collections.abc import Iterable
from copy import deepcopy
from math import inf
from pathlib import Path
from time import monotonic

import torch

from ...data import atomic
from ...errors import DataError
from ...estimators.learning.training import Training
from ..common import log

#: Seconds between saves.
INTERVAL = 30.0

#: What a file raises that is no state of this training: damaged, of something else, or of another shape.
UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
)


class Checkpoint:
    """The saved state of a training that has not ended.

    The folder stands beside the output and not in it, because Snakemake removes the outputs of a job that failed. The
    file is keyed by all that the training depends on: another configuration or another training set starts anew.

    Args:
        output: The folder that the training will write.
        depends: What it depends on, as text.
        files: Files that it depends on.
        writes: Whether this process saves; others only read.

    Raises:
        DataError: If there is no such file.
    """

    def __init__(self, output: Path, depends: str, files: Iterable[Path], writes: bool = True) -> None:
        key = hashlib.sha256(depends.encode())
        for file in files:
            if not file.is_file():
                raise DataError(f"{file}: there is no such file; simulate it first")
            # The content of simulations is a function of their provenance; size and time tell a replaced file.
            key.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
        self.folder = output.with_name(f".{output.name}.unfinished")
        self.path = self.folder / f"{key.hexdigest()[:16]}.pt"
        self.writes = writes
        # The first state is saved at once: a disk that takes none shows before hours are lost.
        self.saved = -inf

    def load(self, training: Training) -> None:
        """Takes the training up where it stopped, if it was begun."""
        if not self.path.is_file():
            return
        begin = deepcopy(training.state_dict())
        try:
            training.load_state_dict(torch.load(self.path, weights_only=True, map_location=training.device))
        except UNREADABLE as error:
            log.warning("%s: cannot be read (%s); the training starts anew", self.path, error)
            training.load_state_dict(begin)
            return
        log.info("%s: goes on after epoch %d, step %d", self.path, training.epoch, training.step)

    def save(self, training: Training, now: bool = False) -> None:
        """Saves the state, atomically, if the last time is long ago.

        Args:
            training: The training.
            now: Whether to save it in any case.
        """
        if not self.writes or not (now or monotonic() - self.saved >= INTERVAL):
            return
        with atomic(self.path) as temporary:
            try:
                torch.save(training.state_dict(), temporary)
            except RuntimeError as error:  # torch reports a full disk as a failed check of its own
                raise OSError(None, f"{str(error).splitlines()[0]}: the disk is full") from error
        self.saved = monotonic()

    def remove(self) -> None:
        """Removes what is kept of unfinished trainings."""
        shutil.rmtree(self.folder, ignore_errors=True)
