"""What ``posterity list`` and ``posterity show`` print: the catalogue, and the experiments that there are.

All of it is read from docstrings and signatures, without an import of what they describe: no torch.
"""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import ConfigError, nearest
from . import catalog, files
from .loading import every
from .sources.described import Described, Option, described

#: Plurals of groups that are none of English.
LATIN = {"spectrum": "spectra", "stimulus": "stimuli"}
#: What groups are, in the order of experiment files.
GROUPS: Mapping[str, str] = {
    "system": "dynamical systems: the models",
    "stimulus": "currents that drive neurons",
    "operator": "what instruments see of a state",
    "mask": "which observations there are",
    "prior": "priors of unknown parameters",
    "correlation": "correlations of errors of background and model",
    "spectrum": "spectra of correlations",
    "method": "methods, those that are trained among them: what draws posteriors",
    "family": "densities that variational inference fits",
    "optimizer": "optimisers of variational inference",
    "proposal": "proposals of importance sampling",
    "solver": "solvers of the steps of 4DVAR",
    "target": "what estimators learn",
    "frame": "coordinates in which estimators learn",
    "network": "networks of estimators",
    "flow": "normalizing flows",
    "schedule": "noise levels of diffusion",
    "sampler": "samplers of diffusion",
    "guidance": "how observations guide a score",
    "composition": "how scores of windows make those of trajectories",
    "ratio_loss": "losses of ratio estimation",
    "ratio_sampler": "samplers of ratio estimation",
    "refinement": "from draws of a trained density to the posterior",
    "lr_schedule": "decays of learning rates",
    "figure": "figures of a run",
}
#: Groups of functions, which are given what they take.
FUNCTIONS = ("figure", "lr_schedule")
#: The width of names and of text, and the least that is left to a summary beside a paper.
NAME, WIDTH, LEAST = 26, 110, 15


def listing(what: str = "", width: int | None = None) -> Iterator[str]:
    """The groups of the catalogue, the kinds of one with a line and a paper for each, or the experiments.

    Args:
        what: The plural of the group, or ``experiments``; empty for the groups.
        width: The width at which lines are cut; None for lines as long as they are.

    Yields:
        Lines of text.

    Raises:
        ConfigError: If there is no such group, or no experiment where they are looked for.
    """
    groups = {plural(group): group for group in sorted(catalog.CATALOG, key=list(GROUPS).index)}
    if not what:
        for name, group in groups.items():
            yield f"{name:<{NAME - 10}} {len(catalog.names(group)):>3}  {GROUPS[group]}"
        yield f"{'experiments':<{NAME - 10}}      experiment files"
        yield ""
        yield "posterity list GROUP lists one of them, and posterity show NAME says all of one entry."
        return
    if what == "experiments":
        yield from _experiments()
        return
    if what not in groups:
        raise ConfigError(f"there are no '{what}'{nearest(what, [*groups, 'experiments'])}")
    for kind, target in catalog.names(groups[what]).items():
        yield _line(kind, target, catalog.GIVEN.get(groups[what], 0), width)


def _line(kind: str, target: str, given: int, width: int | None) -> str:
    """A kind with what it is and its paper; with where it stands, if its source does not say."""
    try:
        found = described(target, given)
    except ConfigError:
        return f"{kind:<{NAME}} {target}"
    paper = f" [{found.citation}]" if found.citation else ""
    text = found.summary or target
    if width is not None and len(text) > (room := max(LEAST, width - NAME - 1 - len(paper))):
        text = text[: room - 1].rstrip() + "…"
    line = f"{kind:<{NAME}} {text}{paper}"
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def showing(name: str, group: str = "") -> Iterator[str]:
    """All of a kind: what it is, its options with their defaults, its papers, and how experiments name it.

    Args:
        name: A kind of the catalogue, or ``module:Class`` of a group that is given.
        group: Its group, or the plural of it; empty for all that have such a kind.

    Yields:
        Lines of text; none if there is no such kind.

    Raises:
        ConfigError: If there is no such group.
    """
    groups = {plural(known): known for known in catalog.CATALOG}
    if group and group not in (*groups, *groups.values()):
        raise ConfigError(f"--group: there is no '{group}'{nearest(group, groups)}")
    wanted = [groups.get(group, group)] if group else list(catalog.CATALOG)
    having = [own for own in wanted if name in catalog.names(own) or (group and ":" in name)]
    for place, own in enumerate(having):
        if place:
            yield ""
        target = catalog.target(own, name)
        yield from _shown(own, name, target, described(target, catalog.GIVEN.get(own, 0)))


def kinds() -> dict[str, list[str]]:
    """The groups that have each kind, by its name."""
    found: dict[str, list[str]] = {}
    for group in catalog.CATALOG:
        for kind in catalog.names(group):
            found.setdefault(kind, []).append(group)
    return found


def _shown(group: str, kind: str, target: str, found: Described) -> Iterator[str]:
    """The page of a kind."""
    yield f"{kind} ({group})"
    yield f"  {found.summary}"
    yield f"  {target}"
    for paragraph in filter(None, found.text.split("\n\n")):
        yield ""
        # What is indented is mathematics, and stays as it is.
        lines = paragraph.splitlines() if paragraph.startswith(" ") else textwrap.wrap(paragraph, WIDTH - 2)
        yield from (f"  {line}" for line in lines)
    if group == "system" and "channels" in found.constants:
        channels, units = ", ".join(found.constants["channels"]), found.constants.get("units", "1")
        yield ""
        yield f"  state: {channels}" + (f", in {units}" if units != "1" else ", without units")
        yield f"  time:  in {found.constants.get('time_units', 'model time units')}"
    if group not in FUNCTIONS:
        yield ""
        yield "  options:" if found.options else "  It has no options."
        for option in found.options:
            yield from _option(option)
    if found.papers:
        yield ""
        yield "  references:"
        for paper in found.papers:
            yield from (f"    {line}" for line in textwrap.wrap(paper, WIDTH - 4, break_on_hyphens=False))
    yield ""
    yield f"  in an experiment: {_use(group, kind, found)}"


def _option(option: Option) -> Iterator[str]:
    """The lines of an option."""
    default = f"default {_kind(option)}" if option.default else "must be given"
    plain = option.annotation.replace("float | Tensor", "float, may be unknown").replace(" | None", "")
    if option.name in catalog.CATALOG:
        plain = f"posterity list {plural(option.name)}"
    yield f"    {option.name} ({plain}; {default})"
    yield from (f"        {line}" for line in textwrap.wrap(option.text, WIDTH - 8))


def _kind(option: Option) -> str:
    """The default of an option, as experiment files have it."""
    if option.default == "None":
        return "none"
    name, _, arguments = option.default.partition("(")
    for kind, target in catalog.CATALOG.get(option.name, {}).items():
        if target.partition(":")[2] == name and arguments == ")":
            return kind
    return option.default.replace("True", "true").replace("False", "false")


def _use(group: str, kind: str, found: Described) -> str:
    """How an experiment names a kind."""
    if group == "figure":
        return f"figures: {{only: [{kind}]}}"
    plain = [option for option in found.options if option.name not in catalog.CATALOG and group not in FUNCTIONS]
    option = plain[0] if plain else None
    value = _kind(option) if option and option.default else "…"
    text = f"kind: {kind}" + (f", options: {{{option.name}: {value}}}" if option else "")
    if group == "method":
        return f"methods: {{mine: {{{text}{', training: {}' * bool(found.constants.get('trained'))}}}}}"
    return f"{group}: {{{text}}}" if option else f"{group}: {kind}"


def _experiments() -> Iterator[str]:
    """The experiments by name and title; of a file that does not load, what is wrong with it."""
    paths = experiments()
    if not paths:
        raise ConfigError(f"there are no experiments in {files.EXPERIMENTS.resolve()}; run it where your project is")
    for path in paths:
        try:
            yield from [f"{experiment.name:<32} {experiment.title}" for _, experiment in every(path)]
        except ConfigError as error:
            yield f"{path.stem:<32} (does not load) {error}"


def experiments() -> list[Path]:
    """The files of the experiments of the project."""
    return sorted(files.EXPERIMENTS.glob("*.yaml"))


def plural(group: str) -> str:
    """The plural of a group's name."""
    if group in LATIN:
        return LATIN[group]
    if group.endswith("y") and group[-2] not in "aeiou":
        return group[:-1] + "ies"
    return group + ("es" if group.endswith("s") else "s")
