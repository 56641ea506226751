"""The free run: an ensemble that no observation corrects."""

from dataclasses import dataclass

from torch import Tensor

from .record import Filter, Record


@dataclass(frozen=True)
class FreeRun(Filter):
    r"""Free run: the ensemble of the background, carried by the model through the record, corrected by nothing,

    .. math:: x_0 \sim p(x_0 | x_b), \qquad x_{t+1} \sim p(x_{t+1} | x_t, \theta) .

    What a filter gains by its observations is its distance from this: it knows the background, unlike the climatology,
    and forgets it as fast as the system does. Targets :math:`p(x_t | x_b)`, not the posterior.

    Args:
        problem: The problem.
        members: The number of members.
    """

    def analyse(self, z: Tensor, innovation: Tensor, record: Record, t: int) -> Tensor:
        """Leaves the forecast as it is."""
        return z
