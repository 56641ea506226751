"""Neural score estimation."""

from functools import partial

from torch import Tensor

from ..diffusion import Denoiser, Heun, Residual, Sampler, Schedule, VarianceExploding, denoising_loss
from ..nn import Network
from ..problems import Problem, Twin
from .continuous import ContinuousFlow
from .target import Target


class NeuralScore(ContinuousFlow):
    r"""Neural score estimation, by a denoiser that sees the window, and a sampler of reverse diffusion,

    .. math:: D_\phi(x_t, t, y) \approx E[z | x_t, y], \qquad
        \nabla_{x_t} \log p(x_t | y) = \frac{\alpha_t E[z | x_t, y] - x_t}{\sigma_t^2}, \qquad
        x_t = \alpha_t z + \sigma_t \varepsilon .

    The log-density is that of the probability flow over the angle :math:`\varphi` of :mod:`posterity.diffusion`;
    stochastic samplers draw from it but for errors of the score. Targets the posterior of the joint that it was trained
    on.

    Args:
        problem: The problem.
        target: The target; None for the control if the prior is a background, and for the last state if not.
        network: The plan of the network; None for a convolutional one, or an MLP for vectors.
        schedule: The noise schedule of samplers and densities; None for a variance-exploding one. Training does
            not depend on it.
        sampler: The sampler of draws that need no density; None for Heun's method.
        times: The number of frequencies that encode the start of the window; 0 for none.
        steps: The steps of the Runge–Kutta scheme for densities, each four evaluations of the network.
        probes: The most vector-Jacobian products of a divergence, which is exact if there are no more entries.
        density: Whether draws come with their log-density. They are then made by the probability flow, whatever the
            sampler, at many times the cost.

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021),
          https://arxiv.org/abs/2011.13456
        | Sequential Neural Score Estimation (Sharrock et al., 2024), https://arxiv.org/abs/2210.04872
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          https://arxiv.org/abs/2206.00364
    """

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
    ) -> None:
        super().__init__(problem, target, times, steps, probes, density)
        self.schedule, self.sampler = schedule or VarianceExploding(), sampler or Heun()
        residual = Residual(self.shape, self.features.shape[0], network or self.default_network())
        self.denoiser = Denoiser(residual, self.schedule)

    def loss(self, twin: Twin) -> Tensor:
        """The denoising loss."""
        return denoising_loss(self.denoiser, self.encode(twin), self.features(twin.window))

    def velocity(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        r"""The velocity :math:`d \bar x / d\varphi` at the angle ``t``, with shape ``(rows, *shape)``."""
        return -self.denoiser.residual(x, t, context)

    def levels(self) -> Tensor:
        """The angles from data to noise, with shape ``(steps + 1,)``."""
        return self.schedule.angle(self.schedule.times(self.steps).flip(0))

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Draws by the sampler, with shape ``(rows, *shape)``."""
        return self.sampler(partial(self.denoiser, context=context), self.schedule, noise)
