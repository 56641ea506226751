"""Methods as experiment files have them, and what they take from each other. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, nearest
from . import catalog
from .component import Component
from .sources.signature import constant


def several(methods: Any) -> Any:
    """Methods as an experiment file has them, with those that are trained several times under a name for each time.

    A method that refines another, or draws with its weights, takes over what that one is made of.
    """
    if not isinstance(methods, dict):
        return methods
    found: dict[str, Any] = {}
    for name, method in methods.items():
        seeds = method.get("seeds") if isinstance(method, dict) else None
        if isinstance(seeds, int) and seeds > 1 and method.get("training") is not None:
            alike = {key: value for key, value in method.items() if key != "seeds"}
            label = method.get("label") or name
            for n in range(1, seeds + 1):
                found[f"{name}-{n}"] = {**alike, "group": label, "label": f"{label} ({n})"}
        else:
            found[name] = method
    return {name: _lent(name, _refined(name, method, found), found) for name, method in found.items()}


def _refined(name: str, method: Any, methods: dict[str, Any]) -> Any:
    """A method that refines another, with what that one is made of."""
    if not isinstance(method, dict) or method.get("refines") is None:
        return method
    base = methods.get(str(method["refines"]))
    if not isinstance(base, dict):
        raise ValueError(
            f"{name}.refines: there is no method '{method['refines']}'{nearest(method['refines'], methods)}"
        )
    for key in ("kind", "options"):
        if key in method and method[key] != base.get(key):
            raise ValueError(f"{name}.{key}: is that of '{method['refines']}', which it refines: remove it")
    return {**method, **{key: base[key] for key in ("kind", "options") if key in base}}


def _lent(name: str, method: Any, methods: dict[str, Any]) -> Any:
    """A method that draws with the weights of another of the experiment, with what that one is made of."""
    if not isinstance(method, dict) or method.get("weights") is None or "/" in str(method["weights"]):
        return method
    base = methods.get(str(method["weights"]))
    if not isinstance(base, dict):
        raise ValueError(
            f"{name}.weights: there is no method '{method['weights']}'{nearest(method['weights'], methods)}"
        )
    return borrowed(name, method, base)


def borrowed(name: str, method: dict[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A method that draws with the weights of another, with kind and options of that, and its own of drawing.

    Args:
        name: Its name.
        method: What the file says of it.
        base: The other, with its kind and its options.

    Raises:
        ValueError: If it has another kind, or other options that weights depend on.
    """
    options, own = base.get("options") or {}, method.get("options") or {}
    if method.get("kind", base["kind"]) != base["kind"]:
        raise ValueError(f"{name}.kind: is that of '{method['weights']}', whose weights it draws with: remove it")
    free = drawing_options(base["kind"])
    for option in own:
        if option not in free and _spelt(option, own[option]) != _spelt(option, options.get(option)):
            raise ValueError(
                f"{name}.options.{option}: the weights of '{method['weights']}' depend on it: remove it; of drawing "
                f"alone are {', '.join(sorted(free)) or 'none'}"
            )
    return {**method, "kind": base["kind"], "options": {**options, **own}}


def _spelt(option: str, value: Any) -> Any:
    """A value of an option as plain values, a component with its kind and its options."""
    component = option in catalog.CATALOG and value is not None
    return Component.model_validate(value).model_dump(mode="json") if component else value


def drawing_options(kind: str) -> frozenset[str]:
    """The options of an estimator that are of drawing alone, as its class says; no weights depend on them."""
    try:
        said = constant(catalog.target("method", kind), "drawing")
    except ConfigError:
        return frozenset()
    return frozenset(said.split(", ")) if isinstance(said, str) and said else frozenset()
