"""Normalising flows of each case, for posteriors that are not Gaussian."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...algebra import Density, Gaussian, white_entropy
from ...flows import MaskedAutoregressive
from ...problems import Control
from ...tensors import defaults_of
from .families import Full
from .optimizers import enough, moment_matched_noise, negative_elbo

#: A map from white noise, ``(samples, case, n)``, to its image and the log-determinants, ``(samples, case)``.
Transform = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class PushforwardDensity(Density):
    r"""Pushforward of white noise by a transform, then by the affine map of a Gaussian.

    .. math:: u = \mu + C^{-T} f(\varepsilon)

    Args:
        gaussian: The Gaussians.
        transform: The transform :math:`f` of each case.
        better: True for cases that have a transform, with shape ``(case,)``; the others keep the Gaussian.
    """

    gaussian: Gaussian
    transform: Transform
    better: Tensor

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Draws from white noise, with the sum of both log-determinants."""
        transformed, log_det = self.transform(noise)
        u, affine = self.gaussian.draw(torch.where(self.better.unsqueeze(-1), transformed, noise))
        return u, torch.where(self.better, log_det, 0).double() + affine


@dataclass(frozen=True)
class FlowFamily(Full):
    r"""Flow family: an inverse autoregressive flow for each case, on top of its best Gaussian,

    .. math::
        u = \mu + C^{-T} f_\phi(\varepsilon), \qquad f_\phi = f_K \circ \dots \circ f_1, \qquad
        f_k(z)_i = e^{a_i(z_{<i})} z_i + b_i(z_{<i}) ,

    the order of the entries reversed from one :math:`f_k` to the next. The Gaussian is fitted by the optimiser, the
    transforms :math:`f` then from the identity by Adam on the reparametrised bound, with a rate that falls to zero
    along a cosine. A masked autoregressive flow run in this direction takes one pass per draw, and the density of its
    own draws comes with them. Each case has weights of its own, and all cases are one batch. A draw from which the
    model diverged has no say in a step. Where the bound of the flow does not end above that of the Gaussian, on draws
    of the same noise, the Gaussian is kept.

    Args:
        transforms: The number of transformations :math:`K`.
        hidden: The widths of the network of each.
        iterations: The number of steps.
        samples: Draws per step, even.
        learning_rate: Adam's learning rate at the start.

    References:
        | Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015), https://arxiv.org/abs/1505.05770
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
          https://arxiv.org/abs/1606.04934
    """

    transforms: int = 3
    hidden: Sequence[int] = (128,)
    iterations: int = 300
    samples: int = 128
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        """Checks that sizes, rate and steps are positive, and that samples are even."""
        if self.transforms < 1 or self.iterations < 1 or self.learning_rate <= 0:
            raise ValueError("transforms, iterations and learning_rate: must all be positive")
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"samples: draws come in pairs, so an even number is needed, not {self.samples}")

    def refine(self, control: Control, q: Gaussian) -> tuple[Density, Tensor]:
        """Trains the flow on top of the Gaussians."""
        like = control.window.background
        with defaults_of(like):
            flow = MaskedAutoregressive(self.transforms, self.hidden).build((control.size,), (0,))
        flow.reset()
        buffers = dict(flow.named_buffers())
        weights = {
            name: weight.detach().expand(control.cases, *weight.shape).clone().requires_grad_()
            for name, weight in flow.named_parameters()
        }

        def one(weights: dict[str, Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
            """The transform of one case; entries come first in flows, and this one has no context."""
            vectors = noise.mT
            transformed, log_det = torch.func.functional_call(flow, (weights, buffers), (vectors, vectors[:0]))
            return transformed.mT, log_det

        each = torch.vmap(one, in_dims=(0, 1), out_dims=(1, 1))

        def transform(noise: Tensor) -> tuple[Tensor, Tensor]:
            return each(weights, noise.to(like))

        everywhere = control.zero()[:, 0] == 0
        trace = self._fit(control, PushforwardDensity(q, transform, everywhere), list(weights.values()))
        noise = control.noise(enough(control, 1024))
        better = negative_elbo(control, PushforwardDensity(q, transform, everywhere), noise) < negative_elbo(
            control, q, noise
        )
        return PushforwardDensity(q, transform, better), trace

    def _fit(self, control: Control, density: PushforwardDensity, weights: list[Tensor]) -> Tensor:
        """Minimises minus the bound over the weights; returns its estimates, with shape ``(case, iteration)``."""
        adam = torch.optim.Adam(weights, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.iterations)
        trace = []
        for _ in range(self.iterations):
            noise = moment_matched_noise(control, self.samples)
            with torch.enable_grad():
                u, log_det = density.draw(noise)
                cost, gradient = control.cost_and_gradient(u.to(control.window.background))
                # A draw from which the model diverged has no gradient, and no say.
                valid = gradient.isfinite().all(dim=-1)
                count = valid.sum(dim=0).clamp(min=1)
                gradient = torch.where(valid.unsqueeze(-1), gradient, 0).double()
                # A function of the weights with the gradient of the cost.
                chained = (gradient * u).sum(dim=-1) - torch.where(valid, log_det, 0)
                gradients = torch.autograd.grad((chained.sum(dim=0) / count).sum(), weights)
            for weight, slope in zip(weights, gradients, strict=True):
                # A case whose Gaussian is not finite has no slope, and must not stop the others.
                weight.grad = slope.nan_to_num(0.0, 0.0, 0.0)
            adam.step()
            schedule.step()
            value = torch.where(valid, cost - log_det.detach(), 0).sum(dim=0) / count
            trace.append(value.double() - white_entropy(control.size))
        for weight in weights:
            weight.requires_grad_(False)
        return torch.stack(trace, dim=-1)
