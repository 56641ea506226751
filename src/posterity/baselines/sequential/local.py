"""Local analyses in the space of the members: one transform for each site of a periodic grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isinf, prod

import torch
from torch import Tensor

from ...problems import Operator, chunks
from ...tensors import Constant, identity, one_thread
from .kalman import Spectrum, solve_gain, square_root, whitened_anomalies
from .localization import taper
from .record import Sequential


class LocalTransform:
    r"""The square-root update of an ensemble with an analysis of its own at each site of a periodic grid,

    .. math::
        E_s = \bar x_s + \Big(\frac{(I + G_s)^{-1} S \rho_s \bar d}{\sqrt{N - 1}} + (I + G_s)^{-1/2}\Big) A_s, \quad
        G_s = S \rho_s S^T = \sum_o \rho(s - o)\, S_o S_o^T .

    The taper :math:`\rho` depends on the way from an observation to a site alone, so that the matrices of all sites are
    convolutions of the products :math:`S_o S_o^T` of each pair of members, by fast Fourier transforms: the cost is
    :math:`N^2 n \log n` for :math:`n` sites, however many observations each of them sees, with neither a taper of sites
    by observations nor lists of neighbours. What is missing at a time is zero before the convolution, and sites near
    which nothing is observed are left as they are. Where there are fewer observations than members, the spectra of the
    observations' matrices are the cheaper way to the same.

    A convolution is exact to rounding relative to the largest product on the grid: to
    :math:`10^{-16} \max_o S_o^2`, beside the identity.

    Args:
        shape: The event shape of the states, ``(channel, *grid)``.
        operator: The observation operator, which says at which sites its observations stand.
        radius: The radius of localisation, in grid spacings; None for one transform of all sites.
    """

    def __init__(self, shape: Sequence[int], operator: Operator, radius: float | None) -> None:
        if radius is not None and radius <= 0:
            raise ValueError(f"radius: must be positive, or none for no localisation, not {radius}")
        self.channels, self.grid = shape[0], tuple(shape[1:]) or (1,)
        self.sites = operator.sites.repeat(operator.out_shape[0])
        self.radius = None if radius is None or isinf(radius) else radius

    @cached_property
    def taper(self) -> Constant:
        """The taper around the first site, on the grid, in double precision."""
        return Constant(
            taper(self.grid, torch.zeros(1, dtype=torch.long, device="cpu"), self.radius).reshape(self.grid)
        )

    def __call__(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Updates ensembles: states at each site, all channels and times alike, and parameters by all observations.

        Args:
            z: The ensembles, with shape ``(members, case, *times, size)``, states then whitened parameters.
            innovation: The whitened innovations of each member, with shape ``(members, case, observations)``, zero
                where nothing is observed.

        Returns:
            The ensembles, with the same shape.
        """
        states = self.channels * prod(self.grid)
        if self.radius is None:
            return square_root(innovation)(z.flatten(2)).reshape(z.shape)
        x = self.update_states(z[..., :states].reshape(*z.shape[:2], -1, prod(self.grid)), innovation)
        x = x.reshape(*z.shape[:-1], states)
        if states == z.shape[-1]:
            return x
        v = z[..., states:]
        return torch.cat((x, square_root(innovation)(v.flatten(2)).reshape(v.shape)), dim=-1)

    def update_states(self, x: Tensor, innovation: Tensor) -> Tensor:
        """Updates values on the grid, with shape ``(members, case, rows, sites)``."""
        members, cases, rows, sites = x.shape
        size = sites * members * max(members, rows)
        parts = [self.update(x[:, chunk], innovation[:, chunk]) for chunk in chunks(cases, size, x.device)]
        return torch.cat(parts, dim=1)

    def update(self, x: Tensor, innovation: Tensor) -> Tensor:
        """Updates the ensembles of some cases; see :meth:`update_states`."""
        seen = (innovation != 0).any(dim=0)
        some = seen.any(dim=0).nonzero().squeeze(-1)
        where = self.sites.to(some.device)[some]
        s, mean = whitened_anomalies(innovation[..., some])
        near = self.convolve(seen[:, some].to(s), where, support=True) > 0.5
        sites = near.any(dim=0).nonzero().squeeze(-1)
        moved = x.clone()
        if not len(sites):
            return moved
        fewer = len(some) < len(x)
        # Products of members before they are convolved, and matrices of sites thereafter.
        pairs = None if fewer else self.pairs(s, mean, where)
        for chunk in chunks(len(sites), len(s) * len(x) * max(len(x), x.shape[2]), x.device):
            part = sites[chunk]
            if pairs is None:
                transform = self.of_observations(s, mean, where, part)
            else:
                transform = of_products(pairs[..., part], len(x))
            z = x[..., part].permute(1, 3, 0, 2).double()
            average = z.mean(dim=2, keepdim=True)
            analysis = (average + transform @ (z - average)).permute(2, 0, 3, 1).to(x)
            moved[..., part] = torch.where(near[:, None, part], analysis, x[..., part])
        return moved

    def convolve(self, values: Tensor, where: Tensor, support: bool = False) -> Tensor:
        r"""The sums :math:`\sum_o \rho(s - o)\, v_o` at all sites.

        Args:
            values: The values :math:`v` of observations, with shape ``(*batch, observations)``.
            where: Their sites.
            support: Whether to count the observations within the support of the taper in place of weighing them.

        Returns:
            The sums, with shape ``(*batch, sites)``.
        """
        kernel = self.taper.like(values)
        kernel = (kernel > 0).to(values) if support else kernel
        dims = tuple(range(-len(self.grid), 0))
        field = values.new_zeros(*values.shape[:-1], prod(self.grid)).index_add_(-1, where, values)
        waves = torch.fft.rfftn(field.unflatten(-1, self.grid), dim=dims) * torch.fft.rfftn(kernel)
        return torch.fft.irfftn(waves, s=self.grid, dim=dims).flatten(-len(self.grid))

    def pairs(self, s: Tensor, mean: Tensor, where: Tensor) -> Tensor:
        r"""The matrices :math:`G_s` and the pull :math:`S \rho_s \bar d` of all sites.

        Args:
            s: The observed anomalies :math:`S`, with shape ``(case, members, observations)``.
            mean: The mean innovations :math:`\bar d`, with shape ``(case, observations, 1)``.
            where: The sites of the observations.

        Returns:
            The lower triangles of the matrices, row by row, and behind them the pull, with shape
            ``(case, members * (members + 3) / 2, sites)``.
        """
        row, column = torch.tril_indices(s.shape[1], s.shape[1], device=s.device)
        right = torch.cat((s, mean.mT), dim=1)
        row = torch.cat((row, torch.full_like(column[: s.shape[1]], s.shape[1])))
        column = torch.cat((column, torch.arange(s.shape[1], device=s.device)))
        found = s.new_empty(len(s), len(row), prod(self.grid))
        for chunk in chunks(len(row), len(s) * prod(self.grid), s.device):
            found[:, chunk] = self.convolve(right[:, row[chunk]] * s[:, column[chunk]], where)
        return found

    def of_observations(self, s: Tensor, mean: Tensor, where: Tensor, sites: Tensor) -> Tensor:
        """The transforms of some sites by the matrices of few observations; arguments as for :meth:`pairs`."""
        apart = [
            (there.unsqueeze(-1) - here).remainder(size)
            for there, here, size in zip(
                torch.unravel_index(sites, self.grid), torch.unravel_index(where, self.grid), self.grid, strict=True
            )
        ]
        root = self.taper.like(s)[tuple(apart)].sqrt()
        local = s.unsqueeze(1) * root.unsqueeze(-2)
        weight = solve_gain(local, mean.unsqueeze(1) * root.unsqueeze(-1))
        with one_thread():
            spectrum = Spectrum.of(local)
        return weight.mT / (s.shape[1] - 1) ** 0.5 + spectrum.power(-0.5, identity(s, s.shape[1]))


@dataclass(frozen=True)
class Localized(Sequential):
    """Abstract sequential method with an analysis for each site; leads the bases of those that have one.

    Args:
        radius: The radius of localisation, in grid spacings; None for one analysis of all sites.
    """

    radius: float | None = 4.0

    def __post_init__(self) -> None:
        """Makes the transforms, which checks the radius, and that the operator gives the sites of its observations."""
        super().__post_init__()
        _ = self.local

    @cached_property
    def local(self) -> LocalTransform:
        """The transforms of the sites."""
        return LocalTransform(self.problem.shape, self.problem.observation.operator, self.radius)


def of_products(pairs: Tensor, members: int) -> Tensor:
    """The transforms of some sites, by the spectra of their matrices.

    Args:
        pairs: Matrices and pull, as :meth:`LocalTransform.pairs` gives them, with shape ``(case, rows, sites)``.
        members: The number of members.

    Returns:
        The transforms, with shape ``(case, sites, members, members)``; rows are the members of the analysis.
    """
    row, column = torch.tril_indices(members, members, device=pairs.device)
    index = row.new_empty(members, members)
    index[row, column] = index[column, row] = torch.arange(len(row), device=pairs.device)
    gram, pull = pairs.mT[..., index], pairs[:, len(row) :].mT.unsqueeze(-1)
    with one_thread():
        eigenvalue, vectors = torch.linalg.eigh(gram)
    growth = 1 + eigenvalue.clamp(min=0).unsqueeze(-2)
    weight = vectors @ ((vectors.mT @ pull) / growth.mT)
    return weight.mT / (members - 1) ** 0.5 + (vectors * growth.rsqrt()) @ vectors.mT
