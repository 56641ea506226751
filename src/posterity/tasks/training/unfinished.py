"""Where the state of a training stands that has not ended. Imports no torch."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ...errors import DataError


def unfinished(output: Path, depends: str, files: Iterable[Path]) -> Path:
    """The file of the state of a training.

    Its folder stands beside the output and not in it, because Snakemake removes the outputs of a job that failed. It is
    keyed by all that the training depends on: another configuration or another training set starts anew.

    Args:
        output: The folder that the training will write.
        depends: What it depends on, as text.
        files: Files that it depends on.

    Returns:
        The path.

    Raises:
        DataError: If there is no such file that it depends on.
    """
    key = hashlib.sha256(depends.encode())
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: there is no such file; simulate it first")
        # The content of simulations is a function of their provenance; size and time tell a replaced file.
        key.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return output.with_name(f".{output.name}.unfinished") / f"{key.hexdigest()[:16]}.pt"
