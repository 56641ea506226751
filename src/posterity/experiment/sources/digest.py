"""Digests of the code that a target reaches.

A result depends on the code that can run to make it: on every module that its task reaches by imports, each taken
without what cannot change a result (comments, docstrings, formatting, type hints of functions). An import that serves
type hints alone leads nowhere, for the same reason. Annotations in the body of a class count, because dataclasses are
made of them.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache

from ...errors import ConfigError
from .modules import defining_module, imported_from, origin, source, source_file

#: Code whose effect on a result reaches it through its configuration: names are resolved to the ``module:Class`` that
#: they stand for, and files to their values. The version of the package says nothing that its code does not.
CARRIED = ("posterity", "posterity.cli", "posterity.errors")
CARRIED_ROOM = "posterity.experiment"
#: This package, whose code other packages lead back to.
OWN = "posterity"


def reached(targets: Iterable[str]) -> dict[str, str]:
    """The modules that some targets reach by imports, inside this package and inside their own.

    Comments, docstrings, type hints and formatting do not count. A name imported from a package leads to the module
    that defines it, and to none of its siblings.

    Args:
        targets: Names of modules, or ``module:Class``.

    Returns:
        The digest of each module, by its name.
    """
    return dict(_reached(tuple(targets)))


@cache
def _reached(targets: tuple[str, ...]) -> dict[str, str]:
    pending = [defining_module(*target.partition(":")[::2]) for target in targets]
    found: dict[str, str] = {}
    while pending:
        module = pending.pop()
        if module in found or module in CARRIED or f"{module}.".startswith(f"{CARRIED_ROOM}."):
            continue
        found[module] = source(module).digest
        pending.extend(_leads(module))
        # To import a module runs the code of its packages too, which seldom have any but imports.
        for package in _packages(module):
            if package not in CARRIED and (own := _own_code(package)):
                found[f"{package}.__init__"] = own
    return dict(sorted(found.items()))


def digest(modules: dict[str, str]) -> str:
    """A digest of modules and their digests, as :func:`reached` returns them: sixteen hexadecimal digits."""
    return hashlib.sha256("".join(f"{name} {code}\n" for name, code in modules.items()).encode()).hexdigest()[:16]


@cache
def _leads(module: str) -> tuple[str, ...]:
    """The modules of this or its own top-level package that a module imports when it runs."""
    roots = {module.partition(".")[0], OWN}
    found: list[str] = []
    for imported in source(module).imports:
        base = imported_from(module, imported)
        if imported.name:
            found.extend(_imported(base, imported.name, roots))
        elif _is_readable(base, roots):
            found.append(base)
    return tuple(found)


def _imported(base: str, name: str, roots: set[str]) -> Iterator[str]:
    """The modules that a name leads to which is imported from a module or package."""
    if not _is_readable(base, roots):
        # A package without an `__init__` has modules alone.
        if _is_readable(f"{base}.{name}", roots):
            yield f"{base}.{name}"
        return
    try:
        yield defining_module(base, name)
    except ConfigError:
        # It leads to an extension, or to what is optional.
        yield base
    # A module may pass on what it imports for its hints alone.
    if (found := origin(base, name)) and _is_readable(found[0], roots):
        yield defining_module(*found)


@cache
def _packages(module: str) -> tuple[str, ...]:
    """The packages that a module stands in, from the outermost on."""
    parts = module.split(".")
    return tuple(".".join(parts[:n]) for n in range(1, len(parts)))


@cache
def _own_code(package: str) -> str:
    """A digest of what a package runs beside imports; empty if there is nothing, or no ``__init__``."""
    try:
        return source(package).own
    except ConfigError:
        return ""


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
