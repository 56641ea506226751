"""Arguments that verbs of the command line share, and options that take several files, or none."""

from collections.abc import Sequence
from typing import Annotated

import typer

from .errors import ConfigError
from .experiment import catalog, files, listing, load


def experiments(incomplete: str) -> list[str]:
    """The names of the experiments of the project that begin with a text; of one with variants, those behind it."""
    name, slash, _ = incomplete.partition("/")
    found = [path.stem for path in listing.experiments()]
    if slash and name in found:
        found = [f"{name}/{variant}" for variant in files.variants(files.locate(name)[0])]
    return [one for one in found if one.startswith(incomplete)]


def methods(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the methods of the experiment that is named before; none if it does not load."""
    # Before an option without its value is whole, what stands before it is not parsed yet.
    experiment = context.params.get("experiment") or next(iter(context.args), "")
    try:
        known = list(load(experiment).methods)
    except ConfigError:
        return []
    return [name for name in known if name.startswith(incomplete)]


def groups(incomplete: str) -> list[str]:
    """The groups of the catalogue that begin with a text, as ``posterity list`` takes them."""
    known = [*map(listing.plural, catalog.CATALOG), "experiments"]
    return [name for name in known if name.startswith(incomplete)]


def figures(incomplete: str) -> list[str]:
    """The figures of the catalogue that begin with a text."""
    return [name for name in catalog.names("figure") if name.startswith(incomplete)]


def kinds_and_experiments(incomplete: str) -> list[str]:
    """The kinds of the catalogue that begin with a text, and the experiments."""
    return [*(kind for kind in listing.kinds() if kind.startswith(incomplete)), *experiments(incomplete)]


ExperimentName = Annotated[
    str,
    typer.Argument(
        metavar="EXPERIMENT",
        help="An experiment file, or its name in config/experiments; NAME/VARIANT.",
        autocompletion=experiments,
    ),
]

#: The options of each verb that take several files, as shells expand them: ``--train shards/*.nc``.
SEVERAL = {
    "train": ("--train", "--valid", "--submit"),
    "aggregate": ("--metrics", "--classifier", "--failed"),
    "plot": ("--posterior", "--history"),
    "report": ("--figure",),
    "literature": ("--metrics",),
    "estimate": ("--benchmarks",),
    "import": ("--columns", "--sites", "--std", "--missing"),
}

#: The options of files that a verb can do without: given with none, as the workflow may, they count as not given.
OPTIONAL = {
    "simulate": ("--climatology",),
    "train": ("--climatology", "--submit"),
    "sample": ("--climatology",),
    "classify": ("--climatology",),
    "assimilate": ("--climatology",),
    "reference": ("--climatology",),
    "evaluate": ("--reference",),
    "aggregate": ("--classifier", "--failed"),
    "plot": ("--posterior", "--history", "--reference"),
    "report": ("--figure",),
}


def expanded(arguments: Sequence[str]) -> list[str]:
    """Spells out the options of files: ``--train a b`` is ``--train a --train b``; optional ones without any go."""
    verb = next((argument for argument in arguments if not argument.startswith("-")), "")
    found: list[str] = []
    option = ""
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=False):
        if argument.startswith("-"):
            option = argument
            if option in OPTIONAL.get(verb, ()) and following.startswith("-"):
                continue
        elif option in SEVERAL.get(verb, ()) and found[-1] != option:
            found.append(option)
        found.append(argument)
    return found
