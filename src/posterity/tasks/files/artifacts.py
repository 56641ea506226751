"""The files of a training."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import DataError

#: The files that a training writes into its folder.
WEIGHTS, DESCRIPTION, HISTORY = "weights.safetensors", "estimator.json", "history.jsonl"


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
