"""The paths that a verb of the command line is given: what it writes is never what it reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...data import apart
from ...errors import ConfigError
from ...experiment import files


def check_paths(given: Mapping[str, object], writes: Sequence[str]) -> None:
    """Raises if a file would be written over another that is given, over an experiment file, or twice.

    Args:
        given: The arguments of a verb, by name.
        writes: The names of those that are written; all other paths are read.

    Raises:
        ConfigError: If two outputs are one path.
        DataError: If an output is an input, by whatever paths.
    """
    paths = {name: [path for path in _several(value) if isinstance(path, Path)] for name, value in given.items()}
    named = [*_several(given.get("experiment")), *_several(given.get("experiments"))]
    read = [files.locate(name)[0] for name in named if isinstance(name, str)]
    # The folder of all results holds what is written, too; its task looks at it.
    read += [path for name, several in paths.items() if name not in (*writes, "results") for path in several]
    written = [path for name in writes for path in paths.get(name, [])]
    for place, path in enumerate(written):
        if path.resolve() in {other.resolve() for other in written[:place]}:
            raise ConfigError(f"{path}: is to be written twice; give each output a path of its own")
    apart(written, read)


def _several(value: object) -> list[object]:
    """An argument as a list."""
    return value if isinstance(value, list) else [value]
