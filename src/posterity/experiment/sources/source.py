"""What the source of one module says, as plain values that can be kept."""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """A parameter of a constructor: its name, its annotation as written, and whether it must be given."""

    name: str
    annotation: str
    required: bool


class Imported(NamedTuple):
    """A name that a module imports: the dots before the module, the module, and the name in it; none of ``import``."""

    level: int
    module: str
    name: str


class Class(NamedTuple):
    """A class: the names of its bases, parameters of its ``__init__``, fields if it is a dataclass, plain values."""

    bases: list[str]
    init: list[Parameter] | None
    fields: list[Parameter]
    constants: dict[str, Any]


class Source(NamedTuple):
    """A module.

    Args:
        digest: Twelve hexadecimal digits, of the code that can change results.
        own: The same of what it runs beside imports; empty if there is nothing.
        imports: All that it imports when it runs, wherever the statement stands.
        names: The names that its top level imports from other modules.
        binds: The names that its top level binds otherwise.
        classes: The classes of its top level.
        functions: The functions of its top level, with their parameters.
    """

    digest: str
    own: str
    imports: list[Imported]
    names: dict[str, Imported]
    binds: list[str]
    classes: dict[str, Class]
    functions: dict[str, list[Parameter]]


def read(text: bytes, path: str) -> Source:
    """Reads the source of a module.

    Args:
        text: The source.
        path: Where it stands, for the error.

    Returns:
        What it says.

    Raises:
        SyntaxError: If it is not Python.
    """
    body = ast.parse(text, filename=path).body
    classes = {node.name: _class(node) for node in reversed(body) if isinstance(node, ast.ClassDef)}
    functions = {node.name: [*_arguments(node)] for node in reversed(body) if isinstance(node, ast.FunctionDef)}
    names = {
        alias.asname or alias.name: imported
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias, imported in zip(node.names, _imports(node), strict=True)
    }
    binds = sorted(_binds(body))
    # From here on the tree is changed.
    bare = _Bare()
    tree = bare.visit(ast.Module(body, []))
    own = _own_code(tree.body)
    tree = _WithoutHints(bare.hints - _names(tree)).visit(tree)
    imports = [imported for node in ast.walk(tree) for imported in _imports(node)]
    return Source(_digest(tree), own, imports, names, binds, classes, functions)


def revived(values: Iterable[Any]) -> Source:
    """A source from what JSON makes of one."""
    digest, own, imports, names, binds, classes, functions = values
    return Source(
        digest,
        own,
        [Imported(*imported) for imported in imports],
        {name: Imported(*imported) for name, imported in names.items()},
        binds,
        {
            name: Class(bases, None if init is None else _parameters(init), _parameters(fields), constants)
            for name, (bases, init, fields, constants) in classes.items()
        },
        {name: _parameters(parameters) for name, parameters in functions.items()},
    )


def _parameters(values: Iterable[Any]) -> list[Parameter]:
    return [Parameter(*parameter) for parameter in values]


def _digest(tree: ast.AST) -> str:
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


def _own_code(body: list[ast.stmt]) -> str:
    """A digest of what some code runs beside imports."""
    own = [
        statement
        for statement in body
        if not isinstance(statement, ast.Import | ast.ImportFrom)
        and not (isinstance(statement, ast.Assign) and "__all__" in _names(statement))
    ]
    return _digest(ast.Module(own, [])) if own else ""


def _imports(node: ast.AST) -> list[Imported]:
    """What a statement imports."""
    if isinstance(node, ast.Import):
        return [Imported(0, alias.name, "") for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [Imported(node.level, node.module or "", alias.name) for alias in node.names]
    return []


def _binds(body: Iterable[ast.stmt]) -> set[str]:
    """The names that the top level of a module binds otherwise than by a plain import."""
    found: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(statement.name)
        elif not isinstance(statement, ast.Import | ast.ImportFrom):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    found.add(node.id)
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found.update(alias.asname or alias.name for alias in node.names)
    return found


def _class(node: ast.ClassDef) -> Class:
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    made = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    fields = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    constants = {
        ast.unparse(item.target): item.value.value
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.value, ast.Constant)
        if isinstance(item.value.value, str | bool | int | float)
    }
    init = [*_arguments(made[0], first=1)] if made else None
    return Class(bases, init, [*_fields(node)] if fields else [], constants)


def _fields(node: ast.ClassDef) -> Iterator[Parameter]:
    """The annotated fields of a class."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation)
            if not annotation.startswith("ClassVar"):
                yield Parameter(item.target.id, annotation, item.value is None)


def _arguments(node: ast.FunctionDef, first: int = 0) -> Iterator[Parameter]:
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


def _names(node: ast.AST) -> set[str]:
    """The names that some code mentions, in quoted annotations too."""
    found: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            found.add(each.id)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            found.update(re.findall(r"\w+", each.value))
    return found


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
        test = node.test.attr if isinstance(node.test, ast.Attribute) else getattr(node.test, "id", "")
        if test != "TYPE_CHECKING":
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
