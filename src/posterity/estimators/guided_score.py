"""Guided score estimation: a learned prior of trajectories, guided by the likelihood when it is sampled."""

from functools import partial

import torch
from torch import Tensor

from ..diffusion import (
    Cosine,
    DampedResidual,
    Denoiser,
    Guidance,
    Heun,
    Likelihood,
    MomentMatching,
    Sampler,
    Schedule,
    denoising_loss,
)
from ..nn import Network
from ..problems import Ensemble, Problem, Twin, Window
from .estimator import Estimator, contexts, repeat
from .target import StateTarget


class GuidedScore(Estimator):
    r"""Guided score estimation, a learned prior over the states of the window, with the likelihood at sampling time,

    .. math::
        \nabla_{x_t} \log p(x_t | y, c) = \nabla_{x_t} \log p_\phi(x_t | c) + \nabla_{x_t} \log p(y | x_t) ,

    for noisy trajectories :math:`x_t` of :math:`z = (x_{0:T}, \theta)`, as :mod:`posterity.diffusion` defines them. The
    context :math:`c` is the background with its standard deviation, and the start of the window. The network sees no
    observations: operators, masks and noise may differ from those of training.

    Targets :math:`p(x_{0:T}, \theta | y, x_b)` of the joint it was trained on, as well as the guidance can.

    Args:
        problem: The problem, of one cycle.
        network: The network of the denoiser; None for a convolutional one, or an MLP where parameters are unknown or
            the state has no grid.
        schedule: The noise schedule; None for the cosine schedule.
        sampler: The sampler; None for Heun's method, 16 steps.
        guidance: The likelihood of noisy trajectories; None for moment matching.
        times: The number of frequencies that encode the start of the window; 0 for none.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    def __init__(
        self,
        problem: Problem,
        network: Network | None = None,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        times: int = 6,
    ) -> None:
        super().__init__(problem, StateTarget(states=None), times, observed=False)
        self.schedule, self.sampler = schedule or Cosine(), sampler or Heun(16)
        self.guidance = guidance or MomentMatching()
        residual = DampedResidual(self.shape, self.features.shape[0], network or self.default_network())
        self.denoiser = Denoiser(residual, self.schedule)

    def loss(self, twin: Twin) -> Tensor:
        """The denoising loss of the prior, which observations do not enter."""
        return denoising_loss(self.denoiser, self.encode(twin), self.features(twin.window))

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws trajectories, guided by the observations."""
        found = []
        for given in contexts(self.features(window), samples, self.shape):
            likelihood = self.likelihood(window, len(given) // len(window.y))
            prior = partial(self.denoiser, context=given)
            denoise = self.guidance.guide(prior, self.schedule, likelihood)
            found.append(self.sampler(denoise, self.schedule, torch.randn(len(given), *self.shape)))
        return self.decode(window, torch.cat(found).unflatten(0, (samples, -1)))

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
        flat = self.scaler.inverse(z).flatten(1)
        x = flat[:, : flat.shape[1] - len(self.problem.parameters)].unflatten(1, (-1, *self.problem.shape))
        return (self.problem.observation.operator(x) / self._observation_scale()).flatten(1)

    def _observation_scale(self) -> Tensor:
        """The standard deviation of each channel of the observations, with a shape that broadcasts."""
        grid = self.problem.observation.shape[1:]
        return self.features.y.scale.reshape(-1, *([1] * len(grid)))
