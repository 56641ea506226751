"""Flow matching posterior estimation."""

from functools import partial

import torch
from torch import Tensor

from ..diffusion import Residual, integrate, stratified
from ..nn import Network
from ..problems import Problem, Twin
from ..tensors import append_dims
from .continuous import ContinuousFlow
from .target import Target


class FlowMatching(ContinuousFlow):
    r"""Flow matching posterior estimation, by the velocity of straight paths from noise to data,

    .. math:: \min_\phi E \left\| v_\phi(x_t, t, y) - (z - \varepsilon) \right\|^2, \qquad
        x_t = (1 - t)\, \varepsilon + t z, \qquad p(t) \propto t^a ,

    integrated from :math:`t = 0`, which is noise, to 1. With :math:`s^2 = t^2 + (1 - t)^2`, the velocity is

    .. math:: v_\phi = \frac{2 t - 1}{s^2}\, x_t + \frac{1}{s}\, F_\phi(x_t / s, \varphi, y), \qquad
        \tan\varphi = (1 - t) / t ,

    where the first part is exact for standard normal data, such as an unobserved control, and the residual :math:`F`
    adds the information of the observations. Targets the posterior of the joint that it was trained on.

    Args:
        problem: The problem.
        target: The target; None for the control if the prior is a background, and for the last state if not.
        network: The plan of the network; None for a convolutional one, or an MLP for vectors.
        exponent: The exponent :math:`a` of the density of training times; the larger, the more of them lie near the
            data.
        times: The number of frequencies that encode the start of the window; 0 for none.
        steps: The steps of the Runge–Kutta scheme, each four evaluations of the network.
        probes: The most vector-Jacobian products of a divergence, which is exact if there are no more entries.
        density: Whether draws come with their log-density, which costs as many products again.

    References:
        | Flow Matching for Scalable Simulation-Based Inference (Wildberger et al., 2023),
          https://arxiv.org/abs/2305.17161
        | Flow Matching for Generative Modeling (Lipman et al., 2023), https://arxiv.org/abs/2210.02747
    """

    def __init__(
        self,
        problem: Problem,
        target: Target | None = None,
        network: Network | None = None,
        exponent: float = 1.0,
        times: int = 6,
        steps: int = 16,
        probes: int = 32,
        density: bool = False,
    ) -> None:
        super().__init__(problem, target, times, steps, probes, density)
        if exponent <= -1:
            raise ValueError(f"exponent: must be larger than -1, not {exponent:g}")
        self.exponent = exponent
        self.residual = Residual(self.shape, self.features.shape[0], network or self.default_network())

    def loss(self, twin: Twin) -> Tensor:
        """The error of the velocity, averaged over paths, times and entries."""
        z = self.encode(twin)
        t = stratified(len(z)).to(z) ** (1 / (1 + self.exponent))
        noise, late = torch.randn_like(z), append_dims(t, z.ndim - 1)
        found = self.velocity((1 - late) * noise + late * z, t, self.features(twin.window))
        return (found - (z - noise)).square().mean()

    def velocity(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The velocity, with shape ``(rows, *shape)``."""
        scale, late = (append_dims(value, x.ndim - 1) for value in (torch.hypot(t, 1 - t), t))
        residual = self.residual(x / scale, torch.atan2(1 - t, t), context)
        return (2 * late - 1) / scale**2 * x + residual / scale

    def levels(self) -> Tensor:
        """The times from data to noise, with shape ``(steps + 1,)``."""
        return torch.linspace(1, 0, self.steps + 1)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Draws by the Runge–Kutta scheme, with shape ``(rows, *shape)``."""
        return integrate(partial(self.velocity, context=context), noise, self.levels().flip(0))
