"""Standard deviations of a problem, and the correlations that they scale."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from torch import Tensor

from .correlation import Correlation
from .noise import NoiseOfSteps
from .root import Diagonal, Root, Scaled

if TYPE_CHECKING:
    from ..problem import Problem


def root_of(problem: "Problem", correlation: Correlation | None, std: Tensor, full: bool = True) -> Root:
    """The root of a covariance. That of its correlation is made once for each problem.

    Args:
        problem: The problem.
        correlation: The correlation; None for independent entries.
        std: The standard deviations, with shape ``(*batch, *shape)``, whose dtype and device the root has.
        full: Whether all of them are positive.
    """
    if correlation is None:
        return Diagonal(std, len(problem.shape), full)
    key = (id(correlation), std.dtype, std.device)
    if key not in problem.unit_roots:
        problem.unit_roots[key] = correlation.root(problem, std)
    return Scaled(std, problem.unit_roots[key], full)


def check_correlation(
    key: str, correlation: Correlation | None, std: float | Sequence[float] | None, shape: tuple[int, ...]
) -> None:
    """Checks that a correlation suits the states and their standard deviations.

    Args:
        key: The field of the problem that says the standard deviations, for messages.
        correlation: The correlation; None for independent entries.
        std: The standard deviations: a number, an interval, or several numbers; None if there are none.
        shape: The shape of a state.

    Raises:
        ValueError: If it does not.
    """
    if correlation is None:
        return
    kind = type(correlation).__name__
    correlation.control(shape)
    if std is None and not correlation.has_std:
        raise ValueError(f"{key}: {kind} is a correlation, of unit variance; give it a standard deviation")
    if correlation.uniform and isinstance(std, Sequence) and len(set(std)) > 1:
        raise ValueError(
            f"{key}: must be one number, not {list(std)}: if their entries were multiplied by different ones, states "
            f"of {kind} would lose what they have in common; give one number, or choose another correlation"
        )


def spread(key: str, numbers: float | Sequence[float], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard deviations of each entry of a state.

    Args:
        key: The field of the problem that says them, for the message.
        numbers: One number, or one for each channel, or for each entry of the state.
        shape: The shape of a state.
        like: A tensor whose dtype and device they have.

    Raises:
        ValueError: If there is another number of them.
    """
    std = like.new_tensor(numbers)
    if std.numel() == prod(shape):
        return std.reshape(shape)
    if std.ndim == 1 and len(std) == shape[0]:
        std = std.reshape(-1, *([1] * (len(shape) - 1)))
    elif std.ndim > 0:
        raise ValueError(
            f"{key}: {std.numel()} numbers; give one, or one for each of the {shape[0]} channels, or for each of the "
            f"{prod(shape)} entries of the state"
        )
    return std.expand(shape)


def error_root(problem: "Problem", like: Tensor) -> Root:
    """The root of the covariance of the model's errors; of a stochastic system, the noise of its steps as it is.

    Args:
        problem: The problem.
        like: A tensor whose dtype and device it has.

    Raises:
        ValueError: Under the strong constraint.
    """
    if problem.system.stochastic:
        return NoiseOfSteps(problem.system.noise_shape, like)
    if not problem.weak:
        raise ValueError("model_error: there is none; give the problem one, or use another method")
    error = problem.model_error
    least = 1.0 if error is None else min(error) if isinstance(error, Sequence) else error
    return root_of(problem, problem.error_correlation, problem.error_std(like), least > 0)


def even(problem: "Problem", std: Tensor) -> Tensor:
    """Standard deviations as the background's correlation takes them: one number for all entries, if it must be.

    Args:
        problem: The problem.
        std: The standard deviations, with shape ``(*batch, *shape)``.

    Returns:
        Their root mean square over each state if there must be one number for all, else themselves.
    """
    if problem.background_correlation is None or not problem.background_correlation.uniform:
        return std
    return std.square().mean(dim=tuple(range(-len(problem.shape), 0)), keepdim=True).sqrt().expand(std.shape)
