"""The package's source, read without importing it: who imports whom, and what a constructor takes.

The workflow is parsed again in every cluster job, so nothing here may import torch.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from .errors import ConfigError

#: Modules whose effect on a result reaches it through tracked params already: names resolve to the ``module:Class``
#: that they stand for, and configurations to their values.
CARRIED = frozenset(
    {
        "posterity.catalog",
        "posterity.cli",
        "posterity.components",
        "posterity.config",
        "posterity.errors",
        "posterity.parts",
        "posterity.reading",
        "posterity.sources",
    }
)


class Parameter(NamedTuple):
    """A parameter of a constructor: its name, its annotation as written, and whether it must be given."""

    name: str
    annotation: str
    required: bool


def digest(modules: Iterable[str]) -> str:
    """A digest of the code that some modules reach by static imports, inside the package and outside it.

    Comments, docstrings and formatting do not count. A name imported from a package leads to the module that
    defines it, and to none of its siblings.

    Args:
        modules: Names of modules, or ``module:Class`` targets.

    Returns:
        Sixteen hexadecimal digits.
    """
    code = hashlib.sha256()
    for module in sorted(reached(modules)):
        code.update(f"{module}\n{_skeleton(_file(module))}\n".encode())
    return code.hexdigest()[:16]


def reached(modules: Iterable[str]) -> set[str]:
    """All modules of the same top-level packages that some modules (or ``module:Class`` targets) reach."""
    pending = [_defining(*target.partition(":")[::2]) for target in modules]
    found: set[str] = set()
    while pending:
        module = pending.pop()
        if module in found or module in CARRIED:
            continue
        found.add(module)
        pending.extend(_imports(module))
    return found


@cache
def parameters(target: str) -> tuple[Parameter, ...]:
    """The parameters of a function, or of a class's constructor without ``self``.

    Args:
        target: The ``module:name``.

    Returns:
        Those of the function or of ``__init__``, or the fields of a dataclass.

    Raises:
        ConfigError: If there is no such module, class or function.
    """
    module, _, name = target.partition(":")
    module = _defining(module, name)
    for node in _tree(_file(module)).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _constructor(module, node)
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return tuple(_arguments(node, first=0))
    raise ConfigError(f"{target}: there is no '{name}' in {_file(module)}")


def _constructor(module: str, node: ast.ClassDef) -> tuple[Parameter, ...]:
    """The arguments of a class's ``__init__``, or the fields of a dataclass; what it inherits comes first."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return tuple(_arguments(item, first=1))
    found: dict[str, Parameter] = {}
    for base in reversed(node.bases):
        if isinstance(base, ast.Name):
            found |= {parameter.name: parameter for parameter in _inherited(module, base.id)}
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        found |= {parameter.name: parameter for parameter in _fields(node)}
    return tuple(found.values())


def _inherited(module: str, base: str) -> tuple[Parameter, ...]:
    """The parameters of a base class, under the name that a module knows it by; none if its source is not found."""
    source, name = _imported(module, base) or (module, base)
    try:
        return parameters(f"{source}:{name}")
    except ConfigError:
        return ()


def _fields(node: ast.ClassDef) -> Iterator[Parameter]:
    """The annotated fields of a class."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation)
            if not annotation.startswith("ClassVar"):
                yield Parameter(item.target.id, annotation, item.value is None)


def _arguments(node: ast.FunctionDef, first: int) -> Iterator[Parameter]:
    """The arguments of a function, from some position on."""
    arguments = [*node.args.posonlyargs, *node.args.args]
    required = len(arguments) - len(node.args.defaults)
    for index, argument in enumerate(arguments[first:], start=first):
        yield _parameter(argument, index < required)
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        yield _parameter(argument, default is None)


def _parameter(argument: ast.arg, required: bool) -> Parameter:
    """One argument of a function."""
    return Parameter(argument.arg, ast.unparse(argument.annotation) if argument.annotation else "Any", required)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """The modules of this or its own top-level package that a module imports, wherever the statement stands."""
    roots = {module.partition(".")[0], __name__.partition(".")[0]}
    found: list[str] = []
    for node in ast.walk(_tree(_file(module))):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names if alias.name.partition(".")[0] in roots)
        elif isinstance(node, ast.ImportFrom):
            source = _source(module, node)
            if source.partition(".")[0] in roots:
                found += (_defining(source, alias.name) for alias in node.names)
    return tuple(found)


def _source(module: str, node: ast.ImportFrom) -> str:
    """The module that a ``from`` statement of another module names."""
    if not node.level:
        return node.module or ""
    package = module if _file(module).name == "__init__.py" else module.rpartition(".")[0]
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)


def _imported(module: str, name: str) -> tuple[str, str] | None:
    """Where a module imports a name from, and what it is called there; None if it does not."""
    for node in _tree(_file(module)).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _source(module, node), alias.name
    return None


@cache
def _defining(module: str, name: str) -> str:
    """The module that defines a name which is imported from a module or package: itself, or the end of re-exports."""
    if not name:
        return module
    path = _file(module)
    if path.name != "__init__.py":
        return module
    if (path.parent / f"{name}.py").is_file() or (path.parent / name / "__init__.py").is_file():
        return f"{module}.{name}"
    origin = _imported(module, name)
    return _defining(*origin) if origin else module


@cache
def _file(module: str) -> Path:
    """The source file of a module, found without importing its parents."""
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
        for candidate in (path, path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    raise ConfigError(f"there is no module '{module}' in {', '.join(map(str, folders)) or spec.origin}")


@cache
def _tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _skeleton(path: Path) -> str:
    """A digest of the code of a file without docstrings and comments."""
    # A tree of its own: what other functions read keeps its docstrings.
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
