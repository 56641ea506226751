"""Docstrings of components, read from their source: what one is, its options with their defaults, and its papers."""

import ast
import re
import textwrap
import unicodedata
from functools import cache
from typing import Any, NamedTuple

from ...errors import ConfigError
from .modules import defining_module, origin, source_file
from .signature import signature

#: A heading of a section of a docstring, at its margin.
SECTION = re.compile(r"^(Args|Returns|Raises|References|Attributes|Yields):$", flags=re.MULTILINE)
#: An argument of a docstring, and the authors of a paper with their year.
ARGUMENT = re.compile(r"^(\w+): ", flags=re.MULTILINE)
AUTHORS = re.compile(r"\(([^()]+, \d{4})\b[^()]*\)")
#: Marks of TeX, and what stands for them in a terminal; Greek letters have their own names.
MARKS = {
    "sim": "~", "cdot": "·", "geq": "≥", "leq": "≤", "ge": "≥", "le": "≤", "infty": "∞", "sqrt": "√", "nabla": "∇",
    "partial": "∂", "sum": "Σ", "prod": "Π", "int": "∫", "in": "∈", "to": "→", "approx": "≈", "propto": "∝",
    "times": "×", "pm": "±", "ldots": "…", "dots": "…", "mid": "|", "log": "log", "exp": "exp", "max": "max",
    "min": "min", "sin": "sin", "cos": "cos", "quad": " ", "qquad": "  ", "left": "", "right": "", "big": "", "Big": "",
    "mathcal": "", "mathrm": "", "mathbb": "", "text": "",
}  # fmt: skip


class Option(NamedTuple):
    """An option of a component.

    Args:
        name: Its name.
        annotation: Its type, as written.
        default: Its default, as written; empty if it must be given.
        text: What it is.
    """

    name: str
    annotation: str
    default: str
    text: str


class Described(NamedTuple):
    """A component, as its docstring describes it.

    Args:
        summary: What it is, in a line.
        text: The rest of it, in paragraphs.
        options: Its options.
        papers: The papers that it is from, each with its address.
        constants: Plain values that its body gives to names, such as the units of a system.
    """

    summary: str
    text: str
    options: tuple[Option, ...]
    papers: tuple[str, ...]
    constants: dict[str, Any]

    @property
    def citation(self) -> str:
        """Authors and year of the first paper; empty if there is none."""
        found = AUTHORS.findall(self.papers[0]) if self.papers else []
        return found[0] if found else ""


class Read(NamedTuple):
    """A class or a function as it stands: its docstrings, the defaults of its parameters, its constants, its bases."""

    doc: str
    arguments: dict[str, str]
    defaults: dict[str, str]
    constants: dict[str, Any]


@cache
def described(target: str, given: int = 0) -> Described:
    """Reads what a component is.

    Args:
        target: The ``module:name``.
        given: How many parameters the package gives, before the options.

    Returns:
        What its source says.

    Raises:
        ConfigError: If there is no such module, class or function.
    """
    module, _, name = target.partition(":")
    own = _read(defining_module(module, name), name)
    summary, _, text = _plain(SECTION.split(own.doc, maxsplit=1)[0]).partition("\n\n")
    options = tuple(
        Option(p.name, p.annotation, "" if p.required else own.defaults.get(p.name, ""), own.arguments.get(p.name, ""))
        for p in signature(target)[given:]
    )
    first, *more = re.split(r"(?<=\.) (?=[A-Z])", " ".join(summary.split()), maxsplit=1)
    text = "\n\n".join([*more, text.strip("\n")])
    if first[-1:].isalnum():
        # The sentence goes on with an equation: what stands before the colon is one by itself.
        first = first.rpartition(": ")[0] or first
    return Described(first.rstrip(",:."), text, options, _papers(own.doc), own.constants)


@cache
def _read(module: str, name: str) -> Read:
    """What a class or a function says of itself, and what it takes over from its bases."""
    tree = ast.parse(source_file(module).read_bytes())
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name), None)
    if node is None:
        raise ConfigError(f"{module}:{name}: there is no '{name}' in {source_file(module)}")
    doc = ast.get_docstring(node) or ""
    if isinstance(node, ast.FunctionDef):
        return Read(doc, _arguments(doc), _defaults(node), {})
    arguments, defaults, constants = dict[str, str](), dict[str, str](), dict[str, Any]()
    for base in reversed([base.id for base in node.bases if isinstance(base, ast.Name)]):
        try:
            inherited = _read(*(origin(module, base) or (module, base)))
        except ConfigError:
            continue
        arguments |= inherited.arguments
        defaults |= inherited.defaults
        constants |= inherited.constants
    arguments |= _arguments(doc)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            arguments |= _arguments(ast.get_docstring(item) or "")
            defaults |= _defaults(item)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            if ast.unparse(item.annotation).startswith("ClassVar"):
                constants |= _constant(item.target.id, item.value)
            else:
                defaults[item.target.id] = _default(item.value)
    return Read(doc, arguments, defaults, constants)


def _constant(name: str, value: ast.expr) -> dict[str, Any]:
    """A constant of a class, if it is plain."""
    try:
        return {name: ast.literal_eval(value)}
    except ValueError:
        return {}


def _defaults(node: ast.FunctionDef) -> dict[str, str]:
    """The defaults of the parameters of a function."""
    arguments = [*node.args.posonlyargs, *node.args.args]
    pairs: list[tuple[ast.arg, ast.expr | None]] = [
        *zip(reversed(arguments), reversed(node.args.defaults), strict=False),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]
    return {argument.arg: _default(value) for argument, value in pairs if value is not None}


def _default(value: ast.expr) -> str:
    """A default as text; of a field that is made anew each time, what makes it."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("field", "dataclasses.field"):
        made = {keyword.arg: keyword.value for keyword in value.keywords}
        if "default" in made:
            return ast.unparse(made["default"])
        factory = made.get("default_factory")
        return "" if factory is None else f"{ast.unparse(factory)}()".removeprefix("lambda: ").replace(")()", ")")
    return ast.unparse(value)


def _arguments(doc: str) -> dict[str, str]:
    """The texts of the arguments of a docstring."""
    parts = ARGUMENT.split(textwrap.dedent(_section(doc, "Args")))[1:]
    return {name: " ".join(_plain(text).split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _papers(doc: str) -> tuple[str, ...]:
    """The references of a docstring."""
    # An address may have a line of its own.
    parts = re.split(r"^\s*\| (?!https?://)", _section(doc, "References"), flags=re.MULTILINE)
    return tuple(" ".join(part.replace("| http", "http").split()) for part in parts if part.strip())


def _section(doc: str, name: str) -> str:
    """A section of a docstring, without its heading; empty if it has none."""
    parts = SECTION.split(doc)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(name, "").strip("\n")


def _plain(text: str) -> str:
    """A text without the marks of reStructuredText."""
    text = re.sub(r"^\.\. math::\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\.\. math:: ", "    ", text, flags=re.MULTILINE)
    text = re.sub(r":\w+:`~?([^`]*)`", lambda found: found[1].rpartition("posterity.")[2], text)
    text = re.sub(r"\\([A-Za-z]+)", _mark, text)
    return re.sub(r"\\[,!;| ]", " ", text).replace("``", "")


def _mark(found: re.Match[str]) -> str:
    """What stands for a mark of TeX in a terminal: itself, if nothing does."""
    name = found[1]
    if name in MARKS:
        return MARKS[name]
    try:
        return unicodedata.lookup(f"GREEK {'SMALL' if name.islower() else 'CAPITAL'} LETTER {name.upper()}")
    except KeyError:
        return found[0]
