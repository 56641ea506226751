"""Floating-point operations of networks, counted with tensors that hold nothing.

Counted are products of matrices, convolutions and attention, two operations for each product and its sum, as
:mod:`torch.utils.flop_counter` counts them; not what is done entry by entry.
"""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from ...diffusion import Sampler
from ...estimators import Learned
from ...estimators.learning.batches import States
from ...problems import Window

log = logging.getLogger("posterity")

#: Cases of the batch with which a training is counted.
BATCH = 4
#: The steps of samplers with which draws are counted: each further one costs what the second does.
FEW = 1, 2
#: Operations on what is missing that say the same of parts, or of the whole.
JOINED = (
    torch.ops.aten.view.default,
    torch.ops.aten.any.default,
    torch.ops.aten.any.dim,
    torch.ops.aten.all.default,
    torch.ops.aten.all.dim,
    torch.ops.aten.bitwise_and.Tensor,
)


class Counter(TorchDispatchMode):
    """Counts operations as long as it is entered.

    Tensors that hold nothing cannot say whether something is true: whoever asks is told that it is, unless that is
    whether something is missing. So all draws are finite, and iterations go on as long as they may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._missing = WeakTensorKeyDictionary()

    def _is_missing(self, value: Any) -> bool:
        """Whether a tensor says where something is missing."""
        return isinstance(value, Tensor) and value in self._missing

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        """Counts one operation."""
        if func is torch.ops.aten._local_scalar_dense.default:
            return not self._is_missing(args[0]) if args[0].dtype == torch.bool else 1
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.isnan.default or (func in JOINED and any(map(self._is_missing, args))):
            self._missing[found] = True
        if (counted := flop_registry.get(func.overloadpacket)) is not None:
            self.count += counted(*args, **(kwargs or {}), out_val=found)
        return found


def training_flops(estimator: Learned) -> tuple[float, float] | None:
    """The operations that a case costs in a step of a training, and in a validation.

    Args:
        estimator: The estimator.

    Returns:
        The operations of the loss with its gradient, and of the loss alone; None if they cannot be counted.
    """
    problem, hollow = estimator.problem, deepcopy(estimator).to("meta")

    def run(backward: bool) -> None:
        x = torch.zeros(BATCH, problem.steps, *problem.shape)
        theta = torch.zeros(BATCH, len(problem.parameters))
        background = torch.zeros(BATCH, *problem.shape)
        states = States(x, theta, background, torch.ones_like(background), torch.zeros(BATCH))
        loss = hollow.loss(states.observe(problem))
        if backward:
            loss.backward()

    both, forward = _counted(lambda: run(True)), _counted(lambda: run(False))
    return None if both is None or forward is None else (both / BATCH, forward / BATCH)


def drawing_flops(estimator: Learned) -> float | None:
    """The operations of a draw of one case; None if they cannot be counted, as of samplers that adapt.

    Args:
        estimator: The estimator.
    """
    sampler = vars(estimator).get("sampler")
    if not isinstance(sampler, Sampler):
        return _drawn(estimator)
    counts = []
    for steps in FEW:
        other: Any = copy(estimator)
        other.sampler = replace(sampler, steps=steps)  # type: ignore[type-var]
        counts.append(_drawn(other))
    less, more = counts
    steps = int(vars(sampler)["steps"])
    return None if less is None or more is None else less + (steps - FEW[0]) * (more - less)


def _drawn(estimator: Learned) -> float | None:
    """The operations of a draw, with all steps."""
    problem, hollow = estimator.problem, deepcopy(estimator).to("meta").eval()

    def run() -> None:
        y = torch.zeros(1, problem.length, *problem.observation.shape)
        background = torch.zeros(1, *problem.shape)
        window = Window(y, torch.ones_like(y), background, torch.ones_like(background), torch.zeros(1))
        with torch.no_grad():
            hollow.sample_cases(window, 1)

    return _counted(run)


def _counted(run: Callable[[], None]) -> float | None:
    """The operations of a function, on tensors that hold nothing; None if it asks for what they hold."""
    try:
        # These tensors know no reduced precision, and count alike in all.
        with torch.device("meta"), patch("torch.autocast", lambda *_, **__: nullcontext()), Counter() as counter:
            run()
    except Exception as error:
        log.debug("operations cannot be counted: %s", error)
        return None
    return float(counter.count)
