"""The local ensemble Kalman smoother."""

from dataclasses import dataclass

from torch import Tensor

from .enks import EnKS
from .local import Localized


@dataclass(frozen=True)
class LocalEnKS(Localized, EnKS):
    r"""Local ensemble Kalman smoother: the transform of each site is applied to its past states too,

    .. math:: E_{s,t-l} \leftarrow \bar x_{s,t-l} + (w_{s,t} + T_{s,t}) A_{s,t-l}, \qquad l = 0, …, L ,

    with the weights and transforms of the local ensemble transform Kalman filter. Localisation costs a smoother more
    than a filter. What is observed now tells of where it came from, and correlations with the past move with the flow
    while the taper stays at its site: over a lag in which signals travel as far as the radius, the observations that
    matter are outside of it, and what is within it is sampling noise. Choose a lag whose way is well within the radius;
    a longer one draws less from the data than it could, and more from chance. With a finite radius there is no number
    of members at which it is exact.

    Unknown parameters are updated by all observations. What is returned of which times is as of :class:`.EnKS`.

    Args:
        problem: The problem.
        members: The number of members :math:`N`.
        inflation: The factor by which the anomalies of each analysis are multiplied, those of the present state alone.
        rotation: Whether they are rotated at random, past states and present alike; mean and covariance stay.
        lag: The number of past states :math:`L` that an analysis moves; None for all of them.
        radius: The radius of localisation, in grid spacings, as of :class:`.LETKF`; None for no localisation.

    References:
        | 4-D-Var or ensemble Kalman filter? (Kalnay et al., 2007, the no-cost smoother),
          https://doi.org/10.1111/j.1600-0870.2007.00261.x
    """

    def transform(self, z: Tensor, innovation: Tensor) -> Tensor:
        """Transforms the states of each site, at all times alike."""
        return self.local(z, innovation)
