"""The command line: one verb per rule of the workflow, and those that look around."""

import functools
import logging
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Annotated, Literal, ParamSpec

import typer
from rich.console import Console
from rich.logging import RichHandler
from typer.core import TyperCommand, TyperGroup

from . import __version__
from .arguments import ExperimentName, expanded, figures, methods
from .errors import ConfigError, PosterityError, nearest
from .experiment import Experiment, every, load
from .overview import overview
from .project import project

#: The heading of the verbs that are rules of the workflow.
STAGES = "Stages, which the workflow runs"


class Verbs(TyperGroup):
    """All verbs, those that a person gives before those that the workflow gives."""

    def list_commands(self, ctx: object) -> list[str]:
        """The names of the verbs, in the order in which help shows them."""
        stages = [
            name
            for name, verb in self.commands.items()
            if isinstance(verb, TyperCommand) and verb.rich_help_panel == STAGES
        ]
        return [*(name for name in self.commands if name not in stages), *stages]


app = typer.Typer(
    name="posterity",
    cls=Verbs,
    help="Data assimilation as posterior inference.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Method = Annotated[
    str,
    typer.Option(help="The method's name in the experiment.", show_default=False, autocompletion=methods),
]
Twin = Annotated[Path, typer.Option(help="The twin file; your own needs no truth.", show_default=False)]
Output = Annotated[Path, typer.Option(help="The file (or folder) to write.", show_default=False)]
Weights = Annotated[Path, typer.Option(help="The folder that train wrote.", show_default=False)]
Samples = Annotated[int | None, typer.Option(help="Draws per case; the experiment's if omitted.")]
Library = Annotated[Path | None, typer.Option(help="The library of states, if the experiment has one.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU if there is one.")]
Files = Annotated[list[Path], typer.Option(metavar="FILES", help="One file or several.", show_default=False)]

Arguments = ParamSpec("Arguments")


def _verb(example: str, *writes: str) -> Callable[[Callable[Arguments, None]], Callable[Arguments, None]]:
    """Decorates a verb that writes ``output`` and other arguments, and never over a path that it reads: the rest."""

    def decorated(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
        @functools.wraps(function)
        def run(*arguments: Arguments.args, **options: Arguments.kwargs) -> None:
            from .tasks.files.paths import check_paths

            check_paths(dict(signature(function).bind(*arguments, **options).arguments), ("output", *writes))
            function(*arguments, **options)

        return app.command(epilog=f"Example: {example}", rich_help_panel=STAGES)(run)

    return decorated


@app.callback(invoke_without_command=True)
def _start(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    handler: logging.Handler = RichHandler(console=Console(stderr=True), show_path=False, omit_repeated_times=False)
    if not sys.stderr.isatty():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("posterity").setLevel(logging.WARNING if quiet else logging.INFO)


@_verb("posterity climatology kolmogorov/t1 --output climatology.nc")
def climatology(experiment: ExperimentName, *, output: Output, device: Device = "auto") -> None:
    """Spin up the library of states of a system whose spin-up is long, once for all jobs."""
    from .tasks.climatology import climatology as task

    task(load(experiment), output, device)


@_verb("posterity simulate demo --split test --shard 0 --output twin.nc")
def simulate(
    experiment: ExperimentName,
    split: Annotated[Literal["train", "valid", "test"], typer.Option(help="Which split.")] = "test",
    shard: Annotated[int, typer.Option(help="The number of the shard, from 0.")] = 0,
    *,
    output: Output,
    device: Device = "cpu",
    climatology: Library = None,
) -> None:
    """Draw states, backgrounds and observations from the joint."""
    from .tasks.simulate import simulate as task

    task(load(experiment), split, shard, output, device, climatology)


@_verb("posterity train demo --method npe --train train.nc --valid valid.nc --output npe/")
def train(
    experiment: ExperimentName,
    *,
    method: Method,
    train: Files,
    valid: Files,
    output: Output,
    device: Device = "auto",
    climatology: Library = None,
    submit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RESOURCE=VALUE",
            help="Train in a job of Slurm, with a process for each GPU of each node that the experiment says, and wait "
            "for it; with what each process gets, by the names of Snakemake's plugin for Slurm: mem_mb, runtime, …",
        ),
    ] = None,
) -> None:
    """Train an estimator; a training that was killed goes on where it stopped."""
    settings = _with(experiment, method)
    if submit is None:
        from .tasks.train import train as task

        task(settings, method, train, valid, output, device, climatology)
    else:
        from .tasks.training import submission

        resources = dict(pair.split("=", 1) for pair in submit if "=" in pair)
        submission.submit(submission.Arguments(settings, method, train, valid, output, device, climatology), resources)


@_verb("posterity sample demo --method npe --weights npe/ --twin twin.nc --output posterior.nc")
def sample(
    experiment: ExperimentName,
    *,
    method: Method,
    weights: Weights,
    twin: Twin,
    output: Output,
    samples: Samples = None,
    device: Device = "auto",
    climatology: Library = None,
) -> None:
    """Draw posteriors with a trained estimator."""
    from .tasks.sample import sample as task

    task(_with(experiment, method), method, weights, twin, output, samples, device, climatology)


@_verb("posterity classify demo --method npe --weights npe/ --output classifier.nc")
def classify(
    experiment: ExperimentName,
    *,
    method: Method,
    weights: Weights,
    output: Output,
    device: Device = "auto",
    climatology: Library = None,
) -> None:
    """Train networks to tell the truth from draws of a trained estimator, and say how well they do."""
    from .tasks.classify import classify as task

    task(_with(experiment, method), method, weights, output, device, climatology)


@_verb("posterity assimilate demo --method 4dvar --twin twin.nc --output posterior.nc")
def assimilate(
    experiment: ExperimentName,
    *,
    method: Method,
    twin: Twin,
    output: Output,
    samples: Samples = None,
    device: Device = "auto",
    climatology: Library = None,
) -> None:
    """Draw posteriors with a method that needs no training."""
    from .tasks.assimilate import assimilate as task

    task(_with(experiment, method), method, twin, output, samples, device, climatology)


@_verb("posterity reference vi4dvar --twin twin.nc --output reference.nc")
def reference(
    experiment: ExperimentName, *, twin: Twin, output: Output, device: Device = "auto", climatology: Library = None
) -> None:
    """Draw the reference posterior that methods are held against, in independent runs."""
    from .tasks.reference import reference as task

    task(load(experiment), twin, output, device, climatology)


@_verb("posterity evaluate demo --twin twin.nc --posterior posterior.nc --output metrics.nc")
def evaluate(
    experiment: ExperimentName,
    *,
    twin: Twin,
    posterior: Annotated[Path, typer.Option(help="The posterior file.", show_default=False)],
    reference: Annotated[Path | None, typer.Option(help="The reference, if there is one.")] = None,
    output: Output,
    dask: Annotated[
        str | None, typer.Option(metavar="FILE", help="By workers of this scheduler; or of this job, `slurm`.")
    ] = None,
) -> None:
    """Score draws against the truth, the observations and the reference."""
    from .tasks.evaluate import evaluate as task
    from .tasks.nodes.cluster import workers

    with workers(dask) as found:
        task(load(experiment), twin, posterior, output, reference, found)


@_verb("posterity aggregate demo --metrics a.nc b.nc --output all.nc --table all.csv", "table", "verdict")
def aggregate(
    experiment: ExperimentName,
    *,
    metrics: Files,
    classifier: Annotated[list[Path] | None, typer.Option(metavar="FILES", help="What classify wrote.")] = None,
    failed: Annotated[
        list[str] | None, typer.Option(metavar="METHOD=LOG", help="Methods that failed, each with its log.")
    ] = None,
    output: Output,
    table: Annotated[Path, typer.Option(help="The table to write (CSV).", show_default=False)],
    verdict: Annotated[Path | None, typer.Option(help="The verdict to write (JSON).")] = None,
) -> None:
    """Join the scores of all methods, and write their table, and what it comes to."""
    from .tasks.aggregate import aggregate as task

    logs = {method: log for method, _, log in (pair.partition("=") for pair in failed or [])}
    task(load(experiment), metrics, output, table, classifier or [], logs, verdict)


@_verb("posterity plot demo --figure coverage --twin twin.nc --metrics all.nc --output coverage.svg")
def plot(
    experiment: ExperimentName,
    *,
    figure: Annotated[
        str,
        typer.Option(help="The figure's name (posterity list figures).", show_default=False, autocompletion=figures),
    ],
    twin: Twin,
    metrics: Annotated[Path | None, typer.Option(help="The joined scores, for figures that show them.")] = None,
    posterior: Annotated[list[Path] | None, typer.Option(metavar="FILES", help="For figures of draws.")] = None,
    reference: Annotated[Path | None, typer.Option(help="The reference, for figures that show it.")] = None,
    history: Annotated[list[Path] | None, typer.Option(metavar="FILES", help="For figures of trainings.")] = None,
    output: Output,
) -> None:
    """Draw a figure, as SVG and PNG, or as PDF."""
    from .tasks.plot import plot as task

    task(load(experiment), figure, twin, metrics, posterior or [], output, reference, history or [])


@_verb("posterity report demo --table table.csv --figure table.svg data.svg --output demo.html")
def report(
    experiment: ExperimentName,
    *,
    table: Annotated[Path, typer.Option(help="The table that aggregate wrote.", show_default=False)],
    figure: Annotated[list[Path] | None, typer.Option(metavar="FILES", help="The figures, as SVG.")] = None,
    verdict: Annotated[Path | None, typer.Option(help="The verdict that aggregate wrote.")] = None,
    output: Output,
) -> None:
    """Write the verdict, the table, the figures and the configuration on one page (HTML)."""
    from .tasks.report import report as task

    task(load(experiment), table, figure or [], output, verdict)


@_verb("posterity literature lorenz96_cycling --metrics metrics.nc --output literature.md")
def literature(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENTS", help="Names or paths of experiments.")],
    *,
    metrics: Files,
    output: Output,
) -> None:
    """Set analysis errors beside those that are published."""
    from .tasks.literature import literature as task

    task([load(experiment) for experiment in experiments], metrics, output)


@_verb(
    "posterity scaling lorenz96_scaling --results results --output a.nc --table a.csv --figure a.svg", "table", "figure"
)
def scaling(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="An experiment file with variants.")],
    *,
    results: Annotated[Path, typer.Option(help="The folder of the results of all experiments.", show_default=False)],
    output: Output,
    table: Annotated[Path, typer.Option(help="The table to write (CSV).", show_default=False)],
    figure: Annotated[Path, typer.Option(help="The figure to write, as SVG and PNG, or as PDF.", show_default=False)],
) -> None:
    """Set scores and costs of all variants of an experiment against their size."""
    from .tasks.scaling import scaling as task

    task([settings for _, settings in every(experiment)], results, output, table, figure)


app.add_typer(project)
app.add_typer(overview)


def _with(experiment: str, method: str) -> Experiment:
    """Loads an experiment that must have a method."""
    settings = load(experiment)
    if method not in settings.methods:
        raise ConfigError(f"--method: '{settings.name}' has no method '{method}'{nearest(method, settings.methods)}")
    return settings


def main() -> None:
    """Runs the command line; errors that a user can mend are shown without a traceback."""
    # Components in modules of this folder, as jobs find them, which run by `python -m`; those installed come first.
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    try:
        app(expanded(sys.argv[1:]))
    except PosterityError as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="bold red", markup=False, highlight=False)
        sys.exit(2)
