"""Modules: where their source stands, and what a name in them stands for."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ...errors import ConfigError
from . import kept
from .source import Imported, Source


@cache
def source_file(module: str) -> Path:
    """The source file of a module, found without importing its parents.

    Raises:
        ConfigError: If there is no such module.
    """
    root, *rest = module.split(".")
    try:
        spec = find_spec(root)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ConfigError(f"there is no module '{module}'; is the package '{root}' installed?")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    candidates = [folder.joinpath(*rest) for folder in folders] if rest else [Path(spec.origin or root)]
    for path in candidates:
        # As Python does, which takes a package before a module of the same name.
        for candidate in (path / "__init__.py", path, path.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    raise ConfigError(f"there is no module '{module}' in {', '.join(map(str, folders)) or spec.origin}")


@cache
def source(module: str) -> Source:
    """What the source of a module says.

    Raises:
        ConfigError: If there is no such module, or it is not Python.
    """
    path = source_file(module)
    try:
        return kept.source(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path}: is not Python ({error})") from None


def imported_from(module: str, imported: Imported) -> str:
    """The module that an ``import`` statement of another module names."""
    if not imported.level:
        return imported.module
    package = module if source_file(module).name == "__init__.py" else module.rpartition(".")[0]
    parents = package.split(".")[: len(package.split(".")) - imported.level + 1]
    return ".".join([*parents, imported.module] if imported.module else parents)


def origin(module: str, name: str) -> tuple[str, str] | None:
    """The module that a name is imported from, and its name there; None if the module does not import it."""
    imported = source(module).names.get(name)
    return None if imported is None else (imported_from(module, imported), imported.name)


@cache
def defining_module(module: str, name: str) -> str:
    """The module that defines a name which is imported from a module or package: itself, or the end of re-exports."""
    if not name:
        return module
    path = source_file(module)
    if path.name != "__init__.py" or name in source(module).binds:
        return module
    if found := origin(module, name):
        return defining_module(*found)
    if (path.parent / f"{name}.py").is_file() or (path.parent / name / "__init__.py").is_file():
        return f"{module}.{name}"
    return module
