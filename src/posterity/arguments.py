"""Arguments that verbs of the command line share, and options that take several files, or none."""

from collections.abc import Sequence
from typing import Annotated

import typer

ExperimentName = Annotated[
    str,
    typer.Argument(metavar="EXPERIMENT", help="An experiment file, or its name in config/experiments; NAME/VARIANT."),
]

#: The options of each verb that take several files, as shells expand them: ``--train shards/*.nc``.
SEVERAL = {
    "train": ("--train", "--valid", "--submit"),
    "aggregate": ("--metrics", "--classifier", "--failed"),
    "plot": ("--posterior", "--history"),
    "report": ("--figure",),
    "literature": ("--metrics",),
    "estimate": ("--benchmarks",),
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
