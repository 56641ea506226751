"""Variational families: Gaussians with structured precision matrices."""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from ...algebra import Density, Gaussian
from ...problems import Control, Problem, Window
from ...problems.minimize import Minimum, minimize


class Family(abc.ABC):
    r"""Abstract variational family: Gaussians :math:`q(u) = N(\mu, \Lambda^{-1})` with a structured precision."""

    def control(self, problem: Problem, window: Window) -> Control:
        """The coordinates in which the family has its structure: the control, unless a subclass has others."""
        return Control(problem, window)

    def mode(self, control: Control) -> Minimum:
        """The 4DVAR minimum in these coordinates, around which a fit may start."""
        return minimize(control)

    @abc.abstractmethod
    def project(self, matrix: Tensor, control: Control) -> Tensor:
        r"""The nearest precisions of the family.

        Those that maximise the bound if ``matrix`` is the expected Hessian :math:`P`: they minimise
        :math:`\mathrm{tr}\, P \Lambda^{-1} + \log\det \Lambda`, so :math:`\mathrm{KL}(N(0, \Lambda^{-1}) \,\|\, N(0,
        P^{-1}))`.

        Args:
            matrix: Positive definite matrices, with shape ``(case, n, n)``.
            control: The control, which knows what its entries are.

        Returns:
            The precisions, with the same shape.
        """

    def precision(self, log_scale: Tensor, weights: Tensor, control: Control) -> Tensor:
        r"""Maps free parameters to precisions, for optimisers by gradient descent.

        Args:
            log_scale: :math:`\log s`, with shape ``(case, n)``.
            weights: The rest :math:`W`, with shape ``(case, n, n)``.
            control: The control.

        Returns:
            :math:`U U^T`, whose upper factor :math:`U` has the diagonal :math:`1 / s`, and those entries of :math:`W`
            that :meth:`project` keeps.
        """
        upper = torch.diag_embed(torch.exp(-log_scale)) + self.project(weights, control).triu(1)
        return upper @ upper.mT

    def refine(self, control: Control, q: Gaussian) -> tuple[Density, Tensor]:
        """Refines the fitted Gaussians to the densities that are drawn from; by default, these are the same.

        Args:
            control: The control.
            q: The Gaussians.

        Returns:
            The densities, and minus the bound at each iteration that it took, with shape ``(case, iteration)``.
        """
        return q, q.mean[:, :0]


@dataclass(frozen=True)
class MeanField(Family):
    """Mean-field family: independent coordinates, a diagonal precision."""

    def project(self, matrix: Tensor, control: Control) -> Tensor:
        """Keeps the diagonal."""
        return torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))


@dataclass(frozen=True)
class Full(Family):
    """Full-rank family: any precision."""

    def project(self, matrix: Tensor, control: Control) -> Tensor:
        """Returns the matrix as it is."""
        return matrix


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

    def project(self, matrix: Tensor, control: Control) -> Tensor:
        """The fit of factor analysis."""
        n = matrix.shape[-1]
        if self.rank >= n:
            return matrix
        variances = matrix.diagonal(dim1=-2, dim2=-1)
        # Jöreskog's start: what no other coordinate explains, less what the directions will take.
        diagonal = (1 - self.rank / (2 * n)) / torch.linalg.inv_ex(matrix)[0].diagonal(dim1=-2, dim2=-1)
        for _ in range(self.iterations):
            root = diagonal.sqrt()
            scaled = matrix / root.unsqueeze(-1) / root.unsqueeze(-2)
            # The driver refuses NaN: a case without a finite matrix gets finite numbers, and NaN through its diagonal.
            values, vectors = torch.linalg.eigh(scaled.nan_to_num(0.0, 0.0, 0.0))
            values, vectors = values[..., n - self.rank :], vectors[..., n - self.rank :]
            directions = root.unsqueeze(-1) * vectors * (values - 1).clamp(min=0).sqrt().unsqueeze(-2)
            diagonal = variances - directions.square().sum(dim=-1)
        return torch.diag_embed(diagonal) + directions @ directions.mT

    def precision(self, log_scale: Tensor, weights: Tensor, control: Control) -> Tensor:
        """A diagonal, and the first ``rank`` columns of the weights."""
        directions = weights[..., : self.rank]
        return torch.diag_embed(torch.exp(-2 * log_scale)) + directions @ directions.mT
