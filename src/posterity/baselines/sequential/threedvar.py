"""3DVAR: the Kalman analysis with a static background covariance."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar, get_args

import torch
from torch import Tensor

from ...problems import Joint, chunks
from ...problems.covariances.climatology import check_estimate
from ...problems.linearized.tangents import tangent
from ...systems import jacobian
from ...tensors import white_noise
from .kalman import solve_gain
from .record import Record, Sequential


@dataclass(frozen=True)
class ThreeDVar(Sequential):
    r"""Cycled 3DVAR: one run of the model, corrected at each time of observation with a static covariance,

    .. math::
        x^a = x^f + K (y - H(x^f)), \qquad K = B H^T (H B H^T + R)^{-1}, \qquad B = s\, B_{clim} ,

    with the climatological covariance :math:`B_{clim}` at the time at which the record starts, of states and whitened
    unknown parameters together, and :math:`H` linearised at the forecast. Stands for :math:`N(x^a, (I - K H) B)` at
    times of observation. It is the Kalman filter if that has this forecast covariance, and otherwise neither mean nor
    spread is the posterior's. A background is the first forecast, with the same covariance whatever its own: an
    approximation under either joint.

    Members are draws from the analysis covariance around the analysis, which the model carries to the next
    observations (with errors of their own under the weak constraint). Nothing flows back from them: the next forecast
    starts from the analysis itself.

    Args:
        problem: The problem.
        members: The number of draws around each analysis.
        scale: The factor :math:`s` of the climatological covariance.
        draws: The number of climatological states that it is estimated from.

    References:
        | Analysis methods for numerical weather prediction (Lorenc, 1986), https://doi.org/10.1002/qj.49711247414
    """

    joints: ClassVar[tuple[Joint, ...]] = get_args(Joint)
    differentiates: ClassVar[tuple[str, ...]] = ("operator",)

    scale: float = 1.0
    draws: int = 1000

    def __post_init__(self) -> None:
        """Checks the options of the static covariance."""
        super().__post_init__()
        check_estimate(self.scale, self.draws)

    def run(self, record: Record) -> Iterator[Tensor]:
        """Carries the analysis and the draws around it together: the analysis comes first."""
        climatology = record.climatology.at(record.window.start, self.draws, self.scale)
        z = torch.cat((first_guess(record, climatology.mean), record.prior(self.members)))
        for t in range(self.problem.steps):
            if t > 0:
                error = record.error(len(z), 1).squeeze(2)
                # Ends with no columns under the strong constraint.
                error[0] = 0
                z = record.forecast(z, t - 1, error)
            if record.has_observations(t):
                z, innovation = record.compare(z, t)
                analysis = self.analyse(record, t, z[:1], innovation[0], climatology.root.mT)
                z = torch.where(record.seen[:, t].unsqueeze(-1), analysis, z)
            else:
                (z,) = record.replace_failed(z)
            if t in self.steps:
                yield z[1:]

    def analyse(self, record: Record, t: int, z: Tensor, innovation: Tensor, factor: Tensor) -> Tensor:
        r"""The analysis, and draws around it.

        With :math:`B = L L^T` and :math:`G = R^{-1/2} H L`, the gain is :math:`K = L (I + G^T G)^{-1} G^T R^{-1/2}`.
        Draws are those of the static covariance, moved by perturbed innovations of their own.

        Args:
            record: The record.
            t: The time.
            z: The forecast, with shape ``(1, case, size)``.
            innovation: Its whitened innovations, with shape ``(case, observations)``.
            factor: The roots :math:`L`, with shape ``(case, size, rank)``.

        Returns:
            The analysis and the draws, with shape ``(1 + members, case, size)``.
        """
        parts = []
        # What no case sees has zeros for a row, which are most of it where stations are few.
        seen = (record.precision[:, t] > 0).flatten(1).any(dim=0)
        # The largest: what every column of the root does to the state, or to what is observed.
        width = max(record.states, prod(self.problem.observation.shape)) * factor.shape[-1]
        for cases in chunks(record.cases, width, z.device):
            root = factor[cases]
            g = observed_root(record, t, z[0], root, cases)[:, seen].double()
            d = innovation[cases][:, seen].double().unsqueeze(-1)
            w, noise = (white_noise(g, len(g), size, 1 + self.members) for size in (g.shape[-1], g.shape[-2]))
            w[..., 0], noise[..., 0] = 0, 0
            w = w + solve_gain(g.mT, d + noise - g @ w)
            parts.append((z[:, cases] + (root.double() @ w).movedim(-1, 0)).to(z))
        return torch.cat(parts, dim=1)


def observed_root(record: Record, t: int, z: Tensor, root: Tensor, cases: slice) -> Tensor:
    r"""What is observed of the root of a covariance, :math:`R_t^{-1/2} (\partial H / \partial z) L`.

    By as many tangents of the operator as the root has columns, or as many adjoints as there are observations: no
    matrix in the state is made.

    Args:
        record: The record.
        t: The time, within the record.
        z: Where the operator is linearised, with shape ``(case, size)``.
        root: The roots :math:`L` of some of the cases, with shape ``(some, size, rank)``.
        cases: Which.

    Returns:
        The matrices, with shape ``(some, observations, rank)``; zero where nothing is observed.
    """
    operator, shape = record.problem.observation.operator, record.problem.shape
    x, states = z[cases, : record.states].unflatten(-1, shape), root[:, : record.states]
    if prod(operator.out_shape) <= root.shape[-1]:
        slope = jacobian(operator, x, len(shape), len(operator.out_shape))[1] @ states
    else:
        columns = states.movedim(-1, 0).unflatten(-1, shape)
        slope = tangent(operator, x.expand_as(columns), columns).flatten(2).movedim(0, -1)
    precision = record.precision[cases, t].flatten(1).unsqueeze(-1)
    # A product with a zero precision would keep what is not finite.
    return torch.where(precision > 0, slope * precision, 0)


def first_guess(record: Record, mean: Tensor) -> Tensor:
    """The background with the median parameters, or the climatological mean of a case without a background.

    Args:
        record: The record.
        mean: The climatological means, with shape ``(case, size)``.

    Returns:
        The guess, with shape ``(1, case, size)``.
    """
    background = record.window.background.flatten(1)
    known = torch.nn.functional.pad(background, (0, mean.shape[-1] - record.states))
    return torch.where(record.free.unsqueeze(-1), mean, known).unsqueeze(0)
