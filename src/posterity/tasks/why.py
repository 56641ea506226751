"""``posterity why``: what a stage depends on, and what of it has changed since its results were made."""

import json
import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import xarray as xr

from ..errors import ConfigError, DataError, nearest
from ..experiment import Experiment
from ..experiment.dependencies import STAGES, Dependencies, dependencies, origins


def why(experiment: Experiment, stage: str, named: Mapping[str, str], results: Path) -> Iterator[str]:
    """Says what a stage depends on, and what has changed since its results, and those it is made from, were made.

    Args:
        experiment: The experiment.
        stage: The stage.
        named: What the stage makes, by the option that says it: ``--split`` of ``simulate``, ``--figure`` of ``plot``,
            else ``--method``; nothing where the stage makes one thing.
        results: The folder of the results of all experiments.

    Yields:
        Lines of text.

    Raises:
        ConfigError: If there is no such stage, split, figure or method in the experiment.
    """
    name = _name(experiment, stage, named)
    found = dependencies(stage, experiment, name)
    yield f"{_title(stage, name)} of {experiment.name} depends on"
    yield "  the configuration"
    yield from (f"    {key}: {json.dumps(value)}" for key, value in found.configuration.items())
    yield f"  the code of {len(found.modules)} modules"
    yield from (f"    {module}" for module in found.modules)
    before = list(_origins(experiment, stage, name))
    if before:
        yield f"  the results of {', '.join(_title(*origin) for origin in before)}"
    yield ""
    yield from _report(experiment, stage, name, results, told=True)
    for origin in before:
        yield from _report(experiment, *origin, results, told=False)


def _name(experiment: Experiment, stage: str, named: Mapping[str, str]) -> str:
    """What the stage makes; raises if an experiment has no such stage, or nothing of that name in it."""
    known = [stage for stage, each in STAGES.items() if each.results]
    if stage not in known:
        raise ConfigError(f"there is no stage '{stage}' of one experiment{nearest(stage, known)}")
    option, names = STAGES[stage].option, STAGES[stage].names(experiment)
    if strange := [given for given in named if given != option]:
        raise ConfigError(f"{strange[0]}: {stage} takes {option or 'no option that names a part of it'}; leave it out")
    name = named.get(option, "")
    if option and name not in names:
        wanted = f"there is no '{name}'" if name else "name one"
        raise ConfigError(f"{option}: {stage} of '{experiment.name}': {wanted}{nearest(name, names)}")
    return name


def _title(stage: str, name: str) -> str:
    return f"{stage} {name}".rstrip()


def _origins(experiment: Experiment, stage: str, name: str) -> Iterator[tuple[str, str]]:
    """All stages that a stage is made from, directly or by way of others, each once."""
    seen: set[tuple[str, str]] = set()
    pending = origins(stage, experiment, name)
    while pending:
        origin = pending.pop(0)
        if origin not in seen:
            seen.add(origin)
            yield origin
            pending += origins(origin[0], experiment, origin[1])


def _report(experiment: Experiment, stage: str, name: str, results: Path, told: bool) -> Iterator[str]:
    """Says what has changed since the results of a stage were made; that nothing has, only if it is to be told."""
    now = dependencies(stage, experiment, name)
    experiment, own = experiment.owner(name)
    pattern = STAGES[stage].results.format(name=own)
    changes: dict[tuple[str, ...], list[Path]] = {}
    paths = sorted((results / experiment.name).glob(pattern))
    if not paths:
        yield f"{_title(stage, name)}: there are no results yet in {results / experiment.name / pattern}"
    for path in paths:
        shard = int(path.stem) if path.stem.isdigit() else 0
        try:
            lines = _changes(path, now, STAGES[stage].sizes(experiment, own, shard))
        except DataError as error:
            yield str(error)
        else:
            changes.setdefault(lines, []).append(path)
    for lines, files in changes.items():
        where = ", ".join(map(str, files))
        if lines:
            yield f"{where}: will be made anew, since"
            yield from (f"  {line}" for line in lines)
        elif told:
            yield f"{where}: as it would be made now"


def _changes(path: Path, now: Dependencies, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The differences between what a file was made from and what there is now."""
    try:
        attributes, found = _read(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it and make it again") from error
    try:
        configuration, modules = (json.loads(attributes[name]) for name in ("configuration", "code"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: does not say what it was made from; the workflow knows") from error
    # As a file holds it: JSON knows lists alone.
    wanted = json.loads(json.dumps(now.configuration))
    numbers = (f"number of '{name}': {found[name]} -> {size}" for name, size in sizes.items() if found[name] != size)
    return (*_differences(configuration, wanted), *numbers, *_modules(modules, now.modules))


def _read(path: Path) -> tuple[Mapping[str, Any], Mapping[Any, int]]:
    """The attributes of a result, and the sizes of its dimensions."""
    if path.suffix == ".nc":
        with xr.open_dataset(path, decode_times=False, engine="netcdf4") as dataset:
            return dataset.attrs, dict(dataset.sizes)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".svg":
        found = re.search(r"<dc:description>(.*?)</dc:description>", text, flags=re.DOTALL)
        described = json.loads(unescape(found.group(1))) if found else {}
        return {name: json.dumps(value) for name, value in described.items()}, {}
    return json.loads(text), {}


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
