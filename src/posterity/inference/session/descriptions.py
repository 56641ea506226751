"""Problems and methods as plain values, in the words of experiment files, and back."""

import inspect
from collections.abc import Mapping
from typing import Any

from ... import problems
from ...errors import ConfigError
from ...experiment import catalog
from ...experiment.component import Component
from ...problems import Composed
from ..components import build, component_of
from ..problem import Problem


def configuration(problem: problems.Problem, name: str, kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What an estimator's training depends on, under the keys of an experiment.

    Args:
        problem: The problem.
        name: The estimator's name.
        kind: Its kind, or its class.
        options: Its options.

    Raises:
        ConfigError: If a part cannot be written down, as an object of a class of the session.
    """
    operator, observation = problem.observation.operator, problem.observation
    operators = operator.operators if isinstance(operator, Composed) else (operator,)
    errors = {"std": problem.model_error, "correlation": _or_none("correlation", problem.error_correlation)}
    return {
        "system": described("system", problem.system),
        "observation": {
            "operator": [described("operator", each, each.shape) for each in operators],
            "mask": [described("mask", mask) for mask in observation.masks],
            "std": _plain("std", observation.std),
        },
        "prior": {
            "joint": problem.joint,
            "std": _plain("std", problem.background_std),
            "correlation": _or_none("correlation", problem.background_correlation),
        },
        "window": problem.window,
        "forecast": problem.forecast,
        "model_error": None if errors == {"std": None, "correlation": None} else _plain_values(errors),
        "parameters": {name: described("prior", prior) for name, prior in problem.parameters.items()},
        "cycles": problem.cycles,
        "start": list(problem.start),
        f"methods.{name}.kind": kind if isinstance(kind, str) else _kind("method", kind),
        f"methods.{name}.options": {key: _option(key, value) for key, value in options.items()},
    }


def problem_of(configuration: Mapping[str, Any]) -> Problem:
    """The problem of a configuration, see :func:`configuration`.

    Args:
        configuration: The values, by the keys of an experiment.

    Raises:
        ConfigError: If there is no component of a name, or it has no such option.
    """
    seen, prior, errors = configuration["observation"], configuration["prior"], configuration["model_error"] or {}
    return Problem(
        configuration["system"],
        configuration["window"],
        operator=seen["operator"],
        std=seen["std"],
        mask=seen["mask"],
        forecast=configuration["forecast"],
        joint=prior["joint"],
        background_std=prior["std"],
        model_error=errors.get("std"),
        parameters=configuration["parameters"],
        cycles=configuration["cycles"],
        start=configuration["start"],
        background_correlation=prior["correlation"],
        error_correlation=errors.get("correlation"),
    )


def described(group: str, value: Any, *first: Any) -> dict[str, Any]:
    """A component as its kind and the options that differ from their defaults.

    Args:
        group: The group of the catalogue.
        value: The object; or its name, or kind and options, which are checked.
        first: What the constructor takes before the options.

    Raises:
        ConfigError: If an object of these options is not the same.
    """
    if isinstance(value, str | Mapping | Component):
        return component_of(group, value).model_dump(mode="json")
    cls, options = type(value), {}
    for name, parameter in list(inspect.signature(cls).parameters.items())[catalog.GIVEN.get(group, 0) :]:
        found = getattr(value, name, parameter.default)
        if found is not parameter.default:
            options[name] = _option(name, found)
    component = component_of(group, {"kind": _kind(group, cls), "options": options})
    if build(group, component, *first) != value:
        raise ConfigError(f"{group}: {cls.__name__} keeps more than its options, and cannot be written down")
    return component.model_dump(mode="json")


def _or_none(group: str, value: Any) -> dict[str, Any] | None:
    """A component as plain values; None if there is none."""
    return None if value is None else described(group, value)


def _option(name: str, value: Any) -> Any:
    """An option as a plain value: a component with its kind and its options."""
    return described(name, value) if name in catalog.CATALOG and value is not None else _plain(name, value)


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are plain, or components already described."""
    return {name: value if isinstance(value, dict) else _plain(name, value) for name, value in values.items()}


def _plain(name: str, value: Any) -> Any:
    """A value of numbers, texts and lists of them."""
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"{name}: {type(value).__name__} is no plain value, and cannot be written down")


def _kind(group: str, cls: type) -> str:
    """The name of a class in the catalogue, or ``module:Class``."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    names = {value: name for name, value in catalog.CATALOG[group].items()}
    return names.get(target, target)
