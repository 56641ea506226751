"""``posterity check``: whether all that an experiment names can be constructed, and what it means."""

from collections.abc import Iterator

from ..experiment import Experiment
from .common import build_method, build_problem


def check(source: str, experiment: Experiment) -> Iterator[str]:
    """Constructs the problem and the methods of an experiment, and says what it means.

    Args:
        source: What the experiment was loaded by.
        experiment: The experiment.

    Yields:
        Lines of text.

    Raises:
        ConfigError: If something cannot be constructed.
    """
    problem = build_problem(experiment)
    for name in experiment.methods:
        build_method(experiment, name, problem)
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
