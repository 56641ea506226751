"""The exponential moving average of an estimator's weights."""

from copy import deepcopy
from typing import Any

from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..learned import Learned


class Average:
    """The average of the weights over the last steps, which grows towards a decay in the first ones.

    Args:
        estimator: The estimator, whose weights change.
        decay: The decay of the average; 0 for none.
    """

    def __init__(self, estimator: Learned, decay: float) -> None:
        self.estimator, self.decay = estimator, decay
        #: The estimator with averaged weights; None if there is no average.
        self.averaged = deepcopy(estimator) if decay else None
        # Looked up once: to walk through the modules in every step takes as long as to change small ones.
        self._current = list(estimator.parameters())
        self._kept = [] if self.averaged is None else list(self.averaged.parameters())

    def begin(self) -> None:
        """Starts from the weights as they are."""
        if self.averaged is not None:
            self.averaged.load_state_dict(self.estimator.state_dict())

    def update(self, steps: int) -> None:
        """Updates the average after so many steps; faster in the first, or it would remember the initial weights."""
        if self._kept:
            get_ema_multi_avg_fn(min(self.decay, (1 + steps) / (10 + steps)))(self._kept, self._current, steps)

    def weights(self) -> Learned:
        """The estimator with the averaged weights, if there is an average, and the estimator itself if not."""
        if self.averaged is None:
            return self.estimator
        # Buffers are copied, not averaged.
        for kept, current in zip(self.averaged.buffers(), self.estimator.buffers(), strict=True):
            kept.copy_(current)
        return self.averaged

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights; empty if there is no average."""
        return {} if self.averaged is None else self.averaged.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores averaged weights."""
        if self.averaged is not None:
            self.averaged.load_state_dict(state)
