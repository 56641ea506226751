"""Time-stepping schemes of ordinary differential equations."""

from collections.abc import Callable

import torch
from torch import Tensor


def rk4(f: Callable[[Tensor], Tensor], x: Tensor, dt: float) -> Tensor:
    r"""One step of the classical fourth-order Runge–Kutta scheme for :math:`\dot x = f(x)`.

    Args:
        f: The tendency.
        x: States, with shape ``(*)``.
        dt: The step, in model time units.

    Returns:
        The states one ``dt`` later, with shape ``(*)``.
    """
    k1 = f(x)
    k2 = f(torch.add(x, k1, alpha=dt / 2))
    k3 = f(torch.add(x, k2, alpha=dt / 2))
    k4 = f(torch.add(x, k3, alpha=dt))
    return torch.add(x, torch.add(k1 + k4, k2 + k3, alpha=2), alpha=dt / 6)


def check_times(dt: float, substeps: int, spinup: float) -> None:
    """Checks that the time step is positive, is cut into at least one substep, and that the spin-up is not negative."""
    if dt <= 0:
        raise ValueError(f"dt: the time between states must be positive, not {dt}")
    if substeps < 1:
        raise ValueError(f"substeps: at least one is needed, not {substeps}")
    if spinup < 0:
        raise ValueError(f"spinup: the time must not be negative, not {spinup}")
