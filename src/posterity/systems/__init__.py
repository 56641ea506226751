"""What moves: discrete-time dynamical systems, differentiable and batched."""

from .linear import LinearAdvection
from .lorenz63 import Lorenz63
from .lorenz96 import Lorenz96
from .system import System, jacobian, rollout, step_jacobian

__all__ = ["LinearAdvection", "Lorenz63", "Lorenz96", "System", "jacobian", "rollout", "step_jacobian"]
