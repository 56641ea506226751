"""Components of an experiment: a kind of the catalogue and its options, checked against its constructor.

Imports no torch: constructors are read, not run.
"""

import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from ..errors import ConfigError, nearest
from . import catalog
from .sources.signature import signature

#: The types in annotations of options that values are checked against.
TYPES = {
    "bool": bool, "dict": dict, "float": float, "int": int, "list": list, "str": str, "tuple": tuple,
    "Any": Any, "Literal": Literal, "Mapping": Mapping, "Sequence": Sequence,
}  # fmt: skip


class Model(BaseModel):
    """A model that names the nearest known key when it meets an unknown one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'{nearest(str(key), cls.model_fields)}")
        return data


class Component(Model):
    """Something from the catalogue, with the options of its constructor. Its kind alone may stand for it.

    An option that is named like a group of the catalogue is a component of that group: so components form a tree, which
    is made once, when a file is read.
    """

    kind: str = Field(description="A name of the catalogue (`posterity list`), or `package.module:Class`.")
    options: dict[str, Any] = Field(default={}, description="Options of its constructor.")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data

    @field_validator("options")
    @classmethod
    def _tree(cls, options: dict[str, Any]) -> dict[str, Any]:
        nested = {name: value for name, value in options.items() if name in catalog.CATALOG and value is not None}
        return options | _COMPONENTS.validate_python(nested)


_COMPONENTS = TypeAdapter(dict[str, Component])


def targets(group: str, component: Component) -> Iterator[str]:
    """The ``module:Class`` targets of a component, and of the components in its options."""
    yield catalog.target(group, component.kind)
    for name, value in component.options.items():
        if isinstance(value, Component):
            yield from targets(name, value)


def check(group: str, component: Component, where: str) -> None:
    """Checks a component's kind, and its options against its constructor."""
    try:
        target = catalog.target(group, component.kind)
        known = {parameter.name: parameter for parameter in signature(target)[catalog.GIVEN.get(group, 0) :]}
    except ConfigError as error:
        raise ValueError(f"{where}: {error}") from None
    for name, value in component.options.items():
        if name not in known:
            raise ValueError(f"{where}.options: unknown option '{name}' of {component.kind}{nearest(name, known)}")
        if isinstance(value, Component):
            check(name, value, f"{where}.options.{name}")
        else:
            _check_value(known[name].annotation, value, f"{where}.options.{name}")
    for name, parameter in known.items():
        if parameter.required and name not in component.options:
            raise ValueError(f"{where}.options: {component.kind} needs the option '{name}'")


def _check_value(annotation: str, value: Any, where: str) -> None:
    """Checks a value against an annotation made of plain types; a type beyond them is left to the constructor."""
    known = [part.strip() for part in annotation.split("|") if part.strip().split("[")[0] in {*TYPES, "None"}]
    try:
        union: Any = typing.Union[tuple(eval(part, {"__builtins__": {}}, TYPES) for part in known)]  # noqa: UP007
        adapter: TypeAdapter[Any] = TypeAdapter(union)
    except (NameError, TypeError, SyntaxError):
        return
    try:
        # As JSON, for a strict check that takes lists for tuples, yet neither text nor booleans for numbers.
        adapter.validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        raise ValueError(f"{where}: {error.errors()[0]['msg']} ({annotation}), not {value!r}") from None


def line(problem: Mapping[str, Any]) -> str:
    """One problem of a validation, as ``key: message``."""
    where = ".".join(map(str, problem["loc"]))
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(problem.get("input"), dict | list | tuple) else f" (not {problem.get('input')!r})"
    remedy = {"missing": "is missing: add it"}.get(problem["type"], message + given)
    return f"{where}: {remedy}" if where else remedy
