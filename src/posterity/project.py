"""The verbs of the command line that work on a project: runs, and files to begin with."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .arguments import ExperimentName, experiments
from .experiment import load

project = typer.Typer()

#: The heading of these verbs.
PANEL = "A study, from its file to its verdict"


@project.command(rich_help_panel=PANEL, epilog="Example: posterity run demo --profile local --cores 4")
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


@project.command(rich_help_panel=PANEL, epilog="Example: posterity new experiment mine")
def new(
    what: Annotated[Literal["experiment", "system", "method"], typer.Argument(metavar="WHAT", help="What to begin.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, and that of its file.")],
) -> None:
    """Write a commented file to begin with: an experiment that passes check, or a system or method that works."""
    from .tasks.starting.new import new as task

    for line in task(what, name):
        typer.echo(line)


@project.command(
    "import",
    rich_help_panel=PANEL,
    epilog="Example: posterity import my.csv --experiment demo --times time --columns A B --sites 0 8 --output my.nc",
)
def import_table(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Comma-separated values, a row for each time.")],
    *,
    experiment: Annotated[
        str, typer.Option(help="The experiment that they are for.", show_default=False, autocompletion=experiments)
    ],
    times: Annotated[str, typer.Option(metavar="COLUMN", help="The column of times.", show_default=False)],
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMNS", help="Those of observations, each a station; all others if omitted."),
    ] = None,
    sites: Annotated[
        list[int] | None,
        typer.Option(metavar="NUMBERS", help="Their places among the observations, row by row; in order if omitted."),
    ] = None,
    std: Annotated[
        list[float] | None,
        typer.Option(metavar="NUMBERS", help="Standard deviation of the noise, one or one for each column."),
    ] = None,
    units: Annotated[str, typer.Option(help="Units of times that are numbers, such as hours since 2020-01-01.")] = "",
    missing: Annotated[
        list[float] | None, typer.Option(metavar="NUMBERS", help="Numbers that stand for missing values.")
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(help="A table with columns background and background_std, and a row for each entry of a state."),
    ] = None,
    output: Annotated[Path, typer.Option(help="The twin to write.", show_default=False)],
) -> None:
    """Make a twin of a table of observations, with times and names as they came; empty cells are missing."""
    from .tasks.files.paths import check_paths
    from .tasks.starting.tables import import_table as task

    check_paths({"table": table, "background": background, "output": output}, ("output",))
    task(
        load(experiment), table, output, times, columns or [], sites or [], std or [], units, missing or [], background
    )
