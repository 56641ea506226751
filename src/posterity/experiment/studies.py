"""The experiments that a workflow runs, as its configuration names them. Imports no torch."""

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ..errors import ConfigError, nearest
from .experiment import Experiment
from .loading import every

#: The keys of the configuration of the workflow that a user sets.
KEYS = ("experiments", "container")

#: What one experiment is loaded by, and the experiment.
Loaded = tuple[str, Experiment]


def studies(config: Mapping[str, Any], beside: Path | None = None) -> list[list[Loaded]]:
    """The experiments of a workflow, those of one file together.

    Args:
        config: The configuration of the workflow; its key ``experiments`` holds names or paths of experiment files,
            as a list or separated by commas.
        beside: A folder whose ``config/experiments`` is searched for names that the working directory does not have.

    Returns:
        For each name, what stands for it: the experiment, or all variants of a file.

    Raises:
        ConfigError: If nothing is named, a name is none, an experiment does not load, or two files have one name.
    """
    found = [list(every(name, beside)) for name in _named(config.get("experiments"))]
    files: dict[str, str] = {}
    for file, experiment in (loaded for study in found for loaded in study):
        other = files.setdefault(experiment.name, file)
        if Path(other).resolve() != Path(file).resolve():
            raise ConfigError(
                f"{other} and {file} are both named {experiment.name}, and so are their results: rename one"
            )
    return found


def lent(found: Iterable[Iterable[Loaded]]) -> list[Loaded]:
    """The experiments whose weights those of a workflow draw with, beside these.

    Raises:
        ConfigError: If one has the name of another.
    """
    known = {experiment.name: file for study in found for file, experiment in study}
    more: dict[str, Loaded] = {}
    for study in found:
        for _, experiment in study:
            for name, (file, lender) in experiment.lenders.items():
                if Path(known.get(name, file)).resolve() != Path(file).resolve():
                    raise ConfigError(f"{known[name]} and {file} are both named {name}: rename one")
                if name not in known:
                    more[name] = file, lender
    return list(more.values())


def check_keys(config: Iterable[str]) -> None:
    """Checks that a configuration has no keys that mean nothing.

    Raises:
        ConfigError: If it has.
    """
    for key in config:
        if key not in KEYS:
            raise ConfigError(f"config: unknown key '{key}'{nearest(key, KEYS)}")


def _named(value: Any) -> list[str]:
    """The names that a value stands for."""
    hint = "name experiments or paths of their files, such as --config experiments=demo,vi4dvar"
    if value is None:
        raise ConfigError(f"experiments: is empty; {hint}")
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, PathLike) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str | PathLike) for part in parts):
        raise ConfigError(f"experiments: {value!r} is no name of an experiment; {hint}")
    if not (names := [fspath(part).strip() for part in parts if fspath(part).strip()]):
        raise ConfigError(f"experiments: is empty; {hint}")
    return names
