"""The processes that share a training; one alone is all of them."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from warnings import filterwarnings

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ...problems import Twin
from ..learned import Learned


class Processes:
    """The processes of torch's default group, seen from one of them: what each calls, all call.

    Args:
        device: Where they compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.count = distributed.get_world_size() if distributed.is_initialized() else 1
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self._shared: DistributedDataParallel | None = None

    def seed(self, seed: int) -> None:
        """Seeds the random numbers of this process, on its device too."""
        # torch.manual_seed would notify every kind of device that there could be, at a millisecond a step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def peak_memory(self) -> float:
        """The peak memory of the GPU in mebibytes; 0 elsewhere."""
        return torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else 0.0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of values over processes."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values / self.count

    def any(self, so: bool) -> bool:
        """Whether it is so in any of them."""
        return bool(self.mean(torch.tensor(float(so), device=self.device)) > 0)

    def agree(self, number: int) -> bool:
        """Whether a number is the same in all of them."""
        if self.count == 1:
            return True
        bounds = torch.tensor([number, -number], device=self.device)
        distributed.all_reduce(bounds, distributed.ReduceOp.MAX)
        return bool(bounds.sum() == 0)

    def share(self, loss: nn.Module) -> nn.Module:
        """The loss with gradients that are means over processes; the first one's weights are copied to all others."""
        if self.count > 1:
            # Sums are then taken in one order in all steps: else torch chooses another after the first, and a training
            # that goes on would come to other bits. And there may be weights that a loss does not use.
            self._shared = loss = DistributedDataParallel(loss, find_unused_parameters=True)
            filterwarnings("ignore", message="find_unused_parameters=True was specified")
        return loss

    def wait(self, last: bool) -> AbstractContextManager[None]:
        """Where gradients are summed up, and not yet averaged over processes unless it is the last of them."""
        return nullcontext() if last or self._shared is None else self._shared.no_sync()


class Loss(nn.Module):
    """The loss of an estimator as a module, which can be compiled and distributed."""

    def __init__(self, estimator: Learned) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, twin: Twin, *seen: Any) -> Tensor:
        """The loss of some draws, given what :meth:`.Learned.look` has found of them."""
        return self.estimator.loss(twin, *seen)
