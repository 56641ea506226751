"""Preconditioners, from weighted particles or the Laplace approximation; see :mod:`posterity.mcmc`."""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from ..algebra import CovarianceFactor, Eigenpairs, Factor, LowRankFactor


class Metric(abc.ABC):
    """Abstract choice of the coordinates in which particles of a tempered posterior move."""

    @abc.abstractmethod
    def factor(self, u: Tensor, weights: Tensor, beta: Tensor, cases: Tensor) -> Factor:
        r"""Factors of the covariances of :math:`p_\beta`, about.

        Args:
            u: Particles of some of the cases, with shape ``(particle, case, n)``.
            weights: Their weights, with shape ``(particle, case)``, which sum to one.
            beta: The inverse temperatures, with shape ``(case,)``.
            cases: The numbers of these cases, with shape ``(case,)``.
        """


@dataclass(frozen=True)
class ParticleMetric(Metric):
    """Metric of the particles themselves: see :func:`preconditioner`."""

    def factor(self, u: Tensor, weights: Tensor, beta: Tensor, cases: Tensor) -> Factor:
        """Factors of the covariances of the particles."""
        return preconditioner(u, weights)


@dataclass(frozen=True)
class WhiteMetric(Metric):
    """Metric of white noise, where the coordinates themselves make the posterior about white."""

    def factor(self, u: Tensor, weights: Tensor, beta: Tensor, cases: Tensor) -> Factor:
        """Factors that are the identity."""
        return LowRankFactor.diagonal(torch.ones_like(u[0]))


@dataclass(frozen=True)
class LaplaceMetric(Metric):
    r"""Metric of the Laplace approximation, :math:`(I + \beta V \Theta V^T)^{-1}` at each temperature.

    Fewer particles than entries say little of directions in which the posterior is narrow; the Hessian of the misfit
    says which these are.

    Args:
        pairs: Leading eigenpairs of the Gauss–Newton Hessian of the misfit, for all cases.
    """

    pairs: Eigenpairs

    def factor(self, u: Tensor, weights: Tensor, beta: Tensor, cases: Tensor) -> Factor:
        """Factors of low rank; those of the prior for a case that has no eigenpairs."""
        values, vectors = (field[cases] for field in self.pairs)
        values = 1 + beta.unsqueeze(-1) * values.nan_to_num(0.0)
        return LowRankFactor(torch.ones_like(vectors[..., 0]), values, vectors.nan_to_num(0.0)).to(u)


def preconditioner(u: Tensor, weights: Tensor) -> Factor:
    r"""The factor of the shrunk covariance of each case, :math:`L L^T \approx \mathrm{Cov}[u]`.

    Sample eigenvalues spread too far where particles are not many compared with the dimension. Those of the sample
    correlation matrix are shrunk by quadratic-inverse shrinkage, each towards its neighbours, and the eigenvectors
    kept. Linear shrinkage towards the diagonal (Ledoit–Wolf, OAS) would lift the smallest eigenvalues, which set the
    step: with 512 particles and 192 entries (Lorenz-96, weak constraint) the preconditioned posterior then needs some
    ten times more leapfrog steps. With fewer particles than entries, there is little to go by, and little gained over
    a diagonal preconditioner; the estimate is then a diagonal and as many directions as particles, and is kept as such.

    Args:
        u: The particles, with shape ``(particle, case, n)``.
        weights: Their weights, with shape ``(particle, case)``, which sum to one.

    Returns:
        The factors: dense, or of low rank where entries are more than particles.

    References:
        | Quadratic shrinkage for large covariance matrices (Ledoit & Wolf, 2022),
          https://doi.org/10.3150/20-BEJ1315
    """
    weights = weights.double()
    concentration = weights.square().sum(dim=0)
    # One particle with all of the weight has no covariance: that of all particles takes its place.
    alone = concentration > 0.999
    weights = torch.where(alone, 1 / len(weights), weights)
    concentration = torch.where(alone, 1 / len(weights), concentration)
    # The effective number of particles, but for rounding of the weights, less the one that the mean takes.
    count = ((concentration.reciprocal() + 1e-6).floor() - 1).clamp(min=1)
    weights = weights / (1 - concentration)
    fit = _dense if u.shape[-1] <= len(u) else _low_rank
    return fit(u, weights, count)


def _standardized(u: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations of particles with the given weights, in standard deviations, and those."""
    mean = torch.einsum("sc,sci->ci", weights, u.double()) / weights.sum(dim=0).unsqueeze(-1)
    deviation = (u - mean) * weights.sqrt().unsqueeze(-1)
    std = deviation.square().sum(dim=0).sqrt().clamp(min=torch.finfo(deviation.dtype).tiny)
    return deviation / std, std


def _dense(u: Tensor, weights: Tensor, count: Tensor) -> Factor:
    """The factor of the shrunk covariance as a matrix."""
    z, std = _standardized(u, weights)
    values, vectors = torch.linalg.eigh(torch.einsum("sci,scj->cij", z, z))
    values, _ = _shrink(values, count, u.shape[-1])
    correlation = (vectors * values.unsqueeze(-2)) @ vectors.mT
    covariance = std.unsqueeze(-1) * correlation * std.unsqueeze(-2)
    return CovarianceFactor(torch.linalg.cholesky_ex(covariance).L.to(u))


def _low_rank(u: Tensor, weights: Tensor, count: Tensor) -> Factor:
    """The factor of the same covariance: all eigenvalues of directions without particles are shrunk to one number.

    Case by case, since particles of many entries take several times their memory in double precision.
    """
    parts = [_low_rank_case(u[:, [case]], weights[:, [case]], count[[case]]) for case in range(u.shape[1])]
    return LowRankFactor(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _low_rank_case(u: Tensor, weights: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The scale, values and vectors of one case."""
    z, std = _standardized(u, weights)
    values, vectors = torch.linalg.eigh(torch.einsum("sci,rci->csr", z, z))
    shrunk, rest = _shrink(values, count, u.shape[-1])
    lengths = torch.where(shrunk == rest, 1, values.clamp(min=1e-10)).sqrt()
    directions = torch.einsum("sci,csr->cir", z, vectors / lengths.unsqueeze(-2))
    return (std * rest.sqrt()).to(u), (rest / shrunk).to(u), directions.to(u)


def _shrink(values: Tensor, count: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Quadratic-inverse shrinkage of eigenvalues from ``count`` observations each.

    Args:
        values: The largest of the ``n`` eigenvalues, with shape ``(case, m)``, ascending; the others are zero.
        count: The numbers of observations, with shape ``(case,)``.
        n: The dimension.

    Returns:
        The shrunk eigenvalues, with the same shape, and what zeros are shrunk to, with shape ``(case, 1)``; the sum of
        all of them is ``n``.
    """
    m, count = values.shape[-1], count.unsqueeze(-1)
    ratio = n / count
    width = ((torch.minimum(ratio, 1 / ratio) ** 2 / n) ** 0.35).unsqueeze(-1)
    # Beyond the number of observations, eigenvalues are zero and tell nothing.
    told = torch.arange(m, device=values.device) >= m - count
    number = told.sum(dim=-1, keepdim=True)
    inverse = values.clamp(min=1e-10).reciprocal()
    others = torch.where(told, inverse, 0).unsqueeze(-1)
    distance = others - inverse.unsqueeze(-2)
    density = distance.square() + (width * others).square()
    # Those that tell nothing count as zero; they must not divide zero by zero.
    density = torch.where(told.unsqueeze(-1), density, 1)
    hilbert = (others * distance / density).sum(dim=-2) / number
    amplitude = hilbert.square() + ((width * others.square() / density).sum(dim=-2) / number).square()
    full = 1 / (inverse * ((1 - ratio) ** 2 + 2 * ratio * (1 - ratio) * hilbert + ratio**2 * amplitude))
    null = number / ((ratio - 1) * others.squeeze(-1).sum(dim=-1, keepdim=True))
    few = torch.where(told, 1 / (inverse * amplitude), null)
    shrunk = torch.where(count >= n, full, few)
    total = shrunk.sum(dim=-1, keepdim=True) + (n - m) * null if n > m else shrunk.sum(dim=-1, keepdim=True)
    return shrunk * (n / total), null * (n / total)
