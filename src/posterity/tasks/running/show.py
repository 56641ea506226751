"""``posterity show``: an entry of the catalogue, or what an experiment comes to. Imports no torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

from ...errors import ConfigError, nearest
from ...experiment import Experiment, every
from ...experiment.files import located
from ...experiment.listing import experiments, kinds, showing
from ..files.verdict import FILE, WIDTH, verdicts

#: The group that stands for experiments.
EXPERIMENTS = "experiments"


def show(name: str, group: str = "", results: Path = Path("results")) -> Iterator[str]:
    """Says all of an entry of the catalogue; of an experiment its verdict or, without results, what it would be of.

    Args:
        name: A kind of the catalogue, or an experiment, by name or path.
        group: The group of a kind, or ``experiments``; empty for all that have the name.
        results: The folder of the results of all experiments.

    Yields:
        Lines of text.

    Raises:
        ConfigError: If nothing has the name, or there is no such group.
    """
    found = [] if group == EXPERIMENTS else list(showing(name, group))
    yield from found
    if (not group or group == EXPERIMENTS) and located(name):
        if found:
            yield ""
        yield from _experiment([experiment for _, experiment in every(name)], results)
    elif not found:
        known = [*kinds(), *(path.stem for path in experiments())]
        raise ConfigError(
            f"there is no '{name}'{f' among the {group}' if group else ''}, neither in the catalogue nor among the "
            f"experiments{nearest(name, known)}"
        )


def _experiment(found: Sequence[Experiment], results: Path) -> Iterator[str]:
    """What the results of an experiment come to, or of all variants of a file."""
    first = found[0]
    yield f"{first.name}: {first.title}"
    yield ""
    yield from verdicts(results, [experiment.name for experiment in found])
    missing = [experiment.name for experiment in found if not (results / experiment.name / FILE).is_file()]
    if not missing:
        return
    score = "CRPS" if first.reference is None else f"the distance to the reference ({first.reference.kind})"
    moment = "the window end" if first.cycles == 1 else f"the analyses of {first.cycles} windows"
    yield (
        f"No verdict yet of {', '.join(missing)} in {results}. It would rank {len(first.methods)} methods by {score} "
        f"at {moment}, over {first.splits.test.cases} cases:"
    )
    yield from wrap(", ".join(first.methods), WIDTH, initial_indent="  ", subsequent_indent="  ")
    yield f"To have it: posterity run {first.name.partition('/')[0] if len(found) > 1 else first.name}"
