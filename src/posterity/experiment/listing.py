"""What ``posterity list`` prints: the names of the catalogue, and the experiments that there are. Imports no torch."""

from collections.abc import Iterator

from ..errors import ConfigError, nearest
from . import catalog, files
from .loading import every

#: Plurals of groups that are none of English.
LATIN = {"spectrum": "spectra", "stimulus": "stimuli"}


def listing(what: str) -> Iterator[str]:
    """The kinds of a group of the catalogue, or the experiments.

    Args:
        what: The plural of the group, or ``experiments``.

    Yields:
        Lines of text.

    Raises:
        ConfigError: If there is no such group, or no experiment where they are looked for.
    """
    if what == "experiments":
        yield from _experiments()
        return
    groups = {_plural(group): group for group in catalog.CATALOG}
    if what not in groups:
        raise ConfigError(f"there are no '{what}'{nearest(what, [*groups, 'experiments'])}")
    for kind, target in catalog.names(groups[what]).items():
        yield f"{kind:<24} {target}"


def _experiments() -> Iterator[str]:
    """The experiments by name and title; of a file that does not load, what is wrong with it."""
    paths = sorted(files.EXPERIMENTS.glob("*.yaml"))
    if not paths:
        raise ConfigError(f"there are no experiments in {files.EXPERIMENTS.resolve()}; run it where your project is")
    for path in paths:
        try:
            yield from [f"{experiment.name:<32} {experiment.title}" for _, experiment in every(path)]
        except ConfigError as error:
            yield f"{path.stem:<32} (does not load) {error}"


def _plural(group: str) -> str:
    """The plural of a group's name."""
    if group in LATIN:
        return LATIN[group]
    if group.endswith("y") and group[-2] not in "aeiou":
        return group[:-1] + "ies"
    return group + ("es" if group.endswith("s") else "s")
