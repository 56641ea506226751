"""From an experiment to its problem and its methods."""

from ..errors import ConfigError
from ..experiment import Experiment, catalog
from ..experiment.component import Component
from ..problems import Posterior, StateLibrary
from ..problems import Problem as BareProblem
from .components import build
from .problem import Problem


def build_problem(experiment: Experiment, states: StateLibrary | None = None, truth: bool = False) -> Problem:
    """Constructs the problem of an experiment.

    Args:
        experiment: The experiment.
        states: Its library of states, if it has one and initial states are drawn.
        truth: Whether twins come from the experiment's truth, where it is another system than the assumed one.

    Returns:
        The problem.

    Raises:
        ConfigError: If its parts do not fit each other.
    """
    correlations, errors = experiment.correlations(), experiment.model_error
    try:
        return Problem(
            experiment.system,
            experiment.window,
            operator=experiment.observation.operator,
            std=experiment.observation.std,
            mask=experiment.observation.mask,
            forecast=experiment.forecast,
            joint=experiment.prior.joint,
            background_std=experiment.prior.std,
            model_error=None if errors is None else errors.std,
            parameters=experiment.parameters,
            cycles=experiment.cycles,
            truth=experiment.truth if truth else None,
            start=experiment.starts(),
            library=states,
            background_correlation=correlations.get("prior.correlation"),
            error_correlation=correlations.get("model_error.correlation"),
        )
    except ValueError as error:
        raise ConfigError(f"{experiment.name}: {error}") from error


def build_posterior(key: str, component: Component, problem: BareProblem, misspecified: bool = False) -> Posterior:
    """Constructs a method, and checks that it targets the posterior of a problem.

    Args:
        key: What messages begin with.
        component: The method.
        problem: The problem.
        misspecified: Whether the truth is another system, see :meth:`Posterior.pose`.

    Raises:
        ConfigError: If it does not, or refuses an option.
    """
    try:
        kind: type[Posterior] = catalog.resolve("method", component.kind)
        built: Posterior = build("method", component, kind.pose(problem, misspecified))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error
    return built


def build_method(experiment: Experiment, name: str, problem: BareProblem) -> Posterior:
    """Constructs a method of an experiment, by its name there."""
    method = experiment.methods[name]
    built = build_posterior(f"methods.{name}", method, problem, experiment.truth is not None)
    if built.trained and name not in experiment.sampled():
        raise ConfigError(
            f"methods.{name}: {method.kind} is an estimator: say how to train it, at least 'training: {{}}'"
        )
    if not built.trained and method.training is not None:
        raise ConfigError(f"methods.{name}: {method.kind} is not trained: remove 'training'")
    return built


def build_reference(experiment: Experiment, problem: BareProblem) -> Posterior:
    """Constructs the method that makes the reference of an experiment.

    Raises:
        ConfigError: If there is none, it must be trained, or it targets another posterior.
    """
    settings = experiment.reference
    if settings is None:
        raise ConfigError(f"'{experiment.name}' has no reference: say which method makes it, under 'reference'")
    method = build_posterior("reference", settings, problem, experiment.truth is not None)
    if method.trained:
        raise ConfigError(f"reference: '{settings.kind}' must be trained, and a reference is not: try 'smc' or 'hmc'")
    return method
