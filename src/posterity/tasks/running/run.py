"""``posterity run``: a run of the workflow, with what it has done so far and what it comes to. Imports no torch."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from time import monotonic, time

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ...errors import ConfigError, PosterityError
from ...experiment import Experiment, studies
from ..files.verdict import FILE, made, verdicts
from .progress import Progress, clock, durations

#: Lines that the workflow ends with if jobs failed, and how many lines of a log are shown of a run that did not start.
ENDS, SHOWN = ("failed: ", "The workflow was stopped"), 12


def run(
    experiment: str, profile: str = "local", dry: bool = False, cores: str = "", flags: Sequence[str] = ()
) -> Iterator[str]:
    """Runs the workflow for an experiment.

    A terminal shows a table of stages, with jobs done and the time left; elsewhere each job that ends has a line. All
    that Snakemake says goes to a file.

    Args:
        experiment: The name or the path of an experiment; of several, separated by commas.
        profile: A profile of the workflow, its folder or its name.
        dry: Whether to say what would be done, and do nothing.
        cores: The number of cores, of one machine; the profile's if empty.
        flags: Further arguments of Snakemake.

    Yields:
        Lines of text: of a dry run the jobs, else the verdict.

    Raises:
        ConfigError: If there is no such experiment or profile, or no workflow.
        PosterityError: If the run did not end well; the message names the file.
    """
    asked = [[settings for _, settings in study] for study in studies({"experiments": experiment})]
    found = [settings for study in asked for settings in study]
    results, dry = Path("results"), dry or bool({"-n", "--dry-run", "--dryrun"} & set(flags))
    log = results / _name(asked[0]) / "logs" / "run" / f"{datetime.now():%Y-%m-%dT%H%M%S}.log"
    progress, start = Progress(_known(found, results)), time()
    status, ended = _follow(_command(experiment, profile, dry, cores, flags), log, progress, dry)
    names = [settings.name for settings in found]
    if dry and not status:
        yield from _plan(progress, log)
    elif not status:
        yield from verdicts(results, names)
        yield ""
        yield from (made(results, _name(study), len(study) > 1) for study in asked)
    else:
        # Of methods that are left there is one, too; an older one is of another run.
        left = [name for name in names if (path := results / name / FILE).is_file() and path.stat().st_mtime >= start]
        yield from verdicts(results, left)
        said = ended or _tail(log)
        raise PosterityError("\n".join([*said, f"the run did not end well (exit code {status}); see {log}"]))


def _name(study: Sequence[Experiment]) -> str:
    """The name of an experiment, or of the file of several variants."""
    return study[0].name.partition("/")[0] if len(study) > 1 else study[0].name


def _known(found: Sequence[Experiment], results: Path) -> dict[str, float]:
    """The seconds that jobs took in earlier runs, of all variants of a file."""
    known: dict[str, float] = {}
    for settings in found:
        known |= durations(results / settings.name)
    return known


def _command(experiment: str, profile: str, dry: bool, cores: str, flags: Sequence[str]) -> list[str]:
    """The command line of Snakemake, with the workflow of this folder, or else of the project of the package."""
    here, project = Path(), Path(__file__).resolve().parents[4]
    roots = [root for root in (here, project) if (root / "Snakefile").is_file()]
    if not roots:
        raise ConfigError("there is no Snakefile here; run it where your project is, or deploy one (snakedeploy)")
    folders = [Path(profile), *(root / "profiles" / profile for root in (here, project))]
    chosen = next((folder for folder in folders if folder.is_dir()), None)
    if chosen is None:
        raise ConfigError(f"--profile: there is no profile '{profile}' ({' or '.join(map(str, folders[:2]))})")
    # Behind the configuration, which would take targets among the flags for more of it.
    command = [sys.executable, "-m", "snakemake", "--config", f"experiments={experiment}"]
    command += ["--snakefile", str(roots[0] / "Snakefile"), "--profile", str(chosen)]
    return [*command, *(["--cores", cores] if cores else []), *(["--dry-run"] if dry else []), *flags]


def _follow(command: Sequence[str], log: Path, progress: Progress, dry: bool) -> tuple[int, list[str]]:
    """Follows Snakemake to its end; returns its status, and what it said of failures at the end."""
    console, ended = Console(stderr=True), list[str]()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file, _started(command) as process:
        assert process.stdout is not None
        live = console.is_terminal and not dry
        shown: AbstractContextManager[object] = nullcontext()
        if live:
            shown = Live(console=console, get_renderable=lambda: table(progress), transient=True)
        with shown:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if line.startswith(ENDS):
                    ended.append(line.rstrip())
                said = progress.read(line.rstrip("\n"))
                if said and not live:
                    console.print(_line(progress, said), highlight=False, markup=False, soft_wrap=True)
        status = process.wait()
    return status, ended


@contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Starts Snakemake; it is told of what this process is told, and has the time to end its jobs."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1) as process:
        # A terminal interrupts both, and Snakemake ends its jobs first; others tell this process alone.
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number)),
        }
        try:
            yield process
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def table(progress: Progress) -> Table:
    """The table of stages: jobs done and in all, those that run, and the time left.

    Args:
        progress: What the run has done so far.
    """
    shown = Table(box=None, pad_edge=False, caption=_summary(progress), caption_justify="left")
    shown.add_column("stage")
    shown.add_column("done", justify="right")
    shown.add_column("running")
    for name, stage in progress.stages.items():
        running = [text for text, _ in progress.running.values() if text.partition(":")[0] == name]
        failed = f" ({stage.failed} failed)" if stage.failed else ""
        more = f" and {len(running) - 1} more" if len(running) > 1 else ""
        text = f"{running[0].partition(': ')[2]}{more}" if running else ""
        style = "dim" if stage.done == stage.total else "red" if stage.failed else ""
        shown.add_row(name, f"{stage.done}/{stage.total}{failed}", text, style=style)
    return shown


def _summary(progress: Progress) -> str:
    """What a run has done so far, in a line."""
    if not progress.total:
        return f"planning, {clock(monotonic() - progress.start)}"
    left = progress.left()
    ahead = "" if left is None else f", about {clock(left)} left"
    return f"{progress.done}/{progress.total} jobs, {clock(monotonic() - progress.start)}{ahead}"


def _line(progress: Progress, said: str) -> str:
    """A line about a job that ended."""
    return f"[{progress.done}/{progress.total}] {clock(monotonic() - progress.start)} {said}"


def _plan(progress: Progress, log: Path) -> Iterator[str]:
    """What a run would do."""
    if not progress.total:
        yield "Nothing to be done: all results are up to date."
        return
    for name, stage in progress.stages.items():
        known = f"  some {clock(stage.total * progress.known[name])} of one core" if name in progress.known else ""
        yield f"{stage.total:>6}  {name}{known}"
    yield f"{progress.total:>6}  jobs; each with its reason in {log}"


def _tail(log: Path) -> list[str]:
    """The last lines of a log."""
    return [line for line in log.read_text("utf-8").splitlines() if line.strip()][-SHOWN:]
