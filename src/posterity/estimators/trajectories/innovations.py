"""What the model leaves of states from those before, which tells networks of parameters more than states do."""

import torch
from torch import Tensor

from ...problems import Problem


@torch.no_grad()
def innovations(problem: Problem, x: Tensor, start: Tensor) -> Tensor:
    r"""What the model :math:`\mathcal{M}` leaves of each state from the one before,

    .. math:: d_t = x_{t+1} - \mathcal{M}(x_t, \theta) ,

    at the median :math:`\theta` of the prior; in full precision, since the model runs.

    Args:
        problem: The problem, of which it takes the model and the prior of parameters.
        x: States in a row, with shape ``(rows, states, *shape)``.
        start: The time of the first of them, in steps, with shape ``(rows,)``.

    Returns:
        The innovations, with shape ``(rows, states - 1, *shape)``.
    """
    steps = x.shape[1] - 1
    with torch.autocast(x.device.type, enabled=False):
        time = start.unsqueeze(1) + torch.arange(steps, device=start.device)
        median = x.new_zeros(len(x) * steps, len(problem.parameters))
        system = problem.system_at(problem.decode_parameters(median), time.flatten())
        forecast = system.rollout(x[:, :-1].flatten(0, 1), 1)[:, 1]
    # From a state that is mostly noise a model may go where nothing is finite.
    return (x[:, 1:] - forecast.view_as(x[:, 1:])).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
