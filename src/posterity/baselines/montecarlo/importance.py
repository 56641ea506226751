"""Importance sampling from an approximation of the posterior."""

from dataclasses import dataclass, field
from math import inf, lgamma, log, pi
from typing import ClassVar

import torch
from torch import Tensor

from ...algebra import Density
from ...errors import check_part
from ...mcmc.weights import check_draws, resample
from ...problems import Control, Ensemble, Joint, Posterior, Problem, Window, decode_ensemble
from ...problems.resampling import take
from ...tensors import white_noise
from .proposals import Laplace, Proposal


@dataclass(frozen=True)
class ImportanceSampling(Posterior):
    r"""Importance sampling of the control with Pareto-smoothed weights,

    .. math:: w_i \propto \frac{e^{-J(u_i)}}{q(u_i)}, \qquad u_i \sim q ,

    from a Gaussian near the posterior, or from the multivariate Student-t with its location and shape, whose tails
    cover more. The draws are resampled systematically. Exact as the number of draws grows, if the weights have a
    mean: ``info["k_hat"]`` tells, and beyond 0.7 the draws are not to be trusted. That is soon the case in high
    dimensions or far from a Gaussian: an approximation that sits in one of several modes never finds the others, and
    its weights do not always show it.

    ``info["log_evidence"]`` is :math:`\log p(y | x_b)`, estimated by the mean of the weights.

    Args:
        problem: The problem.
        proposal: The proposal :math:`q`.
        draws: The number of draws from it per case.
        degrees: The degrees of freedom of the Student-t; infinitely many give the Gaussian itself.

    References:
        | Pareto Smoothed Importance Sampling (Vehtari, Simpson, Gelman, Yao & Gabry, 2024),
          https://jmlr.org/papers/v25/19-556.html
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True
    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    problem: Problem
    proposal: Proposal = field(default_factory=Laplace)
    draws: int = 4096
    degrees: float = inf

    def __post_init__(self) -> None:
        """Checks the proposal, that there are enough draws for the tail fit, and positive degrees of freedom."""
        check_part("proposal", self.proposal, Proposal, Laplace)
        check_draws(self.draws)
        if not self.degrees > 0:
            raise ValueError(f"degrees: must be positive, not {self.degrees}")

    @property
    def distinct(self) -> int:
        """The number of draws from the proposal."""
        return self.draws

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Resamples weighted draws from the proposal of each case."""
        control = self.proposal.control(self.problem, window)
        q = self.proposal.fit(control)
        parts = [self._weighted(control, q, chunk.stop - chunk.start) for chunk in control.chunks(self.draws)]
        u, log_weights = (torch.cat(part) for part in zip(*parts, strict=True))
        # A fit that broke down leaves draws that are not finite, and have no weight.
        drawn = resample(log_weights, samples)
        normalizer = control.log_normalizer()
        info = {
            "k_hat": drawn.k_hat.to(normalizer),
            "ess": drawn.ess.to(normalizer),
            "log_evidence": drawn.log_mean.to(normalizer) - normalizer,
        }
        return decode_ensemble(control, take(u, drawn.chosen), info)

    def _weighted(self, control: Control, q: Density, draws: int) -> tuple[Tensor, Tensor]:
        """Draws of the proposal in the precision of the window, and the logarithms of their weights."""
        noise, log_noise = student_t_noise(control.zero(), draws, self.degrees)
        u, log_det = q.draw(noise)
        u = u.to(control.window.background)
        return u, log_det - control.cost(u).double() - log_noise


def student_t_noise(like: Tensor, draws: int, degrees: float = inf) -> tuple[Tensor, Tensor]:
    r"""Draws standard noise of the multivariate Student-t, or of the normal distribution, which is its limit.

    Args:
        like: A tensor of the shape of a draw, ``(cases, n)``, on the device that it is for.
        draws: The number of draws.
        degrees: The degrees of freedom :math:`\nu`.

    Returns:
        The noise, with shape ``(draws, cases, n)``, and its log-density, with shape ``(draws, cases)``, both in
        double precision.
    """
    like, size = like.double(), like.shape[-1]
    noise = white_noise(like, draws, *like.shape)
    if degrees == inf:
        return noise, -0.5 * (noise.square().sum(dim=-1) + size * log(2 * pi))
    chi2 = torch.distributions.Chi2(like.new_tensor(degrees)).sample((draws, len(like), 1))
    noise = noise * (degrees / chi2).sqrt()
    constant = lgamma((degrees + size) / 2) - lgamma(degrees / 2) - 0.5 * size * log(degrees * pi)
    return noise, constant - 0.5 * (degrees + size) * (noise.square().sum(dim=-1) / degrees).log1p()
