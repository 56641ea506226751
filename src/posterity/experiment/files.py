"""Experiment files as text: finding them, and merging YAML that extends other files. Imports no torch."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import ConfigError, nearest

if TYPE_CHECKING:
    SafeLoader = yaml.SafeLoader
else:
    # Ten times faster where PyYAML has it, as its wheels do.
    SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: The folder of experiment files that are named without a path.
EXPERIMENTS = Path("config/experiments")

#: The experiments of the project that the package is in, which other folders may name and extend.
SHIPPED = Path(__file__).resolve().parents[3] / EXPERIMENTS

#: The suffixes of experiment files.
SUFFIXES = (".yaml", ".yml")


def locate(experiment: str | Path, beside: Path | None = None) -> tuple[Path, str | None]:
    """The file of an experiment given by path or by name, and the variant if one is named behind a slash.

    Args:
        experiment: The path, or the name of a file in ``config/experiments``.
        beside: Another folder whose ``config/experiments`` is searched after that of the working directory, and before
            that of the project that the package is in.

    Raises:
        ConfigError: If there is no such file.
    """
    path = Path(experiment)
    folders = _distinct([EXPERIMENTS, *([] if beside is None else [beside / EXPERIMENTS]), SHIPPED])
    for candidate, variant in ((path, None), (path.parent, path.name)):
        for file in _places(candidate, folders):
            if file.is_file():
                return file, variant
    missing = _places(path, folders)
    hint = nearest(path.stem, _beside(missing))
    raise ConfigError(f"there is no experiment '{experiment}' ({' or '.join(map(str, missing))} does not exist){hint}")


def located(experiment: str | Path) -> bool:
    """Whether there is a file of an experiment, given by path or by name."""
    try:
        locate(experiment)
    except ConfigError:
        return False
    return True


def _places(path: Path, folders: Sequence[Path]) -> list[Path]:
    """Where the file of an experiment may be."""
    return [path] if path.suffix in SUFFIXES else [folder / f"{path}.yaml" for folder in folders]


def _distinct(folders: Iterable[Path]) -> list[Path]:
    """The folders that there are, each once, by whatever paths; the first in any case."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if folder.is_dir() or not found:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def variants(path: Path) -> list[str]:
    """The names of the variants of a file."""
    return list(_whole(path).get("variants") or {})


def _beside(paths: Iterable[Path]) -> list[str]:
    """The names of the experiments in the folders of missing ones."""
    return [file.stem for path in paths for file in path.parent.glob("*.yaml")]


def tree(path: Path, variant: str | None = None) -> dict[str, Any]:
    """The tree of a file, merged into that of the file it extends, and of one of its variants.

    Args:
        path: The file.
        variant: The variant; None for a file without variants.

    Returns:
        The tree.

    Raises:
        ConfigError: If a file is missing, cannot be read, is not a mapping in YAML, or extends itself; if there is no
            such variant, or none is named.
    """
    content = _whole(path)
    known = content.pop("variants", None) or {}
    if not isinstance(known, dict) or not all(isinstance(change, dict) for change in known.values()):
        raise ConfigError(f"{path}: variants: must be a mapping from names to what each changes")
    if variant is None:
        if known:
            raise ConfigError(f"{path}: has variants: name one, such as {path.stem}/{next(iter(known))}")
        return content
    if variant not in known:
        raise ConfigError(f"{path}: variants: there is no '{variant}'{nearest(variant, known)}")
    return _extended(content, known[variant], path)


def _whole(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a file, variants and all, merged into that of the file it extends; ``below`` are those that do."""
    if path in below:
        raise ConfigError(f"{path}: extends itself, by way of {', '.join(map(str, below))}; remove one 'extends'")
    try:
        content = _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping of keys such as 'system' and 'methods'")
    if content.get("extends") is None:
        if _chosen(content) is not None:
            raise ConfigError(f"{path}: methods.only: chooses among methods of another file, and this one extends none")
        return dict(content)
    name = f"{str(content['extends']).removesuffix('.yaml')}.yaml"
    places = [folder / name for folder in _distinct([path.parent, EXPERIMENTS, SHIPPED])]
    parent = next((place for place in places if place.is_file()), None)
    if parent is None:
        raise ConfigError(f"{path}: extends: there is no file {places[0]}{nearest(Path(name).stem, _beside(places))}")
    return _extended(_whole(parent, (*below, path)), content, path)


def _chosen(content: dict[str, Any]) -> list[str] | None:
    """The methods that a file chooses among those that it inherits; None if it takes all."""
    methods = content.get("methods")
    chosen = methods.get("only") if isinstance(methods, dict) else None
    return list(map(str, chosen)) if isinstance(chosen, list) else None


def _extended(base: dict[str, Any], change: dict[str, Any], path: Path) -> dict[str, Any]:
    """Merges a change into the tree that it extends, of which it may choose some methods."""
    if (chosen := _chosen(change)) is None:
        return _merge(base, change)
    own = {name: method for name, method in change["methods"].items() if name != "only"}
    inherited = base.get("methods") or {}
    for name in chosen:
        if name not in inherited and name not in own:
            raise ConfigError(f"{path}: methods.only: there is no method '{name}'{nearest(name, inherited)}")
    kept = {name: method for name, method in inherited.items() if name in chosen}
    return _merge(base | {"methods": kept}, change | {"methods": own})


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """What YAML says, for all variants of a file that follow each other: not to be changed."""
    return yaml.load(text, Loader=_Loader)


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merges mappings, key by key; a component of another kind replaces the whole; null removes a method."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, str) and isinstance(value, dict):
            old = {"kind": old}
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            merged[key] = _merge(old, value)
        elif value is None and isinstance(old, dict):
            del merged[key]
        else:
            merged[key] = value
    return merged


class _Loader(SafeLoader):
    """YAML in which a key that is written twice is an error, and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes an exponent without a decimal point for text.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))
