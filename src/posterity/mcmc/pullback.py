"""Potentials in the coordinates of a Gaussian near their posterior; see :mod:`posterity.mcmc`."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ..algebra import Gaussian
from .hamiltonian import Potential


@dataclass(frozen=True)
class Pullback:
    r"""The :class:`~posterity.mcmc.Potential` :math:`J(\mu + S z)`, pulled back to the coordinates of a Gaussian.

    What is standard normal in these coordinates is the Gaussian, and tempering leads from there to the posterior.

    Args:
        potential: The potential.
        gaussian: The Gaussians :math:`N(\mu, S S^T)`.
    """

    potential: Potential
    gaussian: Gaussian

    def place(self, z: Tensor) -> Tensor:
        r"""The points :math:`\mu + S z`, with the shape and dtype of the coordinates."""
        return self.gaussian.draw(z)[0].to(z)

    def cost_and_gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The cost and its gradient; see :class:`~posterity.mcmc.Potential`."""
        cost, gradient = self.potential.cost_and_gradient(self.place(u))
        return cost, self.gaussian.factor.transpose(gradient).to(u)

    def select(self, index: Tensor) -> Self:
        """The potential of some of the cases, with its own count of work."""
        return type(self)(self.potential.select(index), self.gaussian.select(index))

    def absorb(self, part: Self, index: Tensor) -> None:
        """Adds the work that a selection has done to the count of the cases that it was selected from."""
        self.potential.absorb(part.potential, index)
