"""Components by name, as experiment files have them, or as objects that are there already."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from pydantic import ValidationError

from ..errors import ConfigError, nearest
from ..experiment import catalog
from ..experiment.component import Component, check, line
from ..problems import Composed, Mask, Operator
from ..rules import BASES, construct, numbered, seen_channels


def build(group: str, component: Component, *first: Any) -> Any:
    """Constructs a component, and those that its options name.

    Args:
        group: The group of the catalogue.
        component: The kind and the options.
        first: What the constructor takes before the options.

    Returns:
        The object.

    Raises:
        ConfigError: If the constructor refuses a value.
    """
    options = {
        name: build(name, value) if isinstance(value, Component) else value for name, value in component.options.items()
    }
    try:
        return construct(group, catalog.resolve(group, component.kind), *first, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{group} '{component.kind}': {error}") from error


def component_of(group: str, value: str | Mapping[str, Any] | Component) -> Component:
    """A component, checked against its constructor.

    Args:
        group: The group of the catalogue.
        value: A name of the group, or a kind with options, ``{"kind": …, "options": {…}}``, as in experiment files.

    Raises:
        ConfigError: If there is no such kind, or it has no such option; the message names the nearest.
    """
    if isinstance(value, Component):
        return value
    try:
        found = Component.model_validate(value)
        check(group, found, group)
    except ValidationError as error:
        raise ConfigError(f"{group}: {'; '.join(map(line, error.errors()))}") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return found


def made(group: str, value: Any) -> Any:
    """An object of a group: the value itself, what its class makes without options, or what a name stands for.

    Raises:
        ConfigError: If it is none of the group; see :func:`component_of` for names.
    """
    if isinstance(value, str | Mapping | Component):
        return build(group, component_of(group, value))
    found = value() if isinstance(value, type) else value
    if group in BASES and not isinstance(found, BASES[group]):
        raise ConfigError(
            f"{group}: must be an object derived from {BASES[group].__name__}, a name, or a kind with options, not "
            f"{value!r}"
        )
    return found


def options_of(group: str, kind: Any, cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a constructor, with objects for the components that are named among them.

    Args:
        group: The group of the catalogue.
        kind: Its name, or the class again if it has none.
        cls: The class.
        options: The options: plain values, components by name or with options, or objects.

    Raises:
        ConfigError: If it has no such option, or takes no such value; the message names the nearest.
    """
    known = list(signature(cls).parameters)[catalog.GIVEN.get(group, 0) :]
    called = kind if isinstance(kind, str) else cls.__name__
    for name in options:
        if name not in known:
            raise ConfigError(f"{called}: unknown option '{name}'{nearest(name, known)}")
    parts = {name for name, value in options.items() if name in catalog.CATALOG and value is not None}
    if isinstance(kind, str) and all(isinstance(options[name], str | Mapping | Component) for name in parts):
        component_of(group, {"kind": kind, "options": dict(options)})
    return {name: made(name, value) if name in parts else value for name, value in options.items()}


def composed(shape: Sequence[int], names: Sequence[str], operators: Any) -> tuple[Composed, list[str]]:
    """Composes operators, each given the shape of what the one before it sees.

    Args:
        shape: The event shape of a state.
        names: The names of its channels.
        operators: One operator or several, the first to act first: a name, a mapping, an operator, or what makes one of
            a shape, such as its class.

    Returns:
        The operator, and the names of the channels of the observations.
    """
    found: list[Operator] = []
    seen, channels = tuple(shape), list(names)
    for value in several(operators):
        if isinstance(value, str | Mapping | Component):
            operator = _build_seen("operator", component_of("operator", value), channels, seen)
        else:
            operator = value if isinstance(value, Operator) else value(seen)
        found.append(operator)
        channels, seen = seen_channels(operator, channels), operator.out_shape
    return Composed(shape, found), channels


def masks_of(masks: Any, names: Sequence[str]) -> list[Mask]:
    """The masks of observations, of one or several: names, mappings or masks; names of channels may stand in them."""
    return [
        _build_seen("mask", component_of("mask", value), names)
        if isinstance(value, str | Mapping | Component)
        else value
        for value in several(masks)
    ]


def several(value: Any) -> Sequence[Any]:
    """One value as a sequence of one; a sequence as it is."""
    return value if isinstance(value, list | tuple) else [value]


def _build_seen(group: str, component: Component, names: Sequence[str], *first: Any) -> Any:
    """Constructs an operator or a mask, whose options may name channels."""
    try:
        options = numbered(component.options, names)
    except ValueError as error:
        raise ConfigError(f"{group} '{component.kind}': {error}") from error
    return build(group, component.model_copy(update={"options": options}), *first)
