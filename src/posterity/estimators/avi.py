"""Amortised VI-4DVAR."""

from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import check_part
from ..flows import Flow
from ..flows.gaussians import DENSE, FullGaussian
from ..nn import MLP, Network
from ..problems import Control, Ensemble, Joint, Problem, Twin, Window, decode_ensemble
from ..tensors import white_noise
from .estimator import DensityEstimator, draw_flow, network_chunks
from .target import ControlTarget
from .whitening import LaplaceWhitening


class AmortizedVariational(DensityEstimator):
    r"""Amortised VI-4DVAR: a network from windows to the posterior that VI would fit to each,

    .. math:: \min_\phi E_{y, x_b}\, E_{q_\phi(u | y, m, \sigma, x_b, \sigma_b)}\left[
        J(u) + \log q_\phi(u | y, m, \sigma, x_b, \sigma_b) \right] = \min_\phi E[-\mathrm{ELBO}] + \text{const.}

    trained through the 4DVAR cost :math:`J` and its adjoint, on windows without states. With a point for :math:`q` it
    learns to invert the model. Draws from which the model diverges are left out of the loss. Exact if the family
    holds the posterior, in the limit of infinite training and networks; else mode-seeking, as VI is. Targets
    :math:`p(x_{0:T+F}, \theta | y, x_b)` with the Gaussian prior of the background.

    Posteriors of chaotic systems are far narrower than what one pass of a network resolves. So it may be
    semi-amortised: one network proposes a start, from which some iterations of 4DVAR go on to :math:`\hat u` with the
    Gauss–Newton precision :math:`P`; the other one gives the density of :math:`w = P^{1/2} (u - \hat u)`. The start is
    trained by its own cost, :math:`\frac m2 \log(1 + J / \frac m2)` of :math:`m` observations, so that those far away
    do not count more than all others.

    Args:
        problem: The problem, whose prior is a background.
        network: The network that embeds a window; None for a convolutional one over fields, and a perceptron for
            vectors.
        context: The number of channels of the embedding, for each site of the grid. Vectors are given as many numbers
            as there are entries in a state, times this.
        flow: The posteriors :math:`q`; None for Gaussians of any covariance.
        draws: The number of draws by which the loss of a window is estimated.
        iterations: The number of 4DVAR iterations on the full window, after at most three on each shorter one; 0 for
            one pass of the network.
        times: The number of frequencies that encode the start of the window; 0 for none.

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
        iterations: int = 0,
        times: int = 6,
    ) -> None:
        super().__init__(problem, ControlTarget(), times)
        if context < 1 or draws < 1:
            raise ValueError(f"context, draws: must both be positive, not {context} and {draws}")
        if iterations < 0:
            raise ValueError(f"iterations: must not be negative, not {iterations}")
        size = prod(self.shape)
        if iterations and size > DENSE:
            raise ValueError(
                f"iterations: each takes a matrix of {size} by {size} numbers for each window, and more than {DENSE} "
                "unknowns are too many; set it to 0"
            )
        self.draws, self.iterations = draws, iterations
        channels, *grid = self.features.shape
        size, plan, flow = self.context_size(context), network or self.default_network(), flow or FullGaussian()
        check_part("network", plan, Network, MLP)
        check_part("flow", flow, Flow, FullGaussian)
        self.start = plan.build(channels, self.shape[0], grid) if iterations else None
        # The second network also sees where the iterations have led, and how well that is determined.
        self.network = plan.build(channels + (2 * self.shape[0] if iterations else 0), size, grid)
        self.flow = flow.build(self.shape, (size, *grid))
        self.register_buffer("diverged", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def standardize(self, twin: Twin) -> None:
        """Takes the statistics of the windows, and initialises the flow from the prior, which is white noise."""
        super().standardize(twin)
        # Some cases at a time: the iterations take a matrix of each.
        chunks = network_chunks(len(twin.x), 1, self.shape, twin.x.device)
        context = torch.cat([self._recognise(Control(self.problem, twin.window.select(chunk)))[0] for chunk in chunks])
        self.flow.standardize(white_noise(context, len(context), *self.shape), context)

    def loss(self, twin: Twin) -> Tensor:
        r"""The average of :math:`-\mathrm{ELBO}` over windows, in nats, and the cost of the start if there is one.

        Of a point it is :math:`-\log p(u, y)`. It is computed in full precision, as costs overflow in half.
        """
        with torch.autocast(twin.window.y.device.type, enabled=False):
            return self._loss(Control(self.problem, twin.window))

    def _loss(self, control: Control) -> Tensor:
        """The loss over the windows of a control."""
        context, whitening, start = self._recognise(control)
        u, log_q = self._draw(context, whitening, self.draws)
        cost = adjoint_cost(control, u)
        self.diverged += (~cost.isfinite()).sum()
        # A point has no density: its cost alone is minimised.
        bound = cost + torch.where(log_q.isnan(), 0, log_q) + control.log_normalizer()
        loss = finite_mean(bound)
        if start is not None:
            half = 0.5 * control.observed.flatten(1).sum(dim=-1, dtype=control.y.dtype).clamp(min=1)
            loss = loss + finite_mean(half * torch.log1p(adjoint_cost(control, start) / half))
        return loss

    def log_prob(self, z: Tensor, window: Window) -> Tensor:
        """The log-density of one value for each case, with shape ``(case,)``."""
        context, whitening, _ = self._recognise(Control(self.problem, window))
        w = whitening.forward(z.flatten(1)).view_as(z)
        return self.flow.log_prob(w, context) - whitening.log_det()

    def draw(self, window: Window, samples: int) -> tuple[Tensor, Tensor]:
        """Draws from the density, some at once."""
        context, whitening, _ = self._recognise(Control(self.problem, window))
        u, log_q = self._draw(context, whitening, samples)
        return u.unflatten(-1, self.shape), log_q

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the density.

        ``info["cost"]`` is the average cost of the draws, and ``info["elbo"]`` the evidence lower bound that they
        estimate; both are infinite if the model diverges from a draw. A point has no bound.
        """
        control = Control(self.problem, window)
        context, whitening, _ = self._recognise(control)
        u, log_q = self._draw(context, whitening, samples)
        cost = torch.cat([control.cost(u[chunk]) for chunk in control.chunks(samples)])
        info = {"cost": cost.mean(dim=0)}
        if log_q.isnan().all():
            return decode_ensemble(control, u, info)
        info["elbo"] = -(cost + log_q).mean(dim=0) - control.log_normalizer()
        return decode_ensemble(control, u, info, log_q)

    def _recognise(self, control: Control) -> tuple[Tensor, LaplaceWhitening, Tensor | None]:
        """The context of the flow, its coordinates, and the start of the iterations if there are any."""
        features = self.features(control.window)
        if self.start is None:
            return self.network(features), LaplaceWhitening.prior(control), None
        start = self.start(features).flatten(1)
        whitening = LaplaceWhitening.mode(control, start, self.iterations)
        seen = (whitening.origin, whitening.variance().log())
        context = self.network(torch.cat((features, *(value.unflatten(-1, self.shape) for value in seen)), dim=1))
        return context, whitening, start

    def _draw(self, context: Tensor, whitening: LaplaceWhitening, samples: int) -> tuple[Tensor, Tensor]:
        """Draws of the control, with shape ``(samples, case, n)``, with their log-densities."""
        w, log_q = draw_flow(self.flow, context, samples, self.shape)
        return whitening.inverse(w.flatten(2)), log_q - whitening.log_det()


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
