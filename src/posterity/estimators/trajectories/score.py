"""The abstract estimator of scores of trajectories, and how it learns from crops."""

import abc
from collections.abc import Iterable
from math import inf, prod
from typing import ClassVar

import torch
from torch import Tensor

from ...diffusion import EDM, Schedule
from ...diffusion.denoisers import stratified
from ...errors import check_part
from ...nn import MLP, Network, UNet
from ...problems import Problem, Twin
from ...tensors import append_dims
from ..features import Standardizer
from ..learned import Learned
from .local import Crop, LocalResidual

#: States of the training that are kept beside the weights: the spread of what an operator observes of them is its scale.
EXAMPLES = 32


class TrajectoryScore(Learned):
    r"""Abstract score of trajectories of any length, composed of local ones that are learned from crops.

    Args:
        problem: The problem, of one cycle.
        order: The number :math:`k` of states on either side of the middle one of a crop, which has :math:`2k + 1`.
        network: The plan of the network; None for a U-Net, or a perceptron where states have no grid.
        schedule: The angles of samplers and of the loss; None for those of EDM.
        times: The number of frequencies that encode when a crop begins; 0 for none.
        crops: The number of crops of each training trajectory in a step.
        separator: The number of states of a separator, a shorter crop, that it learns too; 0 for none.
    """

    loss_units: ClassVar[str] = "1"

    #: States of the training, standardised, with shape ``(EXAMPLES, *shape)``.
    examples: Tensor

    def __init__(
        self,
        problem: Problem,
        order: int,
        network: Network | None,
        schedule: Schedule | None,
        times: int,
        crops: int,
        separator: int,
    ) -> None:
        super().__init__(problem)
        if order < 1 or crops < 1:
            raise ValueError(f"order, crops: at least one is needed of each, not {order} and {crops}")
        network = network or (UNet() if problem.shape[1:] else MLP((256,) * 4, layer_norm=True))
        self.schedule = schedule or EDM()
        check_part("network", network, Network, MLP)
        check_part("schedule", self.schedule, Schedule, EDM)
        self.order, self.crops = order, crops
        self.local = LocalResidual(Crop(2 * order + 1, problem.shape, self.numbers), network, times, separator)
        #: The statistics of all states, and those of the first ones of trajectories.
        self.scaler, self.first = Standardizer(problem.shape), Standardizer(problem.shape)
        self.register_buffer("examples", torch.zeros(EXAMPLES, *problem.shape))

    @property
    @abc.abstractmethod
    def numbers(self) -> int:
        """The number of parameters beside the states of a crop."""

    @abc.abstractmethod
    def beside(self, v: Tensor) -> Tensor:
        """The numbers beside crops, with shape ``(rows, numbers)``, of whitened parameters ``(rows, parameters)``."""

    @torch.no_grad()
    def measure(self, twins: Iterable[Twin]) -> None:
        """Takes the statistics of states and times, and keeps some states."""
        early, late, kept = inf, -inf, None
        for twin in twins:
            self.scaler.count(twin.x.flatten(0, 1))
            self.first.count(twin.x[:, 0])
            kept = twin.x if kept is None else kept
            early = min(early, float(twin.window.start.min()))
            late = max(late, float(twin.window.start.max()) + twin.x.shape[1] - self.local.crop.states)
        assert kept is not None
        self.scaler.settle()
        self.first.settle()
        self.local.clock.fit(early, late)
        # Of different trajectories, and different times.
        case, time = (torch.linspace(0, size - 1, EXAMPLES, device=kept.device).round().long() for size in kept.shape[:2])
        self.examples.copy_(self.scaler(kept[case, time.roll(EXAMPLES // 2)]))

    def loss(self, twin: Twin) -> Tensor:
        """The denoising loss of random crops, a state or a parameter of a crop each weighing as much as another."""
        x, v, start = self.crop(twin)
        noise = (torch.randn_like(x), torch.randn_like(v))
        angle = self.schedule.quantile(stratified(x))
        # Half of the rows, at random, are separators.
        whole = torch.rand_like(start) < (0.5 if self.local.separator else 1.0)
        noisy, target = zip(*(_mixed(angle, z, e) for z, e in zip((x, v), noise, strict=True)), strict=True)
        found = self.local(*noisy, angle, start, whole)
        error_x, error_v = ((a - b).square() for a, b in zip(found, target, strict=True))
        # Of states that are not there nothing is asked.
        there = self.local.seen(whole).expand_as(error_x)
        sites = prod(self.problem.shape[1:])
        return ((error_x * there).sum() / sites + error_v.sum()) / (there.sum() / sites + error_v.numel())

    def crop(self, twin: Twin) -> tuple[Tensor, Tensor, Tensor]:
        """Random crops of trajectories, standardised, in full precision.

        Args:
            twin: Draws of the joint, with one batch dimension.

        Returns:
            The states, with shape ``(rows, states, *shape)``, the numbers beside them, with shape ``(rows, numbers)``,
            and when the crops begin, with shape ``(rows,)``.

        Raises:
            ValueError: If trajectories are shorter than crops.
        """
        cases, length = twin.x.shape[:2]
        if length < (states := self.local.crop.states):
            raise ValueError(
                f"order: crops of {states} states, and trajectories have {length}; make window or forecast longer, or "
                "the order smaller"
            )
        row = torch.arange(cases, device=twin.x.device).repeat(self.crops)
        first = torch.randint(length - states + 1, (len(row),), device=twin.x.device)
        time = first.unsqueeze(-1) + torch.arange(states, device=twin.x.device)
        with torch.autocast(twin.x.device.type, enabled=False):
            x = self.scaler(twin.x[row.unsqueeze(-1), time])
            v = self.beside(self.problem.encode_parameters(twin.theta)[row])
        return x, v, twin.window.start[row] + first


def _mixed(angle: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy data, and the target of the residual."""
    cos, sin = (append_dims(part, z.ndim - 1) for part in (angle.cos(), angle.sin()))
    return cos * z + sin * noise, sin * z - cos * noise
