"""The verbs of the command line that look around, and make nothing."""

import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

import typer

from .arguments import ExperimentName, groups, kinds_and_experiments
from .experiment import every, load
from .experiment.listing import listing

overview = typer.Typer()

#: The heading of these verbs.
PANEL = "Look around"


@overview.command(rich_help_panel=PANEL, epilog="Example: posterity check demo")
def check(experiment: ExperimentName) -> None:
    """Check an experiment file, and that all it names can be constructed; say what it means, and what jobs it has."""
    from .tasks.check import check_all

    for line in check_all(experiment):
        typer.echo(line)


@overview.command(
    rich_help_panel=PANEL,
    epilog="Example: posterity estimate lorenz96_scaling --profile slurm --benchmarks results/lorenz96_scaling_small",
)
def estimate(
    experiment: ExperimentName,
    *,
    profile: Annotated[
        str | None,
        typer.Option(help="A profile of the workflow, by name or folder, whose limits jobs are held against."),
    ] = None,
    benchmarks: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDERS",
            help="Results of experiments with the same system, as of one with small budgets: their benchmark files, "
            "which Snakemake writes, say what jobs take.",
        ),
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(help="Operations per second of networks, such as 1e13 of a GPU; those measured if omitted."),
    ] = None,
) -> None:
    """Say what a study takes: jobs, files, bytes, operations, hours and memory, and what breaks first."""
    from .tasks.estimate import estimate as task

    for line in task([found for _, found in every(experiment)], profile, benchmarks or [], flops):
        typer.echo(line)


@overview.command(rich_help_panel=PANEL, epilog="Example: posterity why demo assimilate --method etkf")
def why(
    experiment: ExperimentName,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="simulate, train, sample, assimilate, reference, …")],
    *,
    method: Annotated[str, typer.Option(help="The method, of stages that have one.")] = "",
    split: Annotated[str, typer.Option(help="The split, of simulate.")] = "",
    figure: Annotated[str, typer.Option(help="The figure, of plot.")] = "",
    results: Annotated[Path, typer.Option(help="The folder of the results of all experiments.")] = Path("results"),
) -> None:
    """Say what a stage depends on, and what changed since its results were made."""
    from .tasks.why import why as task

    given = {"--method": method, "--split": split, "--figure": figure}
    named = {option: value for option, value in given.items() if value}
    for line in task(load(experiment), stage, named, results):
        typer.echo(line)


@overview.command("list", rich_help_panel=PANEL, epilog="Example: posterity list methods")
def list_names(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[GROUP]",
            help="systems, operators, masks, methods, figures, experiments, …; the groups if omitted.",
            autocompletion=groups,
        ),
    ] = "",
) -> None:
    """List the groups of the catalogue, what one of them holds, or the experiments in config/experiments."""
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    for line in listing(what, width):
        typer.echo(line)


@overview.command(rich_help_panel=PANEL, epilog="Example: posterity show etkf")
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="An entry of the catalogue, or an experiment.", autocompletion=kinds_and_experiments
        ),
    ],
    *,
    group: Annotated[
        str, typer.Option(help="The group, where several have the name; or experiments.", autocompletion=groups)
    ] = "",
    results: Annotated[Path, typer.Option(help="The folder of the results of all experiments.")] = Path("results"),
) -> None:
    """Say what an entry of the catalogue is, with options and papers; of an experiment, its verdict."""
    from .tasks.running.show import show as task

    for line in task(name, group, results):
        typer.echo(line)
