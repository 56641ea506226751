"""Signatures of constructors and functions, read from their source."""

from functools import cache

from ...errors import ConfigError
from .modules import defining_module, origin, source, source_file
from .source import Class, Parameter

__all__ = ["Parameter", "constant", "signature"]


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
    found = source(module)
    if name in found.classes:
        return _constructor(module, found.classes[name])
    if name in found.functions:
        return tuple(found.functions[name])
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
        found = source(module).classes.get(cls)
    except ConfigError:
        return None
    if found is None or name in found.constants:
        return None if found is None else found.constants[name]
    for base in found.bases:
        origin_of_base, known = origin(module, base) or (module, base)
        if (inherited := constant(f"{origin_of_base}:{known}", name)) is not None:
            return inherited
    return None


def _constructor(module: str, cls: Class) -> tuple[Parameter, ...]:
    """The arguments of a class's ``__init__``, or the fields of a dataclass; what it inherits comes first."""
    if cls.init is not None:
        return tuple(cls.init)
    found: dict[str, Parameter] = {}
    for base in reversed(cls.bases):
        found |= {parameter.name: parameter for parameter in _inherited(module, base)}
    found |= {parameter.name: parameter for parameter in cls.fields}
    return tuple(found.values())


def _inherited(module: str, base: str) -> tuple[Parameter, ...]:
    """The parameters of a base class, under the name that a module knows it by; none if its source is not found."""
    defined, name = origin(module, base) or (module, base)
    try:
        return signature(f"{defined}:{name}")
    except ConfigError:
        return ()
