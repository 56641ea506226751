"""Signatures of constructors and functions, read from their source without importing it."""

import ast
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from ..errors import ConfigError
from .modules import defining_module, origin, source_file, syntax_tree


class Parameter(NamedTuple):
    """A parameter of a constructor: its name, its annotation as written, and whether it must be given."""

    name: str
    annotation: str
    required: bool


@cache
def signature(target: str) -> tuple[Parameter, ...]:
    """The parameters of a function, or of a class's constructor without ``self``.

    Args:
        target: The ``module:name``.

    Returns:
        Those of the function or of ``__init__``, or the fields of a dataclass.

    Raises:
        ConfigError: If there is no such module, class or function.
    """
    module, _, name = target.partition(":")
    module = defining_module(module, name)
    for node in syntax_tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _constructor(module, node)
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return tuple(_arguments(node, first=0))
    raise ConfigError(f"{target}: there is no '{name}' in {source_file(module)}")


@cache
def constant(target: str, name: str) -> object:
    """The plain value that a class, or the first of its bases that has one, gives to a name in its body.

    Args:
        target: The ``module:Class``.
        name: The name.

    Returns:
        The value; None if there is none, or its source is not found.
    """
    module, _, cls = target.partition(":")
    try:
        module = defining_module(module, cls)
        body = syntax_tree(module).body
    except ConfigError:
        return None
    for node in (node for node in body if isinstance(node, ast.ClassDef) and node.name == cls):
        for item in (item for item in node.body if isinstance(item, ast.AnnAssign)):
            if isinstance(item.value, ast.Constant) and ast.unparse(item.target) == name:
                return item.value.value
        for base in (base.id for base in node.bases if isinstance(base, ast.Name)):
            source, known = origin(module, base) or (module, base)
            if (found := constant(f"{source}:{known}", name)) is not None:
                return found
    return None


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
    source, name = origin(module, base) or (module, base)
    try:
        return signature(f"{source}:{name}")
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
