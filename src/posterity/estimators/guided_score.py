"""Guided score estimation: a learned prior of trajectories, guided by the likelihood when it is sampled."""

from typing import ClassVar

import torch
from torch import Tensor

from ..diffusion import (
    EDM,
    DampedResidual,
    Guidance,
    LearnedDenoiser,
    Likelihood,
    Mean,
    MomentMatching,
    Multistep,
    Sampler,
    Schedule,
)
from ..errors import check_part
from ..nn import Network
from ..problems import Problem, Window
from ..problems.covariances import Correlation
from .continuous import Diffusion
from .estimator import repeat
from .target import StateTarget


class GuidedScore(Diffusion):
    r"""Guided score estimation, a learned prior over the states of the window, with the likelihood at sampling time,

    .. math::
        \nabla_{\bar x} \log p(\bar x | y, c) =
            \nabla_{\bar x} \log p_\phi(\bar x | c) + \nabla_{\bar x} \log p(y | \bar x) ,

    for noisy trajectories :math:`\bar x` of :math:`z = (x_{0:T}, \theta)`, as :mod:`posterity.diffusion` defines them.
    The context :math:`c` is the background with its standard deviation, and the start of the window. The network sees
    no observations: operators, masks and noise may differ from those of training.

    Targets :math:`p(x_{0:T}, \theta | y, x_b)` of the joint it was trained on, as well as the guidance can.

    Args:
        problem: The problem, of one cycle.
        network: The network of the denoiser; None for a convolutional one, or an MLP where the state has no grid.
        schedule: The angles of samplers and of the loss; None for those of EDM.
        sampler: The sampler; None for the multistep method, 12 steps.
        guidance: The likelihood of noisy trajectories; None for moment matching.
        times: The number of frequencies that encode the start of the window; 0 for none.
        correlation: The correlation whose whitened vectors are learned instead of states; see
            :class:`~posterity.estimators.target.StateTarget`.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    differentiates: ClassVar[tuple[str, ...]] = ("operator",)
    drawing: ClassVar[str] = "sampler, guidance"

    def __init__(
        self,
        problem: Problem,
        network: Network | None = None,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        times: int = 6,
        correlation: Correlation | None = None,
    ) -> None:
        self.states, schedule, sampler = StateTarget(None, correlation), schedule or EDM(), sampler or Multistep()
        super().__init__(problem, self.states, DampedResidual, network, schedule, sampler, times, observed=False)
        self.guidance = guidance or MomentMatching()
        check_part("guidance", self.guidance, Guidance, MomentMatching)

    def mean(self, window: Window, context: Tensor) -> Mean:
        """The mean of trajectories given noisy ones, guided by the observations."""
        likelihood = self.likelihood(window, len(context) // len(window.y))
        prior = LearnedDenoiser(self.residual, context, pulled=not self.guidance.detach)
        return self.guidance.guide(prior, likelihood)

    def likelihood(self, window: Window, samples: int) -> Likelihood:
        """The likelihood of each row, with observations in units of their standard deviation in training.

        Args:
            window: The windows, with one batch dimension ``case``.
            samples: The number of draws per case.
        """
        scale = self._observation_scale()
        there = ~window.y.isnan()
        y = torch.where(there, window.y / scale, 0)
        precision = torch.where(there, scale / window.std, 0)
        return Likelihood(self.observe, *(repeat(part.flatten(1), samples) for part in (y, precision)))

    def observe(self, z: Tensor) -> Tensor:
        """Observes standardised trajectories, in units of the observations' standard deviation.

        Args:
            z: The trajectories, with shape ``(rows, *shape)``.

        Returns:
            The observations without noise, with shape ``(rows, observations)``.
        """
        flat = self.restore(z).flatten(1)
        x = self.states.trajectory(self.problem, flat[:, : flat.shape[1] - len(self.problem.parameters)])
        return (self.problem.observation.operator(x) / self._observation_scale()).flatten(1)

    def _observation_scale(self) -> Tensor:
        """The standard deviation of each channel of the observations, with a shape that broadcasts."""
        grid = self.problem.observation.shape[1:]
        return self.features.y.scale.reshape(-1, *([1] * len(grid)))
