"""The ensemble transform Kalman filter."""

from dataclasses import dataclass

from torch import Tensor

from .kalman import EnsembleKalman, rotated_update, square_root
from .record import Record


@dataclass(frozen=True)
class ETKF(EnsembleKalman):
    r"""Ensemble transform Kalman filter with the symmetric square root,

    .. math::
        \bar x^a = \bar x + K (y - \overline{H(x)}), \qquad
        A^a = \Big(I + \frac{Y R^{-1} Y^T}{N - 1}\Big)^{-1/2} A ,

    with the anomalies :math:`A` of the states and :math:`Y` of what is observed of them, one row for each of the
    :math:`N` members. Mean and covariance follow the Kalman filter without sampling noise of the observations. Tends
    to the filtering marginals :math:`p(x_t | y_{0:t})` with the number of members if the problem is linear and
    Gaussian.

    Args:
        problem: The problem.
        members: The number of members :math:`N`.
        inflation: The factor by which the anomalies of each analysis are multiplied.
        rotation: Whether they are rotated at random; mean and covariance stay. All square roots are then alike in
            distribution, and with no more members than observations it is a triangular one that is computed.

    References:
        | Adaptive sampling with the ensemble transform Kalman filter (Bishop, Etherton & Majumdar, 2001),
          https://doi.org/10.1175/1520-0493(2001)129%3C0420:ASWTET%3E2.0.CO;2
        | Implications of the form of the ensemble transformation in the ensemble square root filters
          (Sakov & Oke, 2008), https://doi.org/10.1175/2007MWR2021.1
    """

    def update(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Transforms the ensemble of each case."""
        return square_root(innovation)(z)

    def analyse(self, z: Tensor, innovation: Tensor, record: Record, t: int) -> Tensor:
        """Updates, rotates and inflates; if they are rotated, and not more than observations, by a cheaper root."""
        if self.rotation and len(z) <= innovation.shape[-1]:
            return rotated_update(z, innovation, self.inflation)
        return super().analyse(z, innovation, record, t)
