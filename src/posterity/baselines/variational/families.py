"""Variational families: Gaussians whose precision has a structure."""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from ...algebra import (
    Curvature,
    DensePrecision,
    Density,
    Factor,
    Gaussian,
    LowRankFactor,
    PrecisionFactor,
    leading_eigenpairs,
)
from ...problems import Control, Problem, Window
from ...problems.linearized.minimum import Minimum
from ...problems.minimize import minimize
from ...tensors import white_noise

#: Free parameters of a family, each with one row per case.
Free = tuple[Tensor, ...]


class Family(abc.ABC):
    r"""Abstract variational family: Gaussians :math:`q(u) = N(\mu, \Lambda^{-1})` with a structured precision."""

    def control(self, problem: Problem, window: Window) -> Control:
        """The coordinates in which the family has its structure: the control, unless a subclass has others."""
        return Control(problem, window)

    def mode(self, control: Control) -> Minimum:
        """The 4DVAR minimum in these coordinates, around which a fit may start."""
        return minimize(control)

    @abc.abstractmethod
    def project(self, precision: Curvature) -> Factor:
        r"""The nearest covariances of the family.

        Those that maximise the bound if the expected Hessian is :math:`P`: their precisions minimise
        :math:`\mathrm{tr}\, P \Lambda^{-1} + \log\det \Lambda`, so :math:`\mathrm{KL}(N(0, \Lambda^{-1}) \,\|\, N(0,
        P^{-1}))`.

        Args:
            precision: The matrices :math:`P`, positive definite; dense, or of some structure where they are large.

        Returns:
            The roots of :math:`\Lambda^{-1}`.
        """

    @abc.abstractmethod
    def free(self, control: Control) -> Free:
        """Free parameters of a member near the prior, for optimisers by gradient descent, in the window's dtype.

        Correlations start small and random: at zero, directions of low rank would have no gradient.
        """

    @abc.abstractmethod
    def member(self, free: Free) -> Factor:
        """The root of the covariance that free parameters stand for, in double precision; differentiable."""

    def refine(self, control: Control, q: Gaussian) -> tuple[Density, Tensor]:
        """Refines the fitted Gaussians to the densities that are drawn from; by default, these are the same.

        Args:
            control: The control.
            q: The Gaussians.

        Returns:
            The densities, and minus the bound at each iteration that it took, with shape ``(case, iteration)``.
        """
        return q, q.mean[:, :0]


class DiagonalFamily(Family):
    """Abstract family of independent entries, in whatever coordinates."""

    def project(self, precision: Curvature) -> Factor:
        """Keeps the diagonal."""
        return LowRankFactor.diagonal(1 / precision.diagonal())

    def free(self, control: Control) -> Free:
        """The logarithms of standard deviations."""
        return (control.zero(),)

    def member(self, free: Free) -> Factor:
        """The standard deviations."""
        return LowRankFactor.diagonal((2 * free[0].double()).exp())


@dataclass(frozen=True)
class MeanField(DiagonalFamily):
    """Mean-field family: independent entries of the control, a diagonal precision."""


@dataclass(frozen=True)
class Full(Family):
    """Full-rank family: any precision.

    Where the control is too large for matrices, natural gradients fit a diagonal plus as many directions as they have
    eigenpairs; gradient descent fits a matrix all the same, so low rank is the family for it.
    """

    def project(self, precision: Curvature) -> Factor:
        """Returns the root of the inverse of the matrix as it is."""
        return precision.factor()

    def free(self, control: Control) -> Free:
        """Logarithms of the diagonal of a factor, and what is below it."""
        zero = control.zero()
        return zero, 1e-2 * white_noise(zero, *zero.shape, control.size)

    def member(self, free: Free) -> Factor:
        r"""The root :math:`C^{-T}`, for a lower factor :math:`C` of the precision, with the diagonal :math:`1 / s`."""
        log_scale, weights = (each.double() for each in free)
        return PrecisionFactor(torch.diag_embed(torch.exp(-log_scale)) + weights.tril(-1))


@dataclass(frozen=True)
class LowRank(Family):
    r"""Low-rank family: a diagonal plus a few directions in which the data inform most, :math:`\Lambda = D + V V^T`.

    The structure is that of the precision, since :math:`I + G^T R^{-1} G` is the prior's and a term whose rank is that
    of the data (see :mod:`~posterity.baselines.variational`). Rank 0 is the mean field, and from rank :math:`n` on any
    precision can be had.

    The nearest of them to a matrix is what factor analysis fits to a covariance by maximum likelihood. The iteration
    alternates the best :math:`V` given :math:`D`, by the eigenvectors of :math:`D^{-1/2} P D^{-1/2}`, with the step
    of expectation maximisation for :math:`D` given that :math:`V`, which is :math:`D = \mathrm{diag}(P - V V^T)`; the
    divergence never rises.

    Args:
        rank: The number of directions.
        iterations: The number of alternations of a projection.

    References:
        | Maximum likelihood estimation of factor analysis using the ECME algorithm (Liu & Rubin, 1998),
          Statistica Sinica 8, 729–747
        | Some contributions to maximum likelihood factor analysis (Jöreskog, 1967),
          https://doi.org/10.1007/BF02289658
    """

    rank: int = 4
    iterations: int = 10

    def __post_init__(self) -> None:
        """Checks that the rank is not negative, and that a projection iterates."""
        if self.rank < 0:
            raise ValueError(f"rank: must not be negative, not {self.rank}")
        if self.iterations < 1:
            raise ValueError(f"iterations: at least one is needed, not {self.iterations}")

    def project(self, precision: Curvature) -> Factor:
        """The fit of factor analysis."""
        variances = precision.diagonal()
        n = variances.shape[-1]
        if self.rank >= n:
            return precision.factor()
        # Jöreskog's start: what no other coordinate explains, less what the directions will take.
        diagonal = (1 - self.rank / (2 * n)) / precision.factor().variance()
        directions = diagonal.unsqueeze(-1)[..., :0]
        for _ in range(self.iterations):
            root = diagonal.sqrt()
            values, vectors = _leading(precision, root, self.rank)
            directions = root.unsqueeze(-1) * vectors * (values - 1).clamp(min=0).sqrt().unsqueeze(-2)
            diagonal = variances - directions.square().sum(dim=-1)
        return LowRankFactor.updated(diagonal, directions)

    def free(self, control: Control) -> Free:
        """The logarithms of :math:`D^{-1/2}`, and the directions."""
        zero = control.zero()
        return zero, 1e-2 * white_noise(zero, *zero.shape, min(self.rank, control.size))

    def member(self, free: Free) -> Factor:
        """The root of the diagonal plus the directions."""
        log_scale, directions = (each.double() for each in free)
        return LowRankFactor.updated(torch.exp(-2 * log_scale), directions)


def _leading(precision: Curvature, root: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    r"""The leading eigenpairs of :math:`D^{-1/2} P D^{-1/2}`, for the roots :math:`D^{1/2}` of diagonals."""
    if isinstance(precision, DensePrecision):
        scaled = precision.matrix / root.unsqueeze(-1) / root.unsqueeze(-2)
        # The driver refuses NaN: a case without a finite matrix gets finite numbers, and NaN through its diagonal.
        values, vectors = torch.linalg.eigh(scaled.nan_to_num(0.0, 0.0, 0.0))
        return values.flip(-1)[..., :rank], vectors.flip(-1)[..., :rank]
    pairs = leading_eigenpairs(lambda v: precision.multiply(v / root) / root, root, 4 * rank + 16)
    return pairs.values[..., :rank], pairs.vectors[..., :rank]
