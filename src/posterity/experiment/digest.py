"""Digests of the code that a target reaches.

A result depends on the code that can run to make it: on every module that its task reaches by imports, each taken
without what cannot change a result (comments, docstrings, formatting, type hints of functions). An import that serves
type hints alone leads nowhere, for the same reason. Annotations in the body of a class count, because dataclasses are
made of them.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from .modules import defining_module, imported_from, syntax_tree

#: Code whose effect on a result reaches it through its configuration: names are resolved to the ``module:Class`` that
#: they stand for, and files to their values. The version of the package says nothing that its code does not.
CARRIED = ("posterity", "posterity.cli", "posterity.errors")
CARRIED_ROOM = "posterity.experiment"


class Code(NamedTuple):
    """The part of a module that can change results.

    Args:
        digest: Twelve hexadecimal digits, of its code.
        imports: The modules of its own top-level package, or of this one, that it imports when it runs.
    """

    digest: str
    imports: tuple[str, ...]


def reached(targets: Iterable[str]) -> dict[str, str]:
    """The modules that some targets reach by imports, inside this package and inside their own.

    Comments, docstrings, type hints and formatting do not count. A name imported from a package leads to the module
    that defines it, and to none of its siblings.

    Args:
        targets: Names of modules, or ``module:Class``.

    Returns:
        The digest of each module, by its name.
    """
    pending = [defining_module(*target.partition(":")[::2]) for target in targets]
    found: dict[str, str] = {}
    while pending:
        module = pending.pop()
        if module in found or module in CARRIED or f"{module}.".startswith(f"{CARRIED_ROOM}."):
            continue
        found[module], imports = _code(module)
        pending.extend(imports)
    return dict(sorted(found.items()))


def digest(modules: dict[str, str]) -> str:
    """A digest of modules and their digests, as :func:`reached` returns them: sixteen hexadecimal digits."""
    return hashlib.sha256("".join(f"{name} {code}\n" for name, code in modules.items()).encode()).hexdigest()[:16]


@cache
def _code(module: str) -> Code:
    """Reads the part of a module that can change results."""
    tree = syntax_tree(module)
    bare = _Bare()
    tree = bare.visit(tree)
    tree = _WithoutHints(bare.hints - _names(tree)).visit(tree)
    return Code(hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12], tuple(_imports(module, tree)))


def _names(node: ast.AST) -> set[str]:
    """The names that some code mentions, in quoted annotations too."""
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    quoted = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return found.union(*(re.findall(r"\w+", text) for text in quoted))


def _imports(module: str, tree: ast.AST) -> Iterator[str]:
    """The modules of this or its own top-level package that some code imports, wherever the statement stands."""
    roots = {module.partition(".")[0], __name__.partition(".")[0]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in roots)
        elif isinstance(node, ast.ImportFrom):
            source = imported_from(module, node)
            if source.partition(".")[0] in roots:
                yield from (defining_module(source, alias.name) for alias in node.names)


class _Bare(ast.NodeTransformer):
    """Removes docstrings and type hints, but for annotations in the body of a class, and notes the names in hints."""

    def __init__(self) -> None:
        self.hints: set[str] = set()

    def _without_docstring(self, node: Any) -> Any:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)

    def _without_returns(self, node: Any) -> Any:
        self._hint(node.returns)
        node.returns = None
        return self._without_docstring(node)

    def _hint(self, annotation: ast.expr | None) -> None:
        self.hints |= _names(annotation) if annotation is not None else set()

    visit_Module = _without_docstring  # noqa: N815
    visit_FunctionDef = visit_AsyncFunctionDef = _without_returns  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        fields = {id(item): item for item in node.body if isinstance(item, ast.AnnAssign)}
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        node.body = [item if id(item) in fields else self.visit(item) for item in body]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        self._hint(node.annotation)
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self._hint(node.annotation)
        return None if node.value is None else ast.Assign([node.target], node.value)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if "TYPE_CHECKING" not in _names(node.test):
            return self.generic_visit(node)
        self.hints.add("TYPE_CHECKING")
        return None


class _WithoutHints(ast.NodeTransformer):
    """Removes imports of names that serve type hints alone."""

    def __init__(self, hints: set[str]) -> None:
        self.hints = hints

    def _without(self, node: Any) -> Any:
        node.names = [alias for alias in node.names if (alias.asname or alias.name) not in self.hints]
        return node if node.names else None

    visit_Import = visit_ImportFrom = _without  # noqa: N815
