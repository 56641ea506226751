"""Rules of systems and operators, as tasks try them before they compute."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import ConfigError
from ..problems import Problem, Window
from ..systems.system import WITHOUT_GRADIENTS
from ..tensors import own_random_numbers
from .trial import BATCH, check_rules, lost_gradients


@own_random_numbers(0)
def obey(problem: Problem, differentiated: Mapping[str, Sequence[str]], window: Window | None = None) -> None:
    """Checks by one step, one observation and, for methods that need it, one gradient of a small batch.

    Its random numbers are its own: those drawn behind stay the same.

    Args:
        problem: The problem.
        differentiated: What each method differentiates, :attr:`Posterior.differentiates`, by its key in the experiment.
        window: Windows whose backgrounds are the states of the batch; if omitted, or without backgrounds, states are
            drawn from the start of the ensemble.

    Raises:
        ConfigError: If a system or an operator breaks a rule, or passes no gradients on to a method.
    """
    try:
        x = check_rules(problem, _states(window))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not any(differentiated.values()):
        return
    for part, reason in lost_gradients(problem, x).items():
        if refused := [key for key, parts in differentiated.items() if part in parts]:
            raise ConfigError(
                f"{', '.join(refused)}: {'needs' if len(refused) == 1 else 'need'} gradients; {reason}; choose methods "
                f"that need none, {WITHOUT_GRADIENTS}"
            )


def _states(window: Window | None) -> Tensor | None:
    """A batch of the backgrounds of windows; None if there are none."""
    if window is None:
        return None
    background = window.background[window.background.flatten(1).isfinite().all(dim=1)]
    return (
        background[torch.arange(BATCH[0] * BATCH[1]) % len(background)].unflatten(0, BATCH) if len(background) else None
    )
