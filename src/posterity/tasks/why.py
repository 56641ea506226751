"""``posterity why``: what a stage depends on, and what of it has changed since its results were made."""

import json
import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import xarray as xr

from ..errors import ConfigError, nearest
from ..experiment import Experiment
from ..experiment.dependencies import STAGES, Dependencies, dependencies


def why(experiment: Experiment, stage: str, name: str, results: Path) -> Iterator[str]:
    """Says what a stage depends on, and what has changed since its results, and those it is made from, were made.

    Args:
        experiment: The experiment.
        stage: The stage.
        name: The split of ``simulate``, the figure of ``plot``, else the method; nothing where the stage needs none.
        results: The folder of the results of all experiments.

    Yields:
        Lines of text.

    Raises:
        ConfigError: If there is no such stage, split, figure or method in the experiment.
    """
    check_name(experiment, stage, name)
    found = dependencies(stage, experiment, name)
    yield f"{_title(stage, name)} of {experiment.name} depends on"
    yield "  the configuration"
    yield from (f"    {key}: {json.dumps(value)}" for key, value in found.configuration.items())
    yield f"  the code of {len(found.modules)} modules"
    yield from (f"    {module}" for module in found.modules)
    origins = list(_origins(experiment, stage, name))
    if origins:
        yield f"  the results of {', '.join(_title(*origin) for origin in origins)}"
    yield ""
    yield from _report(experiment, stage, name, results, told=True)
    for origin in origins:
        yield from _report(experiment, *origin, results, told=False)


def check_name(experiment: Experiment, stage: str, name: str) -> None:
    """Raises if an experiment has no such stage, or nothing of that name in it."""
    known = [stage for stage, each in STAGES.items() if each.results]
    if stage not in known:
        raise ConfigError(f"there is no stage '{stage}' of one experiment{nearest(stage, known)}")
    names, option = STAGES[stage].names(experiment), STAGES[stage].option
    if option and name not in names:
        wanted = f"there is no '{name}'" if name else "name one"
        raise ConfigError(f"{option}: {stage} of '{experiment.name}': {wanted}{nearest(name, names)}")


def _title(stage: str, name: str) -> str:
    return f"{stage} {name}".rstrip()


def _origins(experiment: Experiment, stage: str, name: str) -> Iterator[tuple[str, str]]:
    """All stages that a stage is made from, directly or by way of others, each once."""
    seen: set[tuple[str, str]] = set()
    pending = STAGES[stage].origins(experiment, name)
    while pending:
        origin = pending.pop(0)
        if origin not in seen:
            seen.add(origin)
            yield origin
            pending += STAGES[origin[0]].origins(experiment, origin[1])


def _report(experiment: Experiment, stage: str, name: str, results: Path, told: bool) -> Iterator[str]:
    """Says what has changed since the results of a stage were made; that nothing has, only if it is to be told."""
    now = dependencies(stage, experiment, name)
    pattern = STAGES[stage].results.format(name=name)
    changes: dict[tuple[str, ...] | None, list[Path]] = {}
    for path in sorted((results / experiment.name).glob(pattern)):
        changes.setdefault(_changes(path, now), []).append(path)
    if not changes:
        yield f"{_title(stage, name)}: there are no results yet in {results / experiment.name / pattern}"
    for lines, files in changes.items():
        where = ", ".join(map(str, files))
        if lines is None:
            yield f"{where}: does not say what it was made from; the workflow knows"
        elif lines:
            yield f"{where}: will be made anew, since"
            yield from (f"  {line}" for line in lines)
        elif told:
            yield f"{where}: as it would be made now"


def _changes(path: Path, now: Dependencies) -> tuple[str, ...] | None:
    """The differences between what a file was made from and what there is now."""
    try:
        attributes = _attributes(path)
        configuration, modules = json.loads(attributes["configuration"]), json.loads(attributes["code"])
    except (OSError, KeyError, ValueError):
        return None
    # As a file holds it: JSON knows lists alone.
    wanted = json.loads(json.dumps(now.configuration))
    return (*_differences(configuration, wanted), *_modules(modules, now.modules))


def _attributes(path: Path) -> Mapping[str, Any]:
    """The attributes of a result."""
    if path.suffix == ".nc":
        with xr.open_dataset(path, decode_times=False) as dataset:
            return dataset.attrs
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".svg":
        found = re.search(r"<dc:description>(.*?)</dc:description>", text, flags=re.DOTALL)
        text = unescape(found.group(1)) if found else "{}"
    return json.loads(text)


def _differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """The values that differ, by dotted keys."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
    elif old != new:
        yield f"{key}: {json.dumps(old)} -> {json.dumps(new)}"


def _modules(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """The modules that were edited, and those that are reached now or no longer."""
    for module in sorted({*old, *new}):
        if module not in old:
            yield f"{module}: is reached now"
        elif module not in new:
            yield f"{module}: is no longer reached"
        elif old[module] != new[module]:
            yield f"{module}: was edited"
