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

from ..errors import ConfigError
from .modules import defining_module, imported_from, origin, source_file, syntax_tree

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
        # To import a module runs the code of its packages too, which seldom have any but imports.
        for package in _packages(module):
            if package not in CARRIED and (own := _own_code(package)):
                found[f"{package}.__init__"] = own
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


def _packages(module: str) -> list[str]:
    """The packages that a module stands in, from the outermost on."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


@cache
def _own_code(package: str) -> str:
    """A digest of what a package runs beside imports; empty if there is nothing, or no ``__init__``."""
    try:
        body = _Bare().visit(syntax_tree(package)).body
    except ConfigError:
        return ""
    own = [
        statement
        for statement in body
        if not isinstance(statement, ast.Import | ast.ImportFrom)
        and not (isinstance(statement, ast.Assign) and "__all__" in _names(statement))
    ]
    return hashlib.sha256(ast.dump(ast.Module(own, [])).encode()).hexdigest()[:12] if own else ""


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
            yield from (alias.name for alias in node.names if _is_readable(alias.name, roots))
        elif isinstance(node, ast.ImportFrom):
            source = imported_from(module, node)
            for alias in node.names:
                yield from _imported(source, alias.name, roots)


def _imported(source: str, name: str, roots: set[str]) -> Iterator[str]:
    """The modules that a name leads to which is imported from a module or package."""
    if not _is_readable(source, roots):
        # A package without an `__init__` has modules alone.
        if _is_readable(f"{source}.{name}", roots):
            yield f"{source}.{name}"
        return
    try:
        yield defining_module(source, name)
    except ConfigError:
        # It leads to an extension, or to what is optional.
        yield source
    # A module may pass on what it imports for its hints alone.
    if (found := origin(source, name)) and _is_readable(found[0], roots):
        yield defining_module(*found)


@cache
def _has_source(module: str) -> bool:
    """Whether the source of a module can be found: that of an extension, or of what is optional, cannot."""
    try:
        source_file(module)
    except ConfigError:
        return False
    return True


def _is_readable(module: str, roots: set[str]) -> bool:
    """Whether a module belongs to some top-level packages, and has a source."""
    return module.partition(".")[0] in roots and _has_source(module)


class _Bare(ast.NodeTransformer):
    """Removes docstrings and type hints, but for annotations in the body of a class, and notes the names in hints."""

    def __init__(self) -> None:
        self.hints: set[str] = set()
        #: Whether annotations are those of the fields of a class.
        self.fields = False

    def _without_docstring(self, node: Any) -> Any:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)

    def _without_returns(self, node: Any) -> Any:
        self._hint(node.returns)
        node.returns = None
        around, self.fields = self.fields, False
        node = self._without_docstring(node)
        self.fields = around
        return node

    def _hint(self, annotation: ast.expr | None) -> None:
        self.hints |= _names(annotation) if annotation is not None else set()

    visit_Module = _without_docstring  # noqa: N815
    visit_FunctionDef = visit_AsyncFunctionDef = _without_returns  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        around, self.fields = self.fields, True
        node = self._without_docstring(node)
        self.fields = around
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        self._hint(node.annotation)
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if self.fields:
            return node
        self._hint(node.annotation)
        return None if node.value is None else ast.Assign([node.target], node.value)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        """What stands under ``if TYPE_CHECKING`` never runs; what stands under its ``else`` always does."""
        if ast.unparse(node.test) not in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return self.generic_visit(node)
        self.hints.add("TYPE_CHECKING")
        otherwise = ast.Module(node.orelse, [])
        self.generic_visit(otherwise)
        return list(otherwise.body)


class _WithoutHints(ast.NodeTransformer):
    """Removes imports of names that serve type hints alone."""

    def __init__(self, hints: set[str]) -> None:
        self.hints = hints

    def _without(self, node: Any) -> Any:
        node.names = [alias for alias in node.names if (alias.asname or alias.name) not in self.hints]
        return node if node.names else None

    visit_Import = visit_ImportFrom = _without  # noqa: N815
