"""``posterity check``: whether all that an experiment names can be constructed, and what it means."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ..errors import ConfigError
from ..experiment import Experiment, load
from ..experiment.loading import sources
from ..inference.densities import refined
from ..inference.experiments import build_problem, build_reference
from ..inference.records import build_baseline
from ..problems import Posterior, Problem
from ..rules import obey
from .estimate.jobs import jobs
from .running.progress import clock, durations


def check(source: str, experiment: Experiment) -> Iterator[str]:
    """Constructs and tries the problem, the methods and the reference of an experiment, and says what they mean.

    Systems and operators take one step, one observation and one gradient of a small batch; see
    :mod:`posterity.rules`.

    Args:
        source: What the experiment was loaded by.
        experiment: The experiment.

    Yields:
        Lines of text.

    Raises:
        ConfigError: If something cannot be constructed, a system or an operator breaks a rule, or a method targets
            another posterior or has not as many draws as are asked for.
    """
    problem = build_problem(experiment, truth=True)
    errors: list[str] = []
    methods, copied = dict[str, Posterior](), list[str]()
    for key, build in _methods(experiment, problem):
        try:
            methods[key] = build()
            name = key.partition(".")[2]
            if name and (distinct := _distinct(experiment, name, methods[key])) is not None:
                copied.append(f"  note         {name}: of {experiment.draws(name)} draws at most {distinct} differ")
        except ConfigError as error:
            errors.append(str(error))
    try:
        obey(problem, {key: method.differentiates for key, method in methods.items()})
    except ConfigError as error:
        errors.append(str(error))
    if errors:
        raise ConfigError("\n".join(errors))
    yield f"{source}: {experiment.title}"
    yield f"  system       {experiment.system.kind}, states {problem.shape}, dt {problem.system.dt:g}"
    yield f"  observation  {problem.observation.shape} at each of {problem.window} times; forecast {problem.forecast}"
    yield f"  joint        {problem.joint}"
    for name in ("train", "valid", "test"):
        split = getattr(experiment.splits, name)
        yield f"  {name:<12} {split.cases} cases in {len(split.shards())} shards"
    for name, method in experiment.methods.items():
        made = f"{method.kind}, refined by {method.refinement.kind}" if method.refinement else method.kind
        made += f", with the weights of {method.weights}" if method.weights else ""
        yield f"  method       {name} ({made}), {experiment.draws(name)} draws"
    yield from copied


def check_all(experiment: str, results: Path = Path("results")) -> Iterator[str]:
    """Checks an experiment file, with all of its variants, and counts the jobs of a run.

    Args:
        experiment: Its name or path.
        results: The folder of the results of all experiments; those of earlier runs say how long another would take.

    Yields:
        Lines of text.

    Raises:
        ConfigError: All that is wrong, a line each.
    """
    found, errors = list[Experiment](), list[str]()
    for source in sources(experiment):
        try:
            found.append(load(source))
            yield from check(source, found[-1])
        except ConfigError as error:
            errors.append(str(error))
    if errors:
        raise ConfigError("\n".join(errors))
    planned = jobs(found)
    took = {name: durations(results / name) for name in {job.experiment.name for job in planned}}
    seconds = [took[job.experiment.name].get(job.rule) for job in planned]
    known = [each for each in seconds if each is not None]
    if not known:
        yield f"  jobs         {len(planned)}"
        return
    rest = "" if len(known) == len(planned) else f" for {len(known)} of them"
    yield f"  jobs         {len(planned)}; on one core {clock(sum(known))}{rest}, as earlier runs took"


def _distinct(experiment: Experiment, name: str, method: Posterior) -> int | None:
    """The number of draws of a method that differ; None if it is as many as are asked for."""
    samples = experiment.draws(name)
    try:
        method.check_samples(samples)
    except ValueError as error:
        raise ConfigError(f"{experiment.name}: methods.{name}: {error}") from error
    return method.distinct if method.distinct is not None and method.distinct < samples else None


def _methods(experiment: Experiment, problem: Problem) -> Iterator[tuple[str, Callable[[], Posterior]]]:
    """What builds the methods, those that refine others, and the one of the reference, by their keys."""
    for name in experiment.methods:
        yield f"methods.{name}", partial(_method, experiment, name, problem)
    if experiment.reference is not None:
        yield "reference", partial(build_reference, experiment, problem)


def _method(experiment: Experiment, name: str, problem: Problem) -> Posterior:
    """A method, which may refine another."""
    method, refinement = build_baseline(experiment, name, problem), experiment.methods[name].refinement
    return method if refinement is None else refined(method, refinement, f"methods.{name}.refines")
