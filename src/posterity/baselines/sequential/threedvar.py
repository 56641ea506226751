"""3DVAR: the Kalman analysis with a static background covariance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from ...problems import Joint
from ...problems.climatology import climatological_moments
from ...systems import jacobian
from ...tensors import identity
from ..variational.fourdvar import gaussian_draws
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
        check_static_covariance(self.scale, self.draws)

    def run(self, record: Record) -> Iterator[Tensor]:
        """Carries the analysis and the draws around it together: the analysis comes first."""
        climatology = climatological_moments(self.problem, record.window.start, self.draws)
        factor = self.scale**0.5 * climatology.root.mT
        z = torch.cat((first_guess(record, climatology.mean), record.prior(self.members)))
        for t in range(self.problem.steps):
            if t > 0:
                error = record.error(len(z), 1).squeeze(2)
                # Ends with no columns under the strong constraint.
                error[0] = 0
                z = record.forecast(z, error)
            if record.has_observations(t):
                z, innovation = record.compare(z, t)
                analysis = self.analyse(record, t, z[:1], innovation[0], factor)
                z = torch.where(record.seen[:, t].unsqueeze(-1), analysis, z)
            else:
                (z,) = record.replace_failed(z)
            if t in self.steps:
                yield z[1:]

    def analyse(self, record: Record, t: int, z: Tensor, innovation: Tensor, factor: Tensor) -> Tensor:
        r"""The analysis, and draws around it.

        With :math:`B = L L^T` and :math:`G = R^{-1/2} H L`, the gain is :math:`K = L (I + G^T G)^{-1} G^T R^{-1/2}`.

        Args:
            record: The record.
            t: The time.
            z: The forecast, with shape ``(1, case, size)``.
            innovation: Its whitened innovations, with shape ``(case, observations)``.
            factor: The roots :math:`L`, with shape ``(case, size, rank)``.

        Returns:
            The analysis and the draws, with shape ``(1 + members, case, size)``.
        """
        g = whitened_jacobian(record, t, z[0]).double() @ factor.double()
        hessian = identity(g, g.shape[-1]) + g.mT @ g
        w = torch.cholesky_solve(g.mT @ innovation.double().unsqueeze(-1), torch.linalg.cholesky_ex(hessian).L)
        w = w.squeeze(-1)
        draws = torch.cat((w.unsqueeze(0), gaussian_draws(w, hessian, self.members)))
        return (z + torch.einsum("cnk,mck->mcn", factor.double(), draws)).to(z)


def whitened_jacobian(record: Record, t: int, z: Tensor) -> Tensor:
    r"""The tangent :math:`R_t^{-1/2} \partial H / \partial z` of what is observed.

    Args:
        record: The record.
        t: The time, within the record.
        z: Where to linearise, with shape ``(case, size)``.

    Returns:
        The matrices, with shape ``(case, observations, size)``; zero where nothing is observed.
    """
    observation = record.problem.observation
    x = z[:, : record.states].unflatten(-1, record.problem.shape)
    _, tangent = jacobian(observation.operator, x, len(record.problem.shape), len(observation.shape))
    precision = record.precision[:, t].flatten(1).unsqueeze(-1)
    tangent = torch.where(precision > 0, tangent * precision, 0)
    return torch.nn.functional.pad(tangent, (0, z.shape[-1] - record.states))


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


def check_static_covariance(scale: float, draws: int) -> None:
    """Checks that a static covariance has a positive factor, and draws enough to be estimated from."""
    if scale <= 0:
        raise ValueError(f"scale: the factor of the climatological covariance must be positive, not {scale}")
    if draws < 2:
        raise ValueError(f"draws: a covariance needs at least 2, not {draws}")
