"""The stochastic ensemble Kalman filter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .kalman import EnsembleKalman, Update, gain, whitened_anomalies


@dataclass(frozen=True)
class StochasticEnKF(EnsembleKalman):
    r"""Stochastic ensemble Kalman filter, with perturbed observations:

    .. math::
        x^a_i = x_i + K (y + \varepsilon_i - H(x_i)), \quad
        K = \frac{A^T Y}{N - 1} \Big(\frac{Y^T Y}{N - 1} + R\Big)^{-1}, \quad \varepsilon_i \sim N(0, R) ,

    with the anomalies :math:`A` of the states and :math:`Y` of what is observed of them. The perturbations of all
    members sum to zero. Tends to the filtering marginals :math:`p(x_t | y_{0:t})` with the number of members if the
    problem is linear and Gaussian; else an approximation that sees no more of the forecast than two moments.

    Args:
        problem: The problem.
        members: The number of members :math:`N`.
        inflation: The factor by which the anomalies of each analysis are multiplied.
        rotation: Whether they are rotated at random; mean and covariance stay.

    References:
        | Analysis scheme in the ensemble Kalman filter (Burgers, van Leeuwen & Evensen, 1998),
          https://doi.org/10.1175/1520-0493(1998)126%3C1719:ASITEK%3E2.0.CO;2
    """

    def update(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Moves each member by its own perturbed innovation."""
        noise = torch.randn_like(innovation)
        # Centred, but not stretched: its sample covariance is that of the observations already.
        noise = noise - noise.mean(dim=0)
        s, _ = whitened_anomalies(innovation)
        perturbed = (innovation + noise).movedim(0, 1).double()
        return Update(perturbed, gain(s).mT / (len(innovation) - 1) ** 0.5)(z)
