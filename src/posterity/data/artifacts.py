"""The files of a training."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError

#: The files that a training writes into its folder.
WEIGHTS, DESCRIPTION, HISTORY = "weights.safetensors", "estimator.json", "history.jsonl"

#: Where the description has the digests of the others, and of its own values.
DIGESTS = "sha256"


def described(values: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The content of a description.

    Args:
        values: What it says.
        files: What the training has written beside it, by the names of the files.

    Returns:
        The values with digests of the files, and one of all that.
    """
    digests = {name: hashlib.new(DIGESTS, content).hexdigest() for name, content in files.items()}
    whole = {**values, DIGESTS: digests}
    digests[DESCRIPTION] = _digest(whole)
    return (json.dumps(whole, indent=2) + "\n").encode()


def _digest(values: Mapping[str, Any]) -> str:
    """The digest of values, however they are laid out in a file."""
    return hashlib.new(DIGESTS, json.dumps(values).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Reads a description; raises ValueError or KeyError if it is not as it was written."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    told = found[DIGESTS].pop(DESCRIPTION)
    if _digest(found) != told:
        raise ValueError("it is damaged")
    return found


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
        found = _read(path)
        return {name: found[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); train the estimator first, or again") from error


def check_intact(file: Path) -> None:
    """Raises if a file of a training is not what the training wrote, where its description is beside it.

    Args:
        file: The weights, or the history.

    Raises:
        DataError: If it differs, or cannot be read, or the description cannot.
    """
    if not (file.parent / DESCRIPTION).exists():
        return
    if (told := description(file.parent, [DIGESTS])[DIGESTS].get(file.name)) is None:
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
