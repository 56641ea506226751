"""Estimators by diffusion: one network on the circle of data and noise; see :mod:`posterity.diffusion`."""

from collections.abc import Sequence
from copy import copy
from math import prod
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ..diffusion import (
    EDM,
    LearnedDenoiser,
    Mean,
    Multistep,
    Residual,
    Sampler,
    Schedule,
    Straight,
    denoising_loss,
    flow,
    probe,
    transport,
)
from ..errors import check_part
from ..flows.flow import log_normal
from ..nn import MLP, Network
from ..problems import Ensemble, Problem, Twin, Window
from ..tensors import white_noise
from .estimator import Estimator, FramedDensity, contexts, network_chunks
from .frames.frame import Frame, Seen
from .target import Target


class Diffusion(Estimator):
    """Abstract estimator by diffusion: a residual network, the schedule that it learns by, and a sampler.

    Args:
        problem: The problem.
        target: The target; None for the control if the prior is a background, and for the last state if not.
        residual: The kind of residual network.
        network: The plan of the network; None for a convolutional one, or an MLP for vectors.
        schedule: The angles of samplers and of the loss.
        sampler: The sampler.
        times: The number of frequencies that encode the start of the window; 0 for none.
        observed: Whether the network sees observations.
        frame: The coordinates in which it learns; None for those of the prior.
    """

    loss_units: ClassVar[str] = "1"

    def __init__(
        self,
        problem: Problem,
        target: Target | None,
        residual: type[Residual],
        network: Network | None,
        schedule: Schedule,
        sampler: Sampler,
        times: int,
        observed: bool = True,
        frame: Frame | None = None,
    ) -> None:
        super().__init__(problem, target, times, observed, frame)
        network = network or self.default_network()
        check_part("network", network, Network, MLP)
        check_part("schedule", schedule, Schedule, EDM)
        check_part("sampler", sampler, Sampler, Multistep)
        self.schedule, self.sampler = schedule, sampler
        self.residual = residual(self.layout, self.context_shape[0], network)

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The residual network."""
        return (self.residual,)

    def look(self, twin: Twin) -> tuple[Seen]:
        """What is seen of the draws."""
        return (self.seen(twin),)

    def loss(self, twin: Twin, seen: Seen | None = None) -> Tensor:
        """The denoising loss."""
        seen = seen or self.seen(twin)
        return denoising_loss(self.residual, self.schedule, seen.w, seen.context)

    def mean(self, window: Window, context: Tensor) -> Mean:
        """The mean of the data given noisy ones and the window, for as many rows as there are contexts.

        Args:
            window: The windows, with one batch dimension ``case``.
            context: The features of each row, with shape ``(draws * case, *context_shape)``.
        """
        return LearnedDenoiser(self.residual, context).mean

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws by the sampler."""
        view = self.view(window)
        found = [
            self.sampler(self.mean(window, given), self.schedule, self.noise(given))
            for given in contexts(view.context, samples, self.shape)
        ]
        return self.drawn(window, view, torch.cat(found).unflatten(0, (samples, -1)))

    def noise(self, context: Tensor) -> Tensor:
        """Standard normal numbers for each row of contexts, with shape ``(rows, *shape)``."""
        return white_noise(context, len(context), *self.shape)


class ContinuousFlow(Diffusion, FramedDensity):
    r"""Abstract estimator whose density follows from the probability flow between data and noise,

    .. math:: \frac{d \bar x}{d\varphi} = -F(\bar x, \varphi, c), \qquad
        \log q(z | y) = \log N(\bar x_{\varphi_1}; 0, I)
        - \int_0^{\varphi_1} \nabla \cdot F(\bar x, \varphi, c)\, d\varphi, \qquad \bar x_0 = z .

    Trained by regression, not by this density, which is not differentiable. Subclasses differ in their schedules.

    Args:
        problem: The problem.
        target: The target; None for the control if the prior is a background, and for the last state if not.
        network: The plan of the network; None for a convolutional one, or an MLP for vectors.
        schedule: The angles of samplers and of the loss; None for those of the method.
        sampler: The sampler of draws that need no density; None for the multistep method, 12 steps.
        times: The number of frequencies that encode the start of the window; 0 for none.
        steps: The steps of the Runge–Kutta method for densities, each four evaluations of the network, with as many
            vector-Jacobian products as there are probes.
        probes: The most vector-Jacobian products of a divergence, which is exact if there are no more entries.
        density: Whether draws come with their log-density. They are then made by the probability flow, whatever the
            sampler, at many times the cost.
        frame: The coordinates in which it learns; None for those of the prior.
    """

    drawing: ClassVar[str] = "sampler, steps, probes, density"

    #: The schedule if none is given.
    default: ClassVar[Schedule]

    def __init__(
        self,
        problem: Problem,
        target: Target | None = None,
        network: Network | None = None,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        times: int = 6,
        steps: int = 16,
        probes: int = 32,
        density: bool = False,
        frame: Frame | None = None,
    ) -> None:
        schedule, sampler = schedule or self.default, sampler or Multistep()
        super().__init__(problem, target, Residual, network, schedule, sampler, times, frame=frame)
        if steps < 1 or probes < 1:
            raise ValueError(f"steps, probes: at least one is needed of each, not {steps} and {probes}")
        self.steps, self.probes, self.density = steps, min(probes, prod(self.shape)), density

    def exact(self) -> Self:
        """The same density with the whole trace in each divergence, whatever the number of probes."""
        other = copy(self)
        other.probes = prod(self.shape)
        return other

    @torch.no_grad()
    def log_density(self, context: Tensor, w: Tensor) -> Tensor:
        """The log-density of coordinates, with shape ``(case,)``."""
        angles, found = self.schedule.angles(self.steps)[::-1], []
        for chunk in network_chunks(len(w), self.probes, self.shape, w.device):
            noise, fallen = self._transport(w[chunk], angles, context[chunk])
            found.append(log_normal(noise) + fallen)
        return torch.cat(found)

    @torch.no_grad()
    def propose(self, context: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Draws by the same equation, and their log-densities."""
        found, angles = [], self.schedule.angles(self.steps)
        for given in contexts(context, samples, self.shape, self.probes):
            noise = self.noise(given)
            w, fallen = self._transport(noise, angles, given)
            found.append((w, log_normal(noise) - fallen))
        w, log_q = (torch.cat(part).unflatten(0, (samples, -1)) for part in zip(*found, strict=True))
        return w, log_q

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws, with the log-density of each if they are to have it."""
        if self.density:
            return FramedDensity.sample_cases(self, window, samples)
        return super().sample_cases(window, samples)

    def _transport(self, x: Tensor, angles: list[float], context: Tensor) -> tuple[Tensor, Tensor]:
        """Carries rows from the first angle to the last, with the integral of the divergence."""
        return transport(flow(LearnedDenoiser(self.residual, context).mean), x, angles, probe(x, self.probes))


class NeuralScore(ContinuousFlow):
    r"""Neural score estimation, by a denoiser that sees the window, and a sampler of reverse diffusion,

    .. math:: D_\phi(\bar x, \varphi, y) \approx E[z | \bar x, y], \qquad
        \nabla_{\bar x} \log p(\bar x | y) = \frac{\cos\varphi\, E[z | \bar x, y] - \bar x}{\sin^2\varphi}, \qquad
        \bar x = \cos\varphi\, z + \sin\varphi\, \varepsilon .

    The log-density is that of the probability flow over the angle :math:`\varphi` of :mod:`posterity.diffusion`;
    stochastic samplers draw from it but for errors of the score. Targets the posterior of the joint that it was trained
    on. The schedule is that of EDM.

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021),
          https://arxiv.org/abs/2011.13456
        | Sequential Neural Score Estimation (Sharrock et al., 2024), https://arxiv.org/abs/2210.04872
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          https://arxiv.org/abs/2206.00364
    """

    default = EDM()


class FlowMatching(ContinuousFlow):
    r"""Flow matching posterior estimation, by the velocity of straight paths from noise to data,

    .. math:: \min_\phi E \left\| v_\phi(x_t, t, y) - (z - \varepsilon) \right\|^2, \qquad
        x_t = (1 - t)\, \varepsilon + t z .

    In units in which noisy data have unit variance these paths are arcs of the circle too, and learn the residual
    :math:`F` of score estimation: the schedule, :class:`.Straight`, is all that differs. Targets the posterior of the
    joint that it was trained on.

    References:
        | Flow Matching for Scalable Simulation-Based Inference (Wildberger et al., 2023),
          https://arxiv.org/abs/2305.17161
        | Flow Matching for Generative Modeling (Lipman et al., 2023), https://arxiv.org/abs/2210.02747
    """

    default = Straight()
