"""Optimisers of the evidence lower bound over a family of Gaussians."""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...algebra import Curvature, Density, Gaussian, white_entropy
from ...problems import Control, curvature
from .families import Family


class Fit(NamedTuple):
    """Fitted Gaussian of each case, with the trace of its bound.

    Args:
        q: The Gaussians.
        trace: An estimate of minus the evidence lower bound at each iteration, with shape ``(case, iteration)``.
    """

    q: Gaussian
    trace: Tensor


class Optimizer(abc.ABC):
    r"""Abstract optimiser of :math:`-\mathrm{ELBO} = E_q[-\log p(u, y)] - \mathbb H[q]`."""

    @abc.abstractmethod
    def fit(self, control: Control, family: Family) -> Fit:
        """Fits one member of the family to each case."""


def negative_elbo(control: Control, q: Density, noise: Tensor) -> Tensor:
    r"""Estimates :math:`-\mathrm{ELBO} = E_q[J(u) + \log q(u)]`, up to the density's normaliser.

    Args:
        control: The control.
        q: The densities.
        noise: White noise, with shape ``(samples, case, n)``.

    Returns:
        The estimate, with shape ``(case,)``; infinite or NaN where the model diverged from a draw.
    """
    parts = []
    for chunk in control.chunks(len(noise)):
        u, log_det = q.draw(noise[chunk])
        parts.append(control.cost(u.to(noise)).double() - log_det)
    return torch.cat(parts).mean(dim=0) - white_entropy(control.size)


def enough(control: Control, least: int = 128) -> int:
    """The number of draws that match the moments of white noise, or a few where these would be too many."""
    return max(least, 4 * control.size) if not control.is_large else least


def moment_matched_noise(control: Control, samples: int) -> Tensor:
    """Draws antithetic white noise whose sample covariance is exactly the identity if it can be.

    Expectations of linear and quadratic functions are then exact, whatever the number of samples.

    Args:
        control: The control, whose size is the dimension :math:`n`.
        samples: The number of samples, even; moments are matched from :math:`4 n` on.

    Returns:
        The noise, with shape ``(samples, cases, size)``, in double precision.
    """
    half = by_cases(control.noise(samples // 2)).movedim(0, 1)
    if samples >= 4 * control.size:
        factor = torch.linalg.cholesky(half.mT @ half / half.shape[1])
        half = torch.linalg.solve_triangular(factor, half.mT, upper=False).mT
    return torch.cat((half, -half), dim=1).movedim(1, 0)


def by_cases(x: Tensor) -> Tensor:
    """The same numbers in double precision, those of a case together in memory: products of cases then copy nothing.

    Args:
        x: Numbers of samples, with shape ``(samples, case, n)``.
    """
    return x.movedim(0, 1).to(torch.double, memory_format=torch.contiguous_format).movedim(1, 0)


@dataclass(frozen=True)
class NaturalGradient(Optimizer):
    r"""Natural-gradient optimiser, from the Laplace approximation at the 4DVAR mode:

    .. math::
        P \leftarrow P + \rho\, (E_q[\nabla^2 J] - P), \qquad
        \mu \leftarrow \mu - \rho\, P^{-1} E_q[\nabla J], \qquad
        q = N(\mu, \Lambda^{-1}) \text{ with } \Lambda = \Pi(P) ,

    where :math:`\Pi` projects on the precisions of the family (see :mod:`~posterity.baselines.variational`). The
    curvature :math:`P` is full for every family: preconditioned by its own diagonal alone, a mean-field mean would take
    hundreds of steps. The expected Hessian comes from gradients alone by Stein's identity, with :math:`P` itself as
    control variate, :math:`E_q[\nabla^2 J] = P + E[r \varepsilon^T] S^{-1}` for :math:`\Lambda^{-1} = S S^T` and
    :math:`r = \nabla J(u) - E_q[\nabla J] - P (u - \mu)`, so that its noise vanishes as the posterior becomes Gaussian.
    Where the control is too large for matrices, :math:`P` is a diagonal plus a matrix between the leading eigenvectors
    of the Hessian at the mode, and the step what that keeps of it; linear problems are then fitted exactly if there are
    as many eigenpairs as the data inform directions, and else up to the noise of the estimated diagonal.
    A second-order term keeps :math:`P` positive definite. The rate :math:`\rho` is a half for the first half of the
    steps, then falls as :math:`1 / (2 + k)`, which averages over all the draws that follow. The start is kept where it
    has the higher evidence lower bound.

    Args:
        iterations: The number of steps.
        samples: Draws per step, even; four per entry of the control if omitted, or 128 where it is too large for
            matrices.
        eigenpairs: Directions of the curvature, where it is too large to be held as a matrix.

    References:
        | Fast and Simple Natural-Gradient Variational Inference (Lin, Khan & Schmidt, 2019),
          https://arxiv.org/abs/1906.02914
        | Handling the Positive-Definite Constraint in the Bayesian Learning Rule (Lin, Schmidt & Khan, 2020),
          https://arxiv.org/abs/2002.10060
    """

    iterations: int = 16
    samples: int | None = None
    eigenpairs: int = 128

    def __post_init__(self) -> None:
        """Checks that there are steps, and pairs of draws."""
        if self.iterations < 1:
            raise ValueError(f"iterations: at least one is needed, not {self.iterations}")
        if self.eigenpairs < 1:
            raise ValueError(f"eigenpairs: at least one is needed, not {self.eigenpairs}")
        if self.samples is not None and (self.samples < 2 or self.samples % 2):
            raise ValueError(f"samples: draws come in pairs, so an even number is needed, not {self.samples}")

    def fit(self, control: Control, family: Family) -> Fit:
        """Fits one member of the family to each case."""
        samples = self.samples or (4 * control.size if not control.is_large else 128)
        mode = family.mode(control)
        hessian = curvature(mode.model, self.eigenpairs)
        start = q = Gaussian(mode.u.double(), family.project(hessian))
        trace = []
        for k in range(self.iterations):
            noise = moment_matched_noise(control, samples)
            deviations = q.transport(noise)
            cost, gradient = control.cost_and_gradient((q.mean + deviations).to(mode.u))
            trace.append(cost.double().mean(dim=0) - q.entropy())
            rate = 1 / (2 + max(0, k - self.iterations // 2))
            q, hessian = self._step(q, hessian, family, noise, deviations, gradient, rate)
        noise = control.noise(max(samples, 128))
        better = negative_elbo(control, q, noise) <= negative_elbo(control, start, noise)
        return Fit(q.where(better, start), torch.stack(trace, dim=-1))

    def _step(
        self, q: Gaussian, hessian: Curvature, family: Family, noise: Tensor, deviations: Tensor, gradient: Tensor,
        rate: float,
    ) -> tuple[Gaussian, Curvature]:  # fmt: skip
        """One step of the Gaussians and Hessians, from the gradients at the mean and these deviations of the noise."""
        # A draw from which the model diverged has no gradient, and no say.
        valid = gradient.sum(dim=-1, keepdim=True).isfinite()
        count = valid.sum(dim=0).clamp(min=1)
        gradient = by_cases(torch.where(valid, gradient, 0))
        average = gradient.sum(dim=0) / count
        residual = (gradient - average - hessian.multiply(deviations)).masked_fill_(~valid, 0)
        updated = hessian.stepped(rate * residual / count, q.factor.dual(noise))
        root = updated.factor()
        shift = root.covariance(average)
        # The mean moves by no more than the posterior's own radius, within which the samples lie.
        norm = torch.linalg.vector_norm(root.inverse(shift), dim=-1, keepdim=True)
        reach = torch.clamp(noise.shape[-1] ** 0.5 / norm, max=1.0)
        stepped = Gaussian(q.mean - rate * reach * shift, family.project(updated))
        sound = root.sound() & stepped.sound()
        return stepped.where(sound, q), updated.where(sound, hessian)


@dataclass(frozen=True)
class Adam(Optimizer):
    r"""Adam optimiser of the reparametrised bound, as in VI-4DVAR, from :math:`q = N(0, I)`.

    The free parameters are the mean, and those of which the family makes the roots :math:`S` of its covariances; draws
    are :math:`u = \mu + S \varepsilon`.

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
        """Checks that steps, samples and rate are positive."""
        if self.iterations < 1 or self.samples < 1 or self.learning_rate <= 0:
            raise ValueError("iterations, samples and learning_rate: must all be positive")

    def fit(self, control: Control, family: Family) -> Fit:
        """Fits one member of the family to each case."""
        with torch.enable_grad():
            mean, *free = (each.requires_grad_() for each in (control.zero(), *family.free(control)))
            parameters = (mean, *free)
            adam = torch.optim.Adam(parameters, lr=self.learning_rate)
            trace = []
            for _ in range(self.iterations):
                noise = control.noise(self.samples)
                q = Gaussian(mean.double(), family.member(tuple(free)))
                cost = control.cost(q.draw(noise)[0].to(mean))
                control.gradients += self.samples
                loss = torch.where(cost.isfinite(), cost, 0).double().mean(dim=0) - q.entropy()
                gradients = torch.autograd.grad(loss.sum(), parameters, allow_unused=True, materialize_grads=True)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    # One diverged case must not stop the others, whose gradients are their own.
                    parameter.grad = gradient.nan_to_num(0.0, 0.0, 0.0)
                adam.step()
                trace.append(loss.detach())
        q = Gaussian(mean.detach().double(), family.member(tuple(each.detach() for each in free)))
        return Fit(q, torch.stack(trace, dim=-1))
