"""Gaussians and points: flows without transforms."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ..nn.layers import offsets
from .flow import ConditionalFlow, Flow, log_normal

#: The most entries of a Gaussian of any covariance: at 1024 a matrix of one draw takes eight mebibytes.
DENSE = 1024


class Delta(Flow):
    r"""A point estimate, :math:`q(z | c) = \delta(z - \mu(c))`.

    It has no density: its draws are copies, their log-densities NaN. Trained through the 4DVAR cost, it learns to
    invert the model. It is of no use to estimators that learn by the density of draws.

    References:
        | Learning 4DVAR inversion directly from observations (Filoche et al., 2022), https://arxiv.org/abs/2211.09741
    """

    def build(self, shape: Sequence[int], context: Sequence[int]) -> ConditionalFlow:
        """Makes the module, for fields and vectors of any shape."""
        return DeltaModule(shape, context, (1,))


class DiagonalGaussian(Flow):
    r"""A Gaussian with independent entries, :math:`q(z | c) = N(\mu(c), \mathrm{diag}\, \sigma^2(c))`."""

    def build(self, shape: Sequence[int], context: Sequence[int]) -> ConditionalFlow:
        """Makes the module, for fields and vectors of any shape."""
        return DiagonalGaussianModule(shape, context, (1, 1))


class FullGaussian(Flow):
    r"""A Gaussian with a full covariance, by a precision that adds a learned product to a diagonal,

    .. math:: q(z | c) = N(\mu(c), \Lambda^{-1}), \qquad \Lambda = \mathrm{diag}(d(c)) + V(c)\, V(c)^T = C C^T ,

    as the posterior of a whitened control is :math:`I + G^T R^{-1} G`. The entries of :math:`V` in the row of a site
    follow from the context there, each for one distance to another site: so the Gaussian moves with the context. The
    Cholesky factor :math:`C` is taken of the precision, in double precision: :math:`n^2` numbers and :math:`n^3 / 3`
    operations for each draw.
    """

    def build(self, shape: Sequence[int], context: Sequence[int]) -> ConditionalFlow:
        """Makes the module, for fields and vectors of some hundred entries."""
        if prod(shape) > DENSE:
            raise ValueError(
                f"flow: a Gaussian of any covariance takes a matrix of {prod(shape)} by {prod(shape)} numbers for each "
                f"draw, and more than {DENSE} entries are too many; use diagonal-gaussian, or multiscale over fields"
            )
        return FullGaussianModule(shape, context)


class Head(nn.Module):
    """A linear layer that reads the parameters of every entry from the context of its site; vectors have one site.

    Args:
        shape: The shape of the entries, ``(channel, *grid)`` or ``(entries,)``.
        context: The shape of the context, ``(channel, *grid)`` with the same grid, or ``(entries,)``.
        counts: The number of parameters of each kind that an entry has.
    """

    def __init__(self, shape: Sequence[int], context: Sequence[int], counts: Sequence[int]) -> None:
        super().__init__()
        if tuple(shape[1:]) != tuple(context[1:]):
            raise ValueError(f"flow: a Gaussian over the grid {list(shape[1:])} has a context on {list(context[1:])}")
        self.counts, self.channels, self.sites = tuple(counts), shape[0], prod(shape[1:])
        self.layer = nn.Linear(context[0], shape[0] * sum(counts))

    def forward(self, context: Tensor) -> list[Tensor]:
        """The parameters of each kind, each with shape ``(case, entries, count)``."""
        found = self.layer(context.reshape(*context.shape[:2], self.sites).mT)
        # (case, site, channel, number): entries are ordered by channel, then site.
        entries = found.unflatten(-1, (self.channels, -1)).transpose(1, 2).flatten(1, 2)
        return list(entries.split(self.counts, dim=-1))


class HeadedFlow(ConditionalFlow):
    """Base of densities whose parameters a :class:`Head` reads from the context.

    Args:
        shape: The shape of a value.
        context: The shape of the context.
        counts: The number of parameters of each kind that an entry has.
    """

    def __init__(self, shape: Sequence[int], context: Sequence[int], counts: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.head = Head(shape, context, counts)


class DeltaModule(HeadedFlow):
    """The module of :class:`Delta`."""

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """NaN for each case: a point has no density."""
        return torch.full_like(z.flatten(1)[:, 0], torch.nan)

    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The point of each case, and NaN."""
        (mean,) = self.head(context)
        return mean.view(-1, *self.shape), torch.full_like(mean[:, 0, 0], torch.nan)


class DiagonalGaussianModule(HeadedFlow):
    """The module of :class:`DiagonalGaussian`."""

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density, with shape ``(case,)``."""
        mean, log_std = (value.squeeze(-1) for value in self.head(context))
        return log_normal((z.flatten(1) - mean) * torch.exp(-log_std)) - log_std.sum(dim=-1)

    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density."""
        mean, log_std = (value.squeeze(-1) for value in self.head(context))
        noise = torch.randn_like(mean)
        return (mean + log_std.exp() * noise).view(-1, *self.shape), log_normal(noise) - log_std.sum(dim=-1)


class FullGaussianModule(HeadedFlow):
    """The module of :class:`FullGaussian`.

    Args:
        shape: The shape of a value.
        context: The shape of the context.
    """

    column: Tensor

    def __init__(self, shape: Sequence[int], context: Sequence[int]) -> None:
        super().__init__(shape, context, (1, 1, prod(shape)))
        # Columns of V are matched to the parameters of a row by the offset between the two sites.
        apart = offsets(shape[1:] or (1,))
        column = torch.arange(shape[0]).view(-1, 1) * prod(shape[1:]) + apart.unsqueeze(1)
        self.register_buffer("column", column.flatten(1).repeat(shape[0], 1), persistent=False)

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """The log-density, with shape ``(case,)``."""
        mean, factor = self.moments(context)
        noise = factor.mT @ (z.flatten(1) - mean).unsqueeze(-1).double()
        return (log_normal(noise.squeeze(-1)) + log_determinant(factor)).to(z)

    def draw(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """One draw for each case, with its log-density."""
        mean, factor = self.moments(context)
        noise = torch.randn_like(mean).double()
        deviation = torch.linalg.solve_triangular(factor.mT, noise.unsqueeze(-1), upper=True).squeeze(-1)
        log_q = log_normal(noise) + log_determinant(factor)
        return (mean + deviation.to(mean)).view(-1, *self.shape), log_q.to(mean)

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The means, ``(case, n)``, and the Cholesky factors of the precisions, ``(case, n, n)``, in double."""
        mean, log_diagonal, numbers = self.head(context)
        vectors = numbers.gather(-1, self.column.expand(len(numbers), -1, -1)).double()
        precision = vectors @ vectors.mT + torch.diag_embed(log_diagonal.squeeze(-1).double().exp())
        factor, broken = torch.linalg.cholesky_ex(precision)
        return mean.squeeze(-1), torch.where((broken == 0)[:, None, None], factor, torch.nan)


def log_determinant(factor: Tensor) -> Tensor:
    """The logarithm of the determinant of triangular factors of shape ``(case, n, n)``."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
