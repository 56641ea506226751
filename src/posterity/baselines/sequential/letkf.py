"""The local ensemble transform Kalman filter."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...problems import chunks
from ...tensors import Constant, identity
from .kalman import EnsembleKalman, Spectrum, solve_gain, solve_shifted, whitened_anomalies
from .localization import taper


@dataclass(frozen=True)
class LETKF(EnsembleKalman):
    r"""Local ensemble transform Kalman filter: an analysis for each site of the grid,

    .. math::
        E_s = \bar x_s + \Big(\frac{(I + G_s)^{-1} S \rho_s \bar d}{\sqrt{N - 1}} + (I + G_s)^{-1/2}\Big) A_s, \quad
        G_s = S \rho_s S^T, \quad S = \frac{Y R^{-1/2}}{\sqrt{N - 1}} ,

    in which the precision of an observation is tapered by :math:`\rho_s`, a function of its distance from the site, on
    a periodic grid of one or two dimensions. Few members then suffice for many sites, at the price of a bias towards
    independence of what is far apart: with a finite radius there is no number of members at which it is exact. All
    channels of a site share its analysis. Unknown parameters belong to no site, and are updated by all observations.

    Args:
        problem: The problem.
        members: The number of members :math:`N`.
        inflation: The factor by which the anomalies of each analysis are multiplied.
        rotation: Whether they are rotated at random; mean and covariance stay.
        radius: The radius of localisation, in grid spacings: the taper of Gaspari and Cohn with half-width
            :math:`L = 1.82` radii is close to a Gaussian of that standard deviation. None for no localisation, which
            is the ensemble transform Kalman filter.

    References:
        | Efficient data assimilation for spatiotemporal chaos: a local ensemble transform Kalman filter
          (Hunt, Kostelich & Szunyogh, 2007), https://doi.org/10.1016/j.physd.2006.11.008
    """

    radius: float | None = 4.0

    def __post_init__(self) -> None:
        """Checks that the radius is positive, and that the operator gives the sites of its observations."""
        super().__post_init__()
        if self.radius is not None and self.radius <= 0:
            raise ValueError(f"radius: must be positive, or none for no localisation, not {self.radius}")
        _ = self.problem.observation.operator.sites

    @cached_property
    def factors(self) -> Constant:
        """The taper: one row for each site, and one of ones for unknown parameters; a column for each observation."""
        operator = self.problem.observation.operator
        rows = taper(self.problem.shape[1:], operator.sites, self.radius)
        if self.problem.parameters:
            rows = torch.cat((rows, torch.ones_like(rows[:1])))
        return Constant(rows.repeat(1, operator.out_shape[0]))

    def update(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Analyses all sites of all cases as one batch, in chunks that fit the memory."""
        size = sum(self.factors.value.shape) * len(z) ** 2
        parts = [self.local(z[:, chunk], innovation[:, chunk]) for chunk in chunks(z.shape[1], size, z.device)]
        return torch.cat(parts, dim=1)

    def local(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Analyses all sites of some cases; see :meth:`update`."""
        s, mean = whitened_anomalies(innovation)
        spectrum, weight = self.spectrum(s, mean)
        eye = identity(s, len(z))
        # One matrix for each case and site; its rows are the members of the analysis.
        transform = weight.mT / (len(z) - 1) ** 0.5 + spectrum.power(-0.5, eye)

        channels = self.problem.shape[0]
        sites = spectrum.eigenvalue.shape[1] - bool(self.problem.parameters)
        x_mean = z.double().mean(dim=0)
        anomalies = z - x_mean
        split = channels * sites
        x = anomalies[..., :split].unflatten(-1, (channels, sites))
        x = torch.einsum("csij,jcks->icks", transform[:, :sites], x).flatten(2)
        if self.problem.parameters:
            v = torch.einsum("cij,jck->ick", transform[:, -1], anomalies[..., split:])
            x = torch.cat((x, v), dim=-1)
        return (x_mean + x).to(z)

    def spectrum(self, s: Tensor, mean: Tensor) -> tuple[Spectrum, Tensor]:
        r"""The powers of :math:`I + S \rho_s S^T` for all cases and sites, and the pull of the observations.

        Args:
            s: The observed anomalies :math:`S`, with shape ``(case, members, observations)``.
            mean: The mean innovations :math:`\bar d`, with shape ``(case, observations, 1)``.

        Returns:
            The decomposition, with batch dimensions ``(case, site)``, and :math:`(I + G_s)^{-1} S \rho_s \bar d`, with
            shape ``(case, site, members, 1)``; by the cheaper of two ways.
        """
        factors = self.factors.like(s)
        if s.shape[-1] < s.shape[-2]:
            root = factors.sqrt()
            local = s.unsqueeze(1) * root.unsqueeze(-2)
            return Spectrum.of(local), solve_gain(local, mean.unsqueeze(1) * root.unsqueeze(-1))
        # Sums over observations for all sites at once: no copy of the anomalies for each site.
        gram = ((s.unsqueeze(2) * s.unsqueeze(1)) @ factors.mT).movedim(-1, 1)
        pull = ((s * mean.mT) @ factors.mT).mT.unsqueeze(-1)
        return Spectrum.of_gram(gram), solve_shifted(gram, pull)
