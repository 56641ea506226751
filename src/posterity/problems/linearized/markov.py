"""The weak constraint as a Markov chain of states: its Gauss–Newton model, block by block."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...algebra import Chain
from ...systems import jacobian
from ..covariances.scaling import error_root
from .tangents import step_jacobian

if TYPE_CHECKING:
    from ..control import Control


def linear_chain(control: "Control", u: Tensor, states: int) -> tuple[Chain, Tensor]:
    r"""The linear chain of a weak-constraint window, and what is seen of its states, in whitened coordinates.

    With the roots :math:`R_0 = B^{1/2}` and :math:`R_t = Q^{1/2}`, deviations of the states are :math:`R_t z_t`, and

    .. math::
        A_t = Q^{-1/2} \frac{\partial M}{\partial x_t} R_t, \qquad P_t = Q^{-1/2} \frac{\partial M}{\partial v}, \qquad
        O_t = \Big(\frac{\partial H}{\partial x_t} R_t\Big)^T R_t^{-1} \frac{\partial H}{\partial x_t} R_t .

    All tangents of the model's steps and of the operator are taken in one batch, those of the state's size alone.

    Args:
        control: The control, of errors or of states, whose model has an error in every entry.
        u: Where it is linearised, with shape ``(*batch, case, size)``.
        states: The number of states of the window that count; those behind are not run, unless the control holds them.

    Returns:
        The chain, and the precisions :math:`O_t`, with shape ``(batch * case, window, n, n)``; in double precision.
    """
    problem, n, axis = control.problem, control.states, u.ndim - 1
    window, event = problem.window, len(problem.shape)
    held = states if control.white else window
    x = control.trajectory(u, held)
    control.model_steps += (held - 1) * control.members(u)
    control.gradients += (n + len(problem.parameters)) * control.members(u)
    first = control.background_root.matrix().double().expand(control.cases, n, n)
    later = error_root(problem, u.double()).matrix()
    roots = torch.cat((first.unsqueeze(1), later.expand(control.cases, window - 1, n, n)), dim=1)
    tangents = torch.linalg.solve(later, step_jacobian(control, u, x.narrow(axis, 0, held - 1)).double())
    onward, constants = tangents[..., :n] @ roots[:, : held - 1], tangents[..., n:]

    _, slope = jacobian(problem.observation.operator, x.narrow(axis, 0, states), event, len(problem.observation.shape))
    slope = slope.double() * control.precision[:, :states].flatten(2).double().unsqueeze(-1)
    slope = slope @ roots[:, :states]

    def behind(blocks: Tensor, times: int) -> Tensor:
        """Blocks, with zeros for the times behind, and cases and batch in one dimension."""
        blocks = blocks.flatten(0, axis - 1)
        zeros = blocks.new_zeros(len(blocks), times - blocks.shape[1], *blocks.shape[2:])
        return torch.cat((blocks, zeros), dim=1)

    chain = Chain(behind(onward, window - 1), behind(constants, window - 1))
    return chain, behind(slope.mT @ slope, window)
