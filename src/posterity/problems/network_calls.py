"""What draws by networks cost: evaluations of networks, and sweeps back through them, counted while a method draws."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn


class NetworkCalls:
    """Counts what networks compute as long as it is entered, whoever asks for it.

    A call is an evaluation of one row: of one window of one draw, where draws are composed of windows. A sweep back is
    a product of a row's transposed derivative with a vector; those that are taken at once, as for a divergence, are
    one. What is computed again, since the memory did not hold it, counts again. Not counted is what each case takes
    once for all of its draws, as an embedding of what is observed, nor flows, which a draw passes once.

    Args:
        networks: The networks, whose first output has a row for each that they are given.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks, self.calls, self.pullbacks = networks, 0, 0

    def __enter__(self) -> Self:
        """Begins to count."""
        self._hooks = [network.register_forward_hook(self._called) for network in self.networks]
        return self

    def __exit__(self, *_: object) -> None:
        """Ends to count."""
        for hook in self._hooks:
            hook.remove()

    def of_a_draw(self, samples: int, like: Tensor) -> Mapping[str, Tensor]:
        """The counts as diagnostics of each case, divided evenly among cases and draws; none without networks.

        Args:
            samples: The number of draws per case.
            like: A tensor of shape ``(case,)``.
        """
        counts = {"network_calls": self.calls, "network_pullbacks": self.pullbacks} if self.networks else {}
        return {name: torch.full_like(like, count / (samples * len(like))) for name, count in counts.items()}

    def _called(self, network: nn.Module, given: Any, found: Tensor | tuple[Tensor, ...]) -> None:
        """Counts an evaluation, and lets each sweep back through it be counted."""
        first = found if isinstance(found, Tensor) else found[0]
        rows = len(first)
        self.calls += rows
        if first.requires_grad:
            first.register_hook(lambda _: self._pulled(rows))

    def _pulled(self, rows: int) -> None:
        """Counts a sweep back."""
        self.pullbacks += rows
