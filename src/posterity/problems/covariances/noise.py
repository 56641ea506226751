"""The noise of the steps of a stochastic system, in the place of a root of the model's errors."""

from torch import Tensor

from .root import Root


class NoiseOfSteps(Root):
    """Root of a stochastic system, whose steps take white noise as it is: the identity on vectors that are no states.

    Args:
        shape: The event shape of the noise of one step.
        like: A tensor whose dtype and device it has.
    """

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        self._shape, self._like = shape, like

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the noise of one step."""
        return self._shape

    @property
    def full(self) -> bool:
        """No: what noise does to a state is the system's to know, and need not have a density."""
        return False

    def forward(self, w: Tensor) -> Tensor:
        """The noise itself."""
        return w

    def transpose(self, x: Tensor) -> Tensor:
        """The noise itself."""
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """Refuses: two states that follow each other do not tell the noise between them."""
        raise ValueError(
            "system: it is stochastic, and its states do not tell the noise of its steps; use a method that needs no "
            "density of the next state given this one"
        )

    def variance(self) -> Tensor:
        """One, for each entry of the noise."""
        return self._like.new_ones(self._shape)
