"""The state of an unfinished training, beside its output."""

import pickle
import shutil
import zipfile
from collections.abc import Iterable
from copy import deepcopy
from math import inf
from pathlib import Path
from time import monotonic

import torch

from ...data import atomic
from ...estimators.learning.training import Training
from ..common import log
from .unfinished import unfinished

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
    NotImplementedError,
    zipfile.BadZipFile,
)


class Checkpoint:
    """The saved state of a training that has not ended.

    Args:
        output: The folder that the training will write.
        depends: What it depends on, as text, see :func:`unfinished`.
        files: Files that it depends on.
        writes: Whether this process saves; others only read.

    Raises:
        DataError: If there is no such file.
    """

    def __init__(self, output: Path, depends: str, files: Iterable[Path], writes: bool = True) -> None:
        self.path = unfinished(output, depends, files)
        self.folder = self.path.parent
        self.writes = writes
        # The first state is saved at once: a disk that takes none shows before hours are lost.
        self.saved = -inf

    def load(self, training: Training) -> None:
        """Takes the training up where it stopped, if it was begun."""
        if not self.path.is_file():
            return
        begin = deepcopy(training.state_dict())
        try:
            # torch writes sums of what it saves, and does not compare them.
            with zipfile.ZipFile(self.path) as archive:
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"{damaged} is damaged")
            training.load_state_dict(torch.load(self.path, weights_only=True, map_location=training.device))
        except UNREADABLE as error:
            log.warning("%s: cannot be read (%s); the training starts anew", self.path, error)
            training.load_state_dict(begin)
            return
        if self.writes:
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
