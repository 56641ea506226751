"""From draws of the control to an ensemble."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .chunks import chunks
from .control import Control
from .problem import Ensemble


def ensemble(control: Control, u: Tensor, info: Mapping[str, Tensor]) -> Ensemble:
    """Decodes draws of the control, and gives the place of each failed one to another of its case.

    A draw has failed if it is not finite or its trajectory diverges. The count per case is ``info["failed"]``; a
    case all of whose draws failed stays NaN.

    Args:
        control: The control.
        u: The draws, with shape ``(samples, case, size)``.
        info: Diagnostics of each case, to which the failures and the work done are added.

    Returns:
        The ensemble.
    """
    pieces = chunks(len(u), control.cases * control.problem.steps * control.size, u.device)
    parts = [control.decode(u[piece]) for piece in pieces]
    x, theta = (torch.cat(part) for part in zip(*parts, strict=True))
    # The sum over a trajectory is finite only if every entry is, and takes one pass.
    finite = x.flatten(2).sum(dim=-1).isfinite()
    if not finite.all():
        # Sorting by failure puts each case's good draws first; a failed draw takes the place of one of them.
        order = torch.sort(~finite, dim=0, stable=True).indices
        good = finite.sum(dim=0).clamp(min=1)
        member = torch.arange(len(u), device=u.device).unsqueeze(-1) % good
        source = torch.where(finite, torch.arange(len(u), device=u.device).unsqueeze(-1), order.gather(0, member))
        case = torch.arange(control.cases, device=u.device)
        x, theta = x[source, case], theta[source, case]
    info = {
        **info,
        "failed": (~finite).sum(dim=0),
        "model_steps": control.model_steps,
        "gradients": control.gradients,
    }
    return Ensemble(x, theta, range(control.problem.steps), info)
