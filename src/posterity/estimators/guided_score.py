"""The composed score: a learned prior of trajectories, and the likelihood put in when it is sampled."""

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
    r"""A prior over the states of the window, learned, and the likelihood at sampling time,

    .. math::
        \nabla_{x_t} \log p(x_t | y, c) = \nabla_{x_t} \log p_\phi(x_t | c) + \nabla_{x_t} \log p(y | x_t) ,

    with noisy trajectories :math:`x_t = \alpha_t z + \sigma_t \epsilon`, :math:`z = (x_{0:T}, \theta)`, and the
    context :math:`c`: the background with its standard deviation, and the time at which the window starts. The network
    never sees an observation: operators, masks and noise may be others than those of the training.

    Targets :math:`p(x_{0:T}, \theta | y, x_b)` of the joint it was trained on, as well as the guidance can.

    Args:
        problem: The problem, of one cycle.
        network: The network of the denoiser; None for a convolutional one, or an MLP where parameters are unknown or
            the state has no grid.
        schedule: How noise is added; None for the cosine schedule.
        sampler: How draws are made; None for Heun's method, 16 steps.
        guidance: The likelihood of noisy trajectories; None for moment matching.
        times: The number of frequencies at which the network sees the start of the window; 0 for none.

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
        """The denoising loss of the prior: observations have no part in it."""
        return denoising_loss(self.denoiser, self.encode(twin), self.features(twin.window))

    @torch.no_grad()
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws trajectories, guided by the observations."""
        found = []
        for given in contexts(self.features(window), samples, self.shape):
            likelihood = self.likelihood(window, len(given) // len(window.y))
            prior = partial(self.denoiser, context=given)
            denoise = self.guidance.guide(prior, self.schedule, likelihood)
            found.append(self.sampler(denoise, self.schedule, torch.randn(len(given), *self.shape)))
        return self.decode(window, torch.cat(found).unflatten(0, (samples, -1)))

    def likelihood(self, window: Window, samples: int) -> Likelihood:
        """The observations of each row, in units of their standard deviation in training, and how they come about.

        Args:
            window: The windows, with one batch dimension ``case``.
            samples: How often each case is repeated, all cases one after another.
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
            What is observed of them without noise, with shape ``(rows, observations)``.
        """
        flat = self.scaler.inverse(z).flatten(1)
        x = flat[:, : flat.shape[1] - len(self.problem.parameters)].unflatten(1, (-1, *self.problem.shape))
        return (self.problem.observation.operator(x) / self._observation_scale()).flatten(1)

    def _observation_scale(self) -> Tensor:
        """The standard deviation of each channel of the observations, as it broadcasts against them."""
        grid = self.problem.observation.shape[1:]
        return self.features.y.scale.reshape(-1, *([1] * len(grid)))
