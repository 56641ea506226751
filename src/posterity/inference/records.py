"""Methods of an experiment for records of several windows."""

from functools import partial

from ..baselines.cycling import cycled
from ..errors import ConfigError
from ..experiment import Experiment, catalog
from ..problems import Posterior, Problem
from .experiments import build_method


def build_baseline(experiment: Experiment, name: str, problem: Problem) -> Posterior:
    """Constructs a method of an experiment, run window by window where it knows no records and the problem has them."""
    build = partial(build_method, experiment, name)
    try:
        return cycled(problem, catalog.resolve("method", experiment.methods[name].kind), build)
    except ValueError as error:
        raise ConfigError(f"methods.{name}: {error}") from error
