"""Observations: an operator, noise, and masks of the entries that exist."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .masks import Mask
from .noise import GaussianNoise, Noise
from .operators import Operator


@dataclass(frozen=True)
class Observation:
    r"""Observations :math:`y_t = H(x_t) + \varepsilon_t`, :math:`\varepsilon_t \sim N(0, R_t)`, :math:`R_t` diagonal.

    A missing entry is NaN; operator and noise see numbers only. The standard deviations are drawn for each entry on its
    own, from an interval that does not depend on the state: were it to, as when noise is a percentage of the observed
    signal, they would be data about the state.

    Args:
        operator: The operator :math:`H`.
        std: The interval ``(low, high)`` from which standard deviations are drawn, in units of the observations; a
            number stands for itself.
        masks: The masks; an entry is observed if all of them keep it, so all entries are if there is none.
        noise: The distribution of the noise of given standard deviations.
    """

    operator: Operator
    std: float | tuple[float, float] = (1.0, 1.0)
    masks: Sequence[Mask] = field(default=())
    noise: Noise = field(default_factory=GaussianNoise)

    def __post_init__(self) -> None:
        """Checks that the standard deviations are positive, and brings the fields to a form that can be compared."""
        object.__setattr__(self, "std", interval("std", self.std))
        object.__setattr__(self, "masks", tuple(self.masks))

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape of an observation, ``(obs_channel, *obs_grid)``."""
        return self.operator.out_shape

    def design(self, batch: Sequence[int], window: int) -> tuple[Tensor, Tensor]:
        """Draws the observing design of windows: standard deviations and mask, before anything is observed.

        Args:
            batch: The batch shape.
            window: The number of times :math:`T`.

        Returns:
            The standard deviations and the mask (true where observed), with shape ``(*batch, window, *shape)``.
        """
        std = uniform(self.std, (*batch, window, *self.shape))
        mask = torch.ones(std.shape, dtype=torch.bool)
        for keep in self.masks:
            mask = mask & keep(batch, window, self.shape)
        return std, mask

    def sample(self, x: Tensor, std: Tensor, mask: Tensor) -> Tensor:
        """Observes states with noise.

        Args:
            x: The states, with shape ``(*batch, window, *state_shape)``.
            std: The standard deviations, with shape ``(*batch, window, *shape)``.
            mask: True where observed, with the same shape.

        Returns:
            The observations, with the same shape, NaN where not observed.
        """
        return torch.where(mask, self.noise.sample(self.operator(x), std), torch.nan)

    def log_prob(self, y: Tensor, x: Tensor, std: Tensor) -> Tensor:
        r"""The log-likelihood :math:`\log p(y | x) = \sum \log N(y; H(x), \sigma^2)` over what is observed.

        Args:
            y: The observations, with shape ``(*batch, window, *shape)``, NaN where missing.
            x: The states, with shape ``(*batch, window, *state_shape)``.
            std: The standard deviations, with the shape of ``y``; they do not matter where it is missing.

        Returns:
            The log-likelihood, with shape ``(*batch,)``.
        """
        observed = ~y.isnan()
        # What stands for a missing entry must be finite, or its zero gradient would turn into NaN.
        std = torch.where(observed, std, 1)
        terms = self.noise.log_prob(torch.where(observed, y, 0), self.operator(x), std)
        return torch.where(observed, terms, 0).flatten(-len(self.shape) - 1).sum(dim=-1)


def uniform(ends: float | tuple[float, float], shape: Sequence[int], like: Tensor | None = None) -> Tensor:
    """Draws uniformly from an interval, in the dtype and on the device of a tensor if there is one."""
    low, high = interval("interval", ends)
    like = torch.empty(0) if like is None else like
    return low + (high - low) * torch.rand(tuple(shape), dtype=like.dtype, device=like.device)


def interval(name: str, ends: float | Sequence[float]) -> tuple[float, float]:
    """The ends of an interval of standard deviations, which a number stands for; raises unless 0 < low <= high."""
    low, high = (float(end) for end in ((ends, ends) if isinstance(ends, int | float) else ends))
    if not 0 < low <= high:
        raise ValueError(f"{name}: needs 0 < low <= high, not [{low}, {high}]")
    return low, high
