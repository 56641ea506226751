"""Modules as text: where their source stands, and what a name in them stands for. Nothing is imported to find out."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..errors import ConfigError


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


def syntax_tree(module: str) -> ast.Module:
    """The syntax tree of a module's source; a new one at each call, to be changed at will."""
    path = source_file(module)
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_from(module: str, node: ast.ImportFrom) -> str:
    """The module that a ``from`` statement of another module names."""
    if not node.level:
        return node.module or ""
    package = module if source_file(module).name == "__init__.py" else module.rpartition(".")[0]
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)


def origin(module: str, name: str) -> tuple[str, str] | None:
    """The module that a name is imported from, and its name there; None if the module does not import it."""
    return _names(module).get(name)


@cache
def _names(module: str) -> dict[str, tuple[str, str]]:
    """The names that the top level of a module imports, with the module that each comes from and its name there."""
    return {
        alias.asname or alias.name: (imported_from(module, node), alias.name)
        for node in syntax_tree(module).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@cache
def _own_names(module: str) -> frozenset[str]:
    """The names that the top level of a module binds otherwise than by a plain import."""
    found: set[str] = set()
    for statement in syntax_tree(module).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(statement.name)
        elif not isinstance(statement, ast.Import | ast.ImportFrom):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    found.add(node.id)
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found.update(alias.asname or alias.name for alias in node.names)
    return frozenset(found)


@cache
def defining_module(module: str, name: str) -> str:
    """The module that defines a name which is imported from a module or package: itself, or the end of re-exports."""
    if not name:
        return module
    path = source_file(module)
    if path.name != "__init__.py" or name in _own_names(module):
        return module
    if found := origin(module, name):
        return defining_module(*found)
    if (path.parent / f"{name}.py").is_file() or (path.parent / name / "__init__.py").is_file():
        return f"{module}.{name}"
    return module
