"""Guidance: the posterior's denoiser from the prior's and a likelihood; see :mod:`posterity.diffusion`."""

import abc
from collections.abc import Callable
from functools import cached_property
from math import sin, tan
from typing import NamedTuple

import torch
from torch import Tensor

from ..tensors import append_dims
from .denoisers import Denoiser, Mean

#: The product of a matrix with a vector of each row.
Product = Callable[[Tensor], Tensor]

#: Relative rounding error by which the curvature of ``I + …`` may fall below that of the identity.
ROUNDING = 1e-4


class Likelihood(NamedTuple):
    r"""Observations :math:`y = H(z) + \varepsilon`, :math:`\varepsilon \sim N(0, R)`, one vector for each row.

    Args:
        operator: The operator :math:`H`, from ``(rows, *shape)`` to ``(rows, observations)``.
        y: The observations, with shape ``(rows, observations)``; any number where missing.
        precision: :math:`R^{-1/2}`, with the same shape; zero where missing.
    """

    operator: Callable[[Tensor], Tensor]
    y: Tensor
    precision: Tensor

    def residual(self, z: Tensor) -> Tensor:
        r"""The whitened residual of the observations, :math:`R^{-1/2} (y - H(z))`."""
        return (self.y - self.operator(z)) * self.precision


class Seen:
    r"""What is observed of the mean of noisy data, linearised about it.

    :math:`A = \partial H / \partial \hat x` is the derivative of what is observed, and :math:`V = \sin\varphi
    \tan\varphi\, \partial \hat x / \partial \bar x` the covariance of the clean state.

    Args:
        likelihood: The observations.
        mean: The mean :math:`\hat x`, with shape ``(rows, *shape)``.
        noise: The variance of the noise in units of the clean state, :math:`\tan^2\varphi`.
        pull: The product with :math:`V^T`; one sweep back through the denoiser.
        spread: The product with a symmetric estimate of :math:`V`.
        symmetric: Whether the two are the same.

    Attributes:
        residual: :math:`R^{-1/2} (y - H(\hat x))`, with shape ``(rows, observations)``; zero where missing.
        precision: :math:`R^{-1/2}`, with the same shape; zero where missing.
    """

    def __init__(
        self, likelihood: Likelihood, mean: Tensor, noise: float, pull: Product, spread: Product, symmetric: bool
    ) -> None:
        self._mean = mean.detach().requires_grad_()
        with torch.enable_grad():
            self._residual = likelihood.residual(self._mean)
        self.residual, self.precision = self._residual.detach(), likelihood.precision
        self.noise, self.symmetric, self._pull, self._spread = noise, symmetric, pull, spread

    def pull(self, w: Tensor) -> Tensor:
        r"""The product with :math:`V^T A^T R^{-1/2}`, the gradient of a likelihood."""
        return self._pull(self._back(w))

    def spread(self, w: Tensor) -> Tensor:
        r"""The product with :math:`V A^T R^{-1/2}`, of the symmetric estimate."""
        return self._spread(self._back(w))

    def of(self, x: Tensor) -> Tensor:
        r"""The product with :math:`R^{-1/2} A`, the derivative of that with its transpose, which is linear."""
        probe, back = self._transposed
        return torch.autograd.grad(back, probe, x, retain_graph=True)[0]

    @cached_property
    def _transposed(self) -> tuple[Tensor, Tensor]:
        """A vector, and the product with it, of which derivatives are taken."""
        with torch.enable_grad():
            probe = torch.zeros_like(self._residual).requires_grad_()
            (back,) = torch.autograd.grad(self._residual, self._mean, -probe, retain_graph=True, create_graph=True)
        return probe, back

    def _back(self, w: Tensor) -> Tensor:
        r"""The product with :math:`A^T R^{-1/2}`."""
        return torch.autograd.grad(self._residual, self._mean, -w, retain_graph=True)[0]


class Guidance(abc.ABC):
    r"""Abstract guidance: an approximation of :math:`p(y | \bar x)`, the likelihood of noisy data, by its gradient

    .. math::
        \nabla_{\bar x} \log p(y | \bar x) \approx
            \Big(\frac{\partial \hat r}{\partial \bar x}\Big)^{\!T} w , \quad \hat r = R^{-1/2} H(\hat x), \quad
        \hat x = E[z | \bar x] .

    Subclasses define the weights :math:`w`, by the pull that they have.
    """

    #: Whether to take :math:`\partial \hat x / \partial \bar x = 1 / \cos\varphi`, as if there were no prior.
    detach = False

    @abc.abstractmethod
    def pull(self, seen: Seen) -> Tensor:
        r"""The change of the mean, :math:`V A^T R^{-1/2} w`, with shape ``(rows, *shape)``.

        Args:
            seen: What is observed of the mean, and the products of its derivatives.
        """

    def guide(self, denoiser: Denoiser, likelihood: Likelihood) -> Mean:
        """Makes the mean of the posterior, which samplers ask for, from the denoiser of the prior.

        Args:
            denoiser: The denoiser of the prior.
            likelihood: The observations, one vector for each row that is denoised.
        """

        def posterior(x: Tensor, angle: float) -> Tensor:
            noise, mean = tan(angle) ** 2, denoiser.mean(x, angle).detach()

            def pull(w: Tensor) -> Tensor:
                return noise * w if self.detach else sin(angle) * tan(angle) * denoiser.pullback(x, angle, w)

            def spread(w: Tensor) -> Tensor:
                return noise * w if self.detach else sin(angle) * tan(angle) * denoiser.spread(x, angle, w)

            return mean + self.pull(Seen(likelihood, mean, noise, pull, spread, self.detach or denoiser.symmetric))

        return posterior


def _bound(residual: Tensor, weights: Tensor, change: Tensor) -> Tensor:
    r"""The share of a pull :math:`V A^T R^{-1/2} w` that observations and prior ask for, at most one,

    .. math:: \alpha = \min\Big(1, \frac{r^T c}{c^T c + w^T c}\Big), \qquad
        c = R^{-1/2} A V A^T R^{-1/2} w ,

    the minimiser of :math:`\|r - \alpha c\|^2 + \alpha^2 w^T c`, residual and prior along the pull. None of it where
    :math:`V` is no covariance.

    Args:
        residual: The residuals :math:`r`, with shape ``(rows, observations)``.
        weights: The weights :math:`w`, with the same shape.
        change: What is observed of the pull, :math:`c`, with the same shape.

    Returns:
        The shares, with shape ``(rows,)``.
    """
    prior = (weights * change).sum(dim=-1)
    share = (residual * change).sum(dim=-1) / (change.square().sum(dim=-1) + prior)
    return torch.where(prior > 0, share.clamp(min=0, max=1), 0)


class SDAGuidance(Guidance):
    r"""Guidance of score-based data assimilation, a likelihood at the mean with an inflated variance,

    .. math::
        p(y | \bar x) \approx N\big(y;\; H(\hat x),\; R + \gamma \tan^2\varphi\, I\big) .

    :math:`\gamma` stands for the share of the noise that a denoiser leaves in what is observed, in units of the
    observations' own standard deviation. In truth it depends on the noise: for a state of variance :math:`s^2` that is
    seen directly it is :math:`s^2 / (s^2 + \tan^2\varphi)`, which goes to one at little noise. The pull of a smaller
    :math:`\gamma` is up to :math:`1 / \gamma` times as strong as that of any posterior, and where observations are
    accurate, so that :math:`R` is no bound either, steps and corrections of samplers diverge. It is therefore
    shortened, row by row, to the point along it where the posterior of a Gaussian with the denoiser's covariance is
    largest; nothing changes where :math:`\gamma` is the share.

    Args:
        gamma: The share :math:`\gamma \geq 0`.
        detach: Whether to do without the network's Jacobian: cheaper, and blind to what is not observed.
        bounded: Whether pulls are shortened. As published they are not.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    def __init__(self, gamma: float = 1e-2, detach: bool = False, bounded: bool = True) -> None:
        if gamma < 0:
            raise ValueError(f"gamma: must not be negative, not {gamma}")
        self.gamma, self.detach, self.bounded = gamma, detach, bounded

    def pull(self, seen: Seen) -> Tensor:
        """That of the residuals over their variances."""
        weights = seen.residual / (1 + self.gamma * seen.noise * seen.precision.square())
        change = seen.pull(weights)
        if self.bounded:
            share = _bound(seen.residual, weights, seen.of(change))
            change = change * append_dims(share, change.ndim - weights.ndim + 1)
        return change


class DPSGuidance(Guidance):
    r"""Diffusion posterior sampling, a pull towards the observations of a strength that does not depend on the noise,

    .. math::
        \nabla_{\bar x} \log p(y | \bar x) \approx -\zeta\, \frac{\nabla_{\bar x} \|r\|^2}{\|r\|}, \qquad
        r = R^{-1/2} (y - H(\hat x)) .

    No likelihood has this gradient: it is exact in no case, and spreads are what :math:`\zeta` makes of them.

    Args:
        zeta: The strength :math:`\zeta > 0`.

    References:
        | Diffusion Posterior Sampling for General Noisy Inverse Problems (Chung et al., 2023),
        | https://arxiv.org/abs/2209.14687
    """

    def __init__(self, zeta: float = 1.0) -> None:
        if zeta <= 0:
            raise ValueError(f"zeta: must be positive, not {zeta}")
        self.zeta = zeta

    def pull(self, seen: Seen) -> Tensor:
        """That of the residuals over half their norm; zero if nothing is observed."""
        norm = seen.residual.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(seen.residual.dtype).tiny)
        return seen.pull(2 * self.zeta * seen.residual / norm)


class MomentMatching(Guidance):
    r"""Moment matching, the likelihood of a Gaussian with the mean and covariance of the data given noisy ones,

    .. math::
        p(y | \bar x) \approx N\big(y;\; H(\hat x),\; R + A V A^T\big), \qquad
        V = \sin\varphi \tan\varphi\, \frac{\partial \hat x}{\partial \bar x}, \quad
        A = \frac{\partial H}{\partial \hat x} .

    Exact if the prior is Gaussian and :math:`H` linear. The system is solved by conjugate gradients, each of whose
    iterations is one sweep back through the denoiser; each row stops when it has converged.

    Args:
        iterations: The largest number of iterations.
        tolerance: The norm of the residual of the system at which a row has converged, relative to the first one.

    References:
        | Learning Diffusion Priors from Observations by Expectation Maximization (Rozet et al., 2024),
        | https://arxiv.org/abs/2405.13712
    """

    def __init__(self, iterations: int = 16, tolerance: float = 1e-3) -> None:
        if iterations < 1:
            raise ValueError(f"iterations: at least one is needed, not {iterations}")
        if tolerance < 0:
            raise ValueError(f"tolerance: must not be negative, not {tolerance}")
        self.iterations, self.tolerance = iterations, tolerance

    def pull(self, seen: Seen) -> Tensor:
        r"""Solves :math:`(I + R^{-1/2} A V A^T R^{-1/2})\, w = r`; if :math:`V` is symmetric, this takes the pull's."""

        def product(w: Tensor) -> tuple[Tensor, Tensor]:
            change = seen.spread(w)
            return w + seen.of(change), change

        weights, change = conjugate_gradients(product, seen.residual, self.iterations, self.tolerance)
        return change if seen.symmetric else seen.pull(weights)


def conjugate_gradients(
    matrix: Callable[[Tensor], tuple[Tensor, Tensor]], b: Tensor, iterations: int, tolerance: float = 0.0
) -> tuple[Tensor, Tensor]:
    r"""Solves :math:`S x = b` for symmetric :math:`S \geq I`, all rows at once, each until it has converged.

    Solutions are sums of directions, and products :math:`C x` sums of those with directions, so that none is asked for
    twice. The matrix of a network may violate what is said of it. A row therefore stops at the first direction in which
    the curvature of :math:`S` is below that of the identity.

    Args:
        matrix: The products with :math:`S` and with :math:`C`, of vectors of shape ``(rows, n)``: the first with the
            same shape, the second with shape ``(rows, *shape)``.
        b: The right-hand sides, with shape ``(rows, n)``.
        iterations: The largest number of iterations.
        tolerance: The norm of the residual at which a row has converged, relative to that of its right-hand side.

    Returns:
        The solutions :math:`x`, with shape ``(rows, n)``, and the products :math:`C x`, with shape ``(rows, *shape)``.
    """
    x, residual, direction, total = torch.zeros_like(b), b, b, b.new_zeros(())
    square = b.square().sum(dim=-1, keepdim=True)
    target = tolerance**2 * square
    active = square > target
    for _ in range(iterations):
        product, image = matrix(direction)
        curvature = (direction * product).sum(dim=-1, keepdim=True)
        active = active & (curvature >= (1 - ROUNDING) * direction.square().sum(dim=-1, keepdim=True))
        step = torch.where(active, square / curvature, 0)
        total = total + append_dims(step.squeeze(-1), image.ndim - b.ndim + 1) * image
        x, residual = x + step * direction, residual - step * product
        last, square = square, residual.square().sum(dim=-1, keepdim=True)
        active = active & (square > target)
        if not active.any():
            break
        direction = residual + torch.where(active, square / last, 0) * direction
    return x, total
