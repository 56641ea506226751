"""``posterity check``: whether all that an experiment names can be constructed, and what it means."""

from collections.abc import Iterator
from functools import partial

from ..baselines.cycling import cycled
from ..errors import ConfigError
from ..experiment import Experiment, catalog
from ..problems import Posterior
from .common import build, build_method, build_posterior, build_problem


def check(source: str, experiment: Experiment) -> Iterator[str]:
    """Constructs the problem, the methods and the reference of an experiment, and says line by line what it means.

    Args:
        source: What the experiment was loaded by.
        experiment: The experiment.

    Raises:
        ConfigError: If something cannot be constructed, targets another posterior, or has too few draws.
    """
    problem = build_problem(experiment)
    copied = []
    for name in experiment.methods:
        kind = catalog.resolve("method", experiment.methods[name].kind)
        distinct = _distinct(experiment, name, cycled(problem, kind, partial(build_method, experiment, name)))
        if distinct is not None:
            copied.append(f"  note         {name}: of {experiment.draws(name)} draws at most {distinct} differ")
    if experiment.reference is not None:
        build_posterior(experiment, "reference", experiment.reference, problem)
    yield f"{source}: {experiment.title}"
    yield f"  system       {experiment.system.kind}, states {problem.shape}, dt {problem.system.dt:g}"
    yield f"  observation  {problem.observation.shape} at each of {problem.window} times; forecast {problem.forecast}"
    yield f"  joint        {problem.joint}"
    for name in ("train", "valid", "test"):
        split = getattr(experiment.splits, name)
        yield f"  {name:<12} {split.cases} cases in {len(split.shards())} shards"
    for name, method in experiment.methods.items():
        made = f"{method.kind}, refined by {method.refinement.kind}" if method.refinement else method.kind
        yield f"  method       {name} ({made}), {experiment.draws(name)} draws"
    yield from copied


def _distinct(experiment: Experiment, name: str, method: Posterior) -> int | None:
    """The number of draws of a method that differ; None if it is as many as are asked for."""
    samples, refinement = experiment.draws(name), experiment.methods[name].refinement
    try:
        (method if refinement is None else build("refinement", refinement)).check_samples(samples)
    except ValueError as error:
        raise ConfigError(f"{experiment.name}: methods.{name}: {error}") from error
    return method.distinct if method.distinct is not None and method.distinct < samples else None
