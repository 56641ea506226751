"""``posterity check``: whether all that an experiment names can be constructed, and what it means."""

from collections.abc import Iterator

from ..errors import ConfigError
from ..experiment import Experiment
from ..inference.densities import refined
from ..inference.experiments import build_problem, build_reference
from ..inference.records import build_baseline
from ..problems import Posterior, Problem
from ..rules import obey


def check(source: str, experiment: Experiment) -> Iterator[str]:
    """Constructs and tries the problem, the methods and the reference of an experiment, and says what they mean.

    Systems and operators take one step, one observation and one gradient of a small batch; see
    :mod:`posterity.rules`. Seeds torch.

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
    methods = dict(_methods(experiment, problem))
    obey(problem, {key: method.differentiates for key, method in methods.items()})
    copied = []
    for name in experiment.methods:
        distinct = _distinct(experiment, name, methods[f"methods.{name}"])
        if distinct is not None:
            copied.append(f"  note         {name}: of {experiment.draws(name)} draws at most {distinct} differ")
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


def _distinct(experiment: Experiment, name: str, method: Posterior) -> int | None:
    """The number of draws of a method that differ; None if it is as many as are asked for."""
    samples = experiment.draws(name)
    try:
        method.check_samples(samples)
    except ValueError as error:
        raise ConfigError(f"{experiment.name}: methods.{name}: {error}") from error
    return method.distinct if method.distinct is not None and method.distinct < samples else None


def _methods(experiment: Experiment, problem: Problem) -> Iterator[tuple[str, Posterior]]:
    """The methods, those that refine others, and the one of the reference, by their keys."""
    for name, settings in experiment.methods.items():
        method = build_baseline(experiment, name, problem)
        if settings.refinement is not None:
            method = refined(method, settings.refinement, f"methods.{name}.refines")
        yield f"methods.{name}", method
    if experiment.reference is not None:
        yield "reference", build_reference(experiment, problem)
