"""The files of a training."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError

#: The files that a training writes into its folder.
WEIGHTS, DESCRIPTION, HISTORY = "weights.safetensors", "estimator.json", "history.jsonl"

#: Where the description has the digests of the others.
DIGESTS = "sha256"


def description(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Reads the description of a training.

    Args:
        folder: The folder that ``train`` wrote.
        names: The names.

    Returns:
        The values by name.

    Raises:
        DataError: If there is no training in the folder, or it did not write all of them.
    """
    path = folder / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: found[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); train the estimator first, or again") from error


def check_intact(file: Path) -> None:
    """Raises if a file of a training is not what the training wrote, as far as its description says that.

    Args:
        file: The weights, or the history.

    Raises:
        DataError: If it differs, or cannot be read.
    """
    try:
        told = json.loads((file.parent / DESCRIPTION).read_bytes())[DIGESTS][file.name]
    except (OSError, ValueError, KeyError, TypeError):
        return
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, DIGESTS).hexdigest()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); train the estimator again") from error
    if found != told:
        raise DataError(
            f"{file}: is damaged, or not of the training that {DESCRIPTION} is of; train the estimator again"
        )
