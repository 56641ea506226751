"""Checks of what a problem is made of, beside its numbers."""

from typing import TYPE_CHECKING

from ..systems import parameter_names

if TYPE_CHECKING:
    from .problem import Problem


def check_system(problem: "Problem") -> None:
    """Checks that unknown parameters are those of the system, and that steps have errors of one kind.

    Raises:
        ValueError: If they are not, or a stochastic system is given model errors.
    """
    system = problem.system
    if system.stochastic and (problem.model_error is not None or problem.error_correlation is not None):
        raise ValueError(
            f"model_error: {type(system).__name__} is stochastic, and its noise is the error of its steps; set "
            "model_error to null, or choose a deterministic system"
        )
    if not problem.parameters:
        return
    known = parameter_names(system)
    for name in problem.parameters:
        if name not in known:
            raise ValueError(
                f"parameters: the system has no parameter '{name}'; it has {', '.join(known) or 'none'} (fields "
                "that may hold a tensor, `float | Tensor`)"
            )


def check_truth(problem: "Problem") -> None:
    """Checks that the first channels of the truth are states of the problem, under the climatology joint.

    Raises:
        ValueError: If they are not.
    """
    truth = problem.truth
    if truth is None:
        return
    if problem.joint == "background":
        raise ValueError(
            "truth: another system than the assumed one needs the climatology joint; use that, or remove the truth"
        )
    if truth.shape[1:] != problem.shape[1:] or truth.shape[0] < problem.shape[0]:
        raise ValueError(
            f"truth: has states {truth.shape}, which do not contain the assumed {problem.shape}; "
            "give it the same grid and at least as many channels"
        )
    if truth.dt != problem.system.dt:
        raise ValueError(f"truth: has dt {truth.dt}, and the assumed system {problem.system.dt}; make them equal")
