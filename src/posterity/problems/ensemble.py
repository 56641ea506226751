"""Ensembles: decoded from draws of the control, refilled where draws failed, and joined from several runs."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .control import Control
from .draws import Ensemble
from .resampling import take

#: Diagnostics that count work or failures, and add up over runs or windows.
COUNTS = ("seconds", "model_steps", "gradients", "network_calls", "network_pullbacks", "failed")


def decode_ensemble(control: Control, u: Tensor, info: Mapping[str, Tensor], log_q: Tensor | None = None) -> Ensemble:
    """Decodes draws of the control to an ensemble, and replaces each failed one by another of its case.

    A draw has failed if it is not finite or its trajectory diverges. The count per case is ``info["failed"]``; a
    case all of whose draws failed stays NaN.

    Args:
        control: The control.
        u: The draws, with shape ``(samples, case, size)``.
        info: Diagnostics of each case, to which the failures and the work done are added.
        log_q: The log-density of each draw, with shape ``(samples, case)``; None if it has none.

    Returns:
        The ensemble.
    """
    problem = control.problem
    x = u.new_empty(*u.shape[:2], problem.steps, *problem.shape)
    theta = u.new_empty(*u.shape[:2], len(problem.parameters))
    # One chunk after the other is written where it stays, while it is in the cache.
    for chunk in control.chunks(len(u)):
        x[chunk], theta[chunk] = control.decode(u[chunk])
    x, theta, log_q, failed = replace_failed(x, theta, log_q)
    info = {
        **info,
        "failed": failed,
        "model_steps": control.model_steps,
        "gradients": control.gradients,
    }
    return Ensemble(x, theta, range(problem.steps), info, log_q)


def replace_failed(x: Tensor, theta: Tensor, log_q: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Replaces each draw of which a state is not finite by another of its case.

    Args:
        x: The states, with shape ``(samples, case, time, *shape)``.
        theta: The parameters, with shape ``(samples, case, parameters)``.
        log_q: The log-density of each draw, with shape ``(samples, case)``; None if it has none.

    Returns:
        The same with the failed draws replaced, see :func:`refill`, and the number of these of each case.
    """
    # The sum over a trajectory is finite only if every entry is, and takes one pass.
    finite = x.flatten(2).sum(dim=-1).isfinite()
    if not finite.all():
        x, theta = refill(finite, x), refill(finite, theta)
        log_q = None if log_q is None else refill(finite, log_q)
    return x, theta, log_q, (~finite).sum(dim=0)


def refill(good: Tensor, values: Tensor) -> Tensor:
    """Replaces each failed member by a good one of its case.

    Args:
        good: True for members that have not failed, with shape ``(members, case)``.
        values: Values of the members, with shape ``(members, case, …)``.

    Returns:
        The same with the failed members replaced; a case without a good one is left as it is.
    """
    # Sorting by failure puts each case's good members first; a failed one takes the place of one of them.
    order = torch.sort(~good, dim=0, stable=True).indices
    member = torch.arange(len(good), device=good.device).unsqueeze(-1)
    donor = order.gather(0, member % good.sum(dim=0).clamp(min=1))
    return take(values, torch.where(good | ~good.any(dim=0), member, donor))


def add_work(info: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The diagnostics of a run, to whose counts of work and failures those of another are added."""
    return {name: value + more[name] if name in COUNTS else value for name, value in info.items()}


def join_info(infos: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Joins the diagnostics of several runs or windows: sums of counts, else means; curves are left out.

    Args:
        infos: The diagnostics of each, by the same names, with shape ``(case,)``.

    Returns:
        The diagnostics of each case, with shape ``(case,)``.
    """
    found = {}
    for name, value in infos[0].items():
        if value.ndim == 1:
            values = torch.stack([info[name] for info in infos])
            total = values.sum(dim=0, dtype=values.dtype if values.is_floating_point() else torch.double)
            found[name] = total if name in COUNTS else total / len(infos)
    return found


def join_runs(runs: Sequence[Ensemble]) -> Ensemble:
    """Joins independent runs along their samples.

    Args:
        runs: The draws of each run, with shapes ``(samples, case, …)``.

    Returns:
        All draws, with the gaps between runs. Diagnostics that count work are added up, others are averaged.
    """
    info = join_info([run.info for run in runs])
    if len(runs) > 1:
        info["gap"], info["gap_median"] = run_gaps(runs)
    x, theta = torch.cat([run.x for run in runs]), torch.cat([run.theta for run in runs])
    return Ensemble(x, theta, runs[0].steps, info)


def run_gaps(runs: Sequence[Ensemble]) -> tuple[Tensor, Tensor]:
    r"""Range of the means of independent runs, in standard deviations of all draws together,

    .. math:: g_i = \frac{\max_r \bar x_{i,r} - \min_r \bar x_{i,r}}{\sigma_i} .

    Args:
        runs: The draws of each run, with shapes ``(samples, case, …)``.

    Returns:
        The largest and the median gap over the entries of states and parameters, with shape ``(case,)``.
    """
    given = torch.stack([torch.cat((run.x.flatten(2), run.theta), dim=-1) for run in runs])
    draws = given.double()
    means = draws.mean(dim=1)
    apart = means.amax(dim=0) - means.amin(dim=0)
    # Runs that agree have no gap, in entries without spread too: those that differ by the rounding of their draws.
    rounding = torch.finfo(given.dtype).eps * means.abs().amax(dim=0)
    gap = torch.where(apart <= rounding, 0, apart / draws.flatten(0, 1).std(dim=0)).to(given)
    return gap.amax(dim=-1), gap.median(dim=-1).values
