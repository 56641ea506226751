"""Amortised VI-4DVAR."""

from typing import ClassVar

import torch
from torch import Tensor

from ..errors import check_part
from ..flows import Flow
from ..flows.gaussians import FullGaussian
from ..nn import MLP, Network
from ..problems import Control, Ensemble, Joint, Problem, Twin, Window, decode_ensemble
from ..tensors import white_noise
from .estimator import STARTING, FramedDensity, draw_flow
from .frames.frame import Frame, View
from .target import ControlTarget


class AmortizedVariational(FramedDensity):
    r"""Amortised VI-4DVAR: a network from windows to the posterior that VI would fit to each,

    .. math:: \min_\phi E_{y, x_b}\, E_{q_\phi(u | y, m, \sigma, x_b, \sigma_b)}\left[
        J(u) + \log q_\phi(u | y, m, \sigma, x_b, \sigma_b) \right] = \min_\phi E[-\mathrm{ELBO}] + \text{const.}

    trained through the 4DVAR cost :math:`J` and its adjoint, on windows without states. With a point for :math:`q` it
    learns to invert the model. Draws from which the model diverges are left out of the loss. Exact if the family
    holds the posterior, in the limit of infinite training and networks; else mode-seeking, as VI is. Targets
    :math:`p(x_{0:T+F}, \theta | y, x_b)` with the Gaussian prior of the background.

    Posteriors of chaotic systems are far narrower than what one pass of a network resolves. In the frame of a Laplace
    approximation, :math:`u = \hat u + P^{-1/2} w`, it is semi-amortised: some iterations of 4DVAR lead to
    :math:`\hat u`, and the network gives the density of :math:`w`; see :class:`.LaplaceFrame`.

    Args:
        problem: The problem, whose prior is a background.
        network: The network that embeds a window; None for a convolutional one over fields, and a perceptron for
            vectors.
        context: The number of channels of the embedding, for each site of the grid. Vectors are given as many numbers
            as there are entries in a state, times this.
        flow: The posteriors :math:`q`; None for Gaussians of any covariance.
        draws: The number of draws by which the loss of a window is estimated.
        times: The number of frequencies that encode the start of the window; 0 for none.
        frame: The coordinates in which it learns; None for those of the prior.

    References:
        | VI-4DVAR: Data Assimilation as Variational Inference (Filoche & Béréziat, 2023),
          https://github.com/ArFiloche/VI-4DVAR
        | Learning 4DVAR inversion directly from observations (Filoche et al., 2022), https://arxiv.org/abs/2211.09741
        | Semi-Amortized Variational Autoencoders (Kim et al., 2018), https://arxiv.org/abs/1802.02550
    """

    joints: ClassVar[tuple[Joint, ...]] = ("background",)
    needs_background: ClassVar[bool] = True
    # A Gaussian of fields and parameters together is one of a vector.
    channels: ClassVar[bool] = False
    differentiates: ClassVar[tuple[str, ...]] = ("system", "operator")

    #: The number of draws without a finite cost that the loss has met.
    diverged: Tensor

    def __init__(
        self,
        problem: Problem,
        network: Network | None = None,
        context: int = 32,
        flow: Flow | None = None,
        draws: int = 4,
        times: int = 6,
        frame: Frame | None = None,
    ) -> None:
        super().__init__(problem, ControlTarget(), times, frame=frame)
        if context < 1 or draws < 1:
            raise ValueError(f"context, draws: must both be positive, not {context} and {draws}")
        self.draws = draws
        channels, *grid = self.context_shape
        size, plan, flow = self.context_size(context), network or self.default_network(), flow or FullGaussian()
        check_part("network", plan, Network, MLP)
        check_part("flow", flow, Flow, FullGaussian)
        self.network = plan.build(channels, size, grid)
        self.flow = flow.build(self.shape, (size, *grid))
        self.register_buffer("diverged", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def standardize(self, twin: Twin) -> None:
        """Takes the statistics of the windows, and initialises the flow from the prior, which is white noise."""
        super().standardize(twin)
        context = self.network(self.view(twin.window.select(slice(STARTING))).context)
        self.flow.standardize(white_noise(context, len(context), *self.shape), context)

    def look(self, twin: Twin) -> tuple[View]:
        """What is seen of the windows: the loss draws coordinates of its own."""
        return (self.view(twin.window),)

    def loss(self, twin: Twin, view: View | None = None) -> Tensor:
        r"""The average of :math:`-\mathrm{ELBO}` over windows, in nats; of a point it is :math:`-\log p(u, y)`.

        It is computed in full precision, as costs overflow in half.
        """
        with torch.autocast(twin.window.y.device.type, enabled=False):
            control = Control(self.problem, twin.window)
            z, log_q = self._draw(view or self.view(twin.window), self.draws)
            cost = adjoint_cost(control, z.flatten(2))
            self.diverged += (~cost.isfinite()).sum()
            # A point has no density: its cost alone is minimised.
            return finite_mean(cost + torch.where(log_q.isnan(), 0, log_q) + control.log_normalizer())

    def log_density(self, context: Tensor, w: Tensor) -> Tensor:
        """The log-density of coordinates, with shape ``(case,)``."""
        return self.flow.log_prob(w, self.network(context))

    def propose(self, context: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Draws from the flow, with their log-densities, some at once."""
        return draw_flow(self.flow, self.network(context), samples, self.shape)

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the density.

        ``info["cost"]`` is the average cost of the draws, and ``info["elbo"]`` the evidence lower bound that they
        estimate; both are infinite if the model diverges from a draw. A point has no bound.
        """
        control = Control(self.problem, window)
        z, log_q = self.proposals(control, samples)
        u = z.flatten(2)
        cost = torch.cat([control.cost(u[chunk]) for chunk in control.chunks(samples)])
        info = {"cost": cost.mean(dim=0)}
        if log_q.isnan().all():
            return decode_ensemble(control, u, info)
        info["elbo"] = -(cost + log_q).mean(dim=0) - control.log_normalizer()
        return decode_ensemble(control, u, info, log_q)


def adjoint_cost(control: Control, u: Tensor) -> Tensor:
    """The 4DVAR cost, differentiable in the control, with a gradient of zero where the model diverged.

    Args:
        control: The control.
        u: The controls, with shape ``(*batch, case, n)``.

    Returns:
        The cost, with shape ``(*batch, case)``; infinite where the model diverged, or is about to.
    """
    if torch.is_grad_enabled():
        cost, gradient = control.cost_and_gradient(u)
    else:
        cost, gradient = control.cost(u), torch.zeros_like(u)
    # Costs near the largest number have gradients beyond it.
    sound = cost < torch.finfo(cost.dtype).max ** 0.25
    gradient = torch.where(sound.unsqueeze(-1), gradient, 0)
    # Zero in value: it carries the gradient, which infinities on the way through the model would make NaN.
    return torch.where(sound, cost, torch.inf) + (gradient * (u - u.detach())).sum(dim=-1)


def finite_mean(value: Tensor) -> Tensor:
    """The mean of the finite values; NaN if there are none."""
    finite = value.isfinite()
    return torch.where(finite, value, 0).sum() / finite.sum()
