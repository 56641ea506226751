"""The verbs of the command line that work on a project: runs, and files to begin with."""

from typing import Annotated

import typer

from .arguments import ExperimentName

project = typer.Typer()


@project.command(epilog="Example: posterity run demo --profile local --cores 4")
def run(
    experiment: ExperimentName,
    flags: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- FLAGS]", help="Flags of Snakemake, behind --, such as -- --forcerun assimilate."),
    ] = None,
    *,
    profile: Annotated[str, typer.Option(help="A profile of the workflow, by name or folder.")] = "local",
    dry: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")] = False,
    cores: Annotated[str, typer.Option(help="Cores of this machine; the profile's if omitted.")] = "",
) -> None:
    """Run the workflow for an experiment, and end with the verdict."""
    from .tasks.running.run import run as task

    for line in task(experiment, profile, dry, cores, flags or []):
        typer.echo(line)
