"""Optimisers of the evidence lower bound over a family of Gaussians."""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..problems import Control
from .families import Family, Gaussian
from .minimize import levenberg_marquardt


class Fit(NamedTuple):
    """A fitted variational posterior.

    Args:
        q: The Gaussians.
        trace: An estimate of minus the evidence lower bound at each iteration, with shape ``(case, iteration)``.
    """

    q: Gaussian
    trace: Tensor


class Optimizer(abc.ABC):
    r"""A way to minimise :math:`-\mathrm{ELBO} = E_q[-\log p(u, y)] - \mathbb H[q]`."""

    @abc.abstractmethod
    def fit(self, control: Control, family: Family) -> Fit:
        """Fits one member of the family to each case."""


def negative_elbo(control: Control, q: Gaussian, noise: Tensor) -> Tensor:
    r"""Estimates :math:`-\mathrm{ELBO} = E_q[J(u)] - \mathbb H[q]`, up to the density's normaliser.

    Args:
        control: The control.
        q: The Gaussians.
        noise: White noise, with shape ``(samples, case, n)``.

    Returns:
        The estimate, with shape ``(case,)``.
    """
    u = (q.mean + q.transport(noise)).to(noise)
    return control.cost(u).double().mean(dim=0) - q.entropy()


def matched_noise(samples: int, cases: int, size: int) -> Tensor:
    """Draws antithetic white noise whose sample covariance is exactly the identity if it can be.

    Expectations of linear and quadratic functions are then exact, whatever the number of samples.

    Args:
        samples: The number of samples, even.
        cases: The number of cases.
        size: The dimension :math:`n`; moments are matched from :math:`4 n` samples on.

    Returns:
        The noise, with shape ``(samples, cases, size)``, in double precision.
    """
    half = torch.randn(samples // 2, cases, size).double()
    if samples >= 4 * size:
        covariance = torch.einsum("sci,scj->cij", half, half) / len(half)
        factor = torch.linalg.cholesky(covariance)
        half = torch.linalg.solve_triangular(factor, half.movedim(0, -1), upper=False).movedim(-1, 0)
    return torch.cat((half, -half))


@dataclass(frozen=True)
class NaturalGradient(Optimizer):
    r"""Natural-gradient steps from the Laplace approximation at the 4DVAR mode:

    .. math::
        \Lambda \leftarrow \Lambda + \rho\, (E_q[\nabla^2 J] - \Lambda), \qquad
        \mu \leftarrow \mu - \rho\, \Lambda^{-1} E_q[\nabla J] .

    The expected Hessian comes from gradients alone by Stein's identity, with :math:`\Lambda` itself as control
    variate, :math:`E_q[\nabla^2 J] = \Lambda + E[r \varepsilon^T] C^T` for
    :math:`r = \nabla J(u) - E_q[\nabla J] - \Lambda (u - \mu)`, so that its noise vanishes as the posterior becomes
    Gaussian. A second-order term keeps :math:`\Lambda` positive definite, and :math:`\rho` decays as
    :math:`1 / (1 + k / 10)`. The start is kept where it has the higher evidence lower bound.

    Args:
        iterations: The number of steps.
        samples: Draws per step, even; four per entry of the control if omitted.

    References:
        | Fast and Simple Natural-Gradient Variational Inference (Lin, Khan & Schmidt, 2019),
          https://arxiv.org/abs/1906.02914
        | Handling the Positive-Definite Constraint in the Bayesian Learning Rule (Lin, Schmidt & Khan, 2020),
          https://arxiv.org/abs/2002.10060
    """  # noqa: D415

    iterations: int = 40
    samples: int | None = None

    def __post_init__(self) -> None:
        """Refuses what leaves nothing to average."""
        if self.iterations < 1:
            raise ValueError(f"iterations: at least one is needed, not {self.iterations}")
        if self.samples is not None and (self.samples < 2 or self.samples % 2):
            raise ValueError(f"samples: draws come in pairs, so an even number is needed, not {self.samples}")

    def fit(self, control: Control, family: Family) -> Fit:
        """Fits one member of the family to each case."""
        samples = self.samples or 4 * control.size
        mode = levenberg_marquardt(control, control.prior(1)[0] * 0)
        start = q = Gaussian.from_precision(mode.u, family.project(mode.hessian))
        trace = []
        for k in range(self.iterations):
            noise = matched_noise(samples, control.cases, control.size)
            cost, gradient = control.cost_and_gradient((q.mean + q.transport(noise)).to(mode.u))
            trace.append(cost.double().mean(dim=0) - q.entropy())
            q = self._step(q, family, noise, gradient.double(), rate=1 / (1 + k / 10))
        noise = torch.randn(max(samples, 128), control.cases, control.size)
        better = negative_elbo(control, q, noise) <= negative_elbo(control, start, noise)
        return Fit(q.where(better, start), torch.stack(trace, dim=-1))

    def _step(self, q: Gaussian, family: Family, noise: Tensor, gradient: Tensor, rate: float) -> Gaussian:
        """One natural-gradient step from the gradients at ``q.mean + q.transport(noise)``."""
        # A draw from which the model diverged has no gradient, and no say.
        valid = gradient.isfinite().all(dim=-1, keepdim=True)
        count = valid.sum(dim=0).clamp(min=1)
        gradient = torch.where(valid, gradient, 0)
        average = gradient.sum(dim=0) / count
        # Lambda (u - mu) = C C^T C^{-T} noise = C noise.
        residual = torch.where(valid, gradient - average - torch.einsum("cij,scj->sci", q.factor, noise), 0)
        change = torch.einsum("sci,scj->cij", residual, noise) / count.unsqueeze(-1) @ q.factor.mT
        change = rate * family.project(0.5 * (change + change.mT))
        half = torch.linalg.solve_triangular(q.factor, change, upper=False)
        precision = q.factor @ q.factor.mT + change + 0.5 * family.project(half.mT @ half)
        factor, broken = torch.linalg.cholesky_ex(precision)
        shift = torch.cholesky_solve(average.unsqueeze(-1), factor).squeeze(-1)
        # The mean moves by no more than the Gaussian's own radius: beyond it the samples know nothing.
        norm = torch.einsum("cij,ci->cj", factor, shift).norm(dim=-1, keepdim=True)
        reach = torch.clamp(noise.shape[-1] ** 0.5 / norm, max=1.0)
        stepped = Gaussian(q.mean - rate * reach * shift, factor)
        sound = (broken == 0) & stepped.mean.isfinite().all(dim=-1) & factor.isfinite().flatten(1).all(dim=-1)
        return stepped.where(sound, q)


@dataclass(frozen=True)
class Adam(Optimizer):
    r"""Adam on the reparametrised bound, from :math:`q = N(0, I)`, as in VI-4DVAR.

    The family is parametrised by its covariance factor, :math:`u = \mu + L \varepsilon`, with the diagonal of
    :math:`L` exponentiated.

    Args:
        iterations: The number of steps.
        samples: Draws per step.
        learning_rate: Adam's learning rate.

    References:
        | Adam: A Method for Stochastic Optimization (Kingma & Ba, 2014), https://arxiv.org/abs/1412.6980
    """

    iterations: int = 1500
    samples: int = 1
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        """Refuses what does not move."""
        if self.iterations < 1 or self.samples < 1 or self.learning_rate <= 0:
            raise ValueError("iterations, samples and learning_rate: must all be positive")

    def fit(self, control: Control, family: Family) -> Fit:
        """Fits one member of the family to each case."""
        with torch.enable_grad():
            mean = torch.zeros(control.cases, control.size, requires_grad=True)
            log_scale = torch.zeros_like(mean, requires_grad=True)
            lower = torch.zeros(*mean.shape, control.size, requires_grad=True)
            adam = torch.optim.Adam((mean, log_scale, lower), lr=self.learning_rate)
            trace = []
            for _ in range(self.iterations):
                root = torch.diag_embed(log_scale.exp()) + family.project(lower).tril(-1)
                noise = torch.randn(self.samples, control.cases, control.size)
                cost = control.cost(mean + torch.einsum("cij,scj->sci", root, noise))
                control.gradients += self.samples
                loss = torch.where(cost.isfinite(), cost, 0).mean(dim=0) - log_scale.sum(dim=-1)
                adam.zero_grad()
                loss.sum().backward()
                for parameter in (mean, log_scale, lower):
                    # One diverged case must not stop the others, whose gradients are their own.
                    parameter.grad = parameter.grad.nan_to_num(0.0, 0.0, 0.0)
                adam.step()
                trace.append(loss.detach().double())
        constant = Gaussian(mean.double() * 0, torch.eye(control.size).double().expand_as(root)).entropy()
        covariance = (root @ root.mT).detach().double()
        q = Gaussian.from_precision(mean.detach(), torch.linalg.inv(covariance))
        return Fit(q, torch.stack(trace, dim=-1) - constant.unsqueeze(-1))
