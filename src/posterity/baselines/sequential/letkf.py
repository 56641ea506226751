"""The local ensemble transform Kalman filter."""

from dataclasses import dataclass

from torch import Tensor

from .kalman import EnsembleKalman
from .local import Localized


@dataclass(frozen=True)
class LETKF(Localized, EnsembleKalman):
    r"""Local ensemble transform Kalman filter: an analysis for each site of the grid,

    .. math::
        E_s = \bar x_s + \Big(\frac{(I + G_s)^{-1} S \rho_s \bar d}{\sqrt{N - 1}} + (I + G_s)^{-1/2}\Big) A_s, \quad
        G_s = S \rho_s S^T, \quad S = \frac{Y R^{-1/2}}{\sqrt{N - 1}} ,

    in which the precision of an observation is tapered by :math:`\rho_s`, a function of its distance from the site, on
    a periodic grid of one or two dimensions. Few members then suffice for many sites, at the price of a bias towards
    independence of what is far apart: with a finite radius there is no number of members at which it is exact. All
    channels of a site share its analysis. The matrices of all sites are convolutions, see
    :class:`.local.LocalTransform`: the cost grows as :math:`n \log n` with the number of sites, and hardly with that of
    observations. Unknown parameters belong to no site, and are updated by all observations.

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

    def update(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Transforms the states at each site, and unknown parameters by all observations."""
        return self.local(z, innovation)
