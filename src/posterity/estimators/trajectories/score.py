"""The abstract estimator of scores of trajectories, and how it learns from crops."""

import abc
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from math import inf, prod
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from ...diffusion import EDM, Centring, Guidance, Mean, MomentMatching, PredictorCorrector, Sampler, Schedule
from ...diffusion.compositions import Composition, Fold, Trajectory
from ...diffusion.denoisers import mixed, stratified
from ...errors import check_part
from ...nn import Network, ResidualMLP, UNet
from ...problems import Ensemble, Problem, Twin, Window
from ...problems.chunks import MEMORY, chunks
from ...tensors import white_noise
from ..estimator import repeat
from ..features import Standardizer
from ..learned import Learned
from ..target import StateTarget
from .denoiser import LearnedLocal
from .local import Crop, LocalResidual
from .seen import Tie, likelihood

#: In what networks compute when draws are made.
Precision = Literal["auto", "float32", "bfloat16"]

#: States of the training that are kept beside the weights: the spread of what is observed of them is its unit.
EXAMPLES = 32


class TrajectoryScore(Learned):
    r"""Abstract score of trajectories of any length, composed of local ones that are learned from crops.

    Args:
        problem: The problem, of one cycle.
        order: The number :math:`k` of states on either side of the middle one of a crop, which has :math:`2k + 1`.
        network: The plan of the network; None for a U-Net, or a perceptron where states have no grid.
        schedule: The angles of samplers and of the loss; None for those of EDM.
        sampler: The sampler; None for predictor–corrector sampling.
        guidance: The likelihood of noisy trajectories; None for moment matching.
        composition: How windows make a trajectory.
        times: The number of frequencies that encode when a crop begins; 0 for none.
        crops: The number of crops of each training trajectory in a step.
        stride: The stride of junction trees, whose separators it learns too, crops of as many states less; 0 for none.
        per_window: Whether observations guide each window by itself, and not the trajectory as a whole.
        precision: In what networks compute when it draws: `bfloat16`, `float32`, or `auto`, the first on a GPU and the
            second elsewhere. What samplers step and guidance solves is never reduced.
    """

    loss_units: ClassVar[str] = "1"
    differentiates: ClassVar[tuple[str, ...]] = ("operator",)
    drawing: ClassVar[str] = "sampler, guidance, composition, per_window, precision"

    portable: ClassVar[str] = "observation"

    #: Whether all states share their parameters, or each has its own.
    shared: ClassVar[bool] = False

    #: Whether residuals of shared parameters are centred.
    centred: bool = False

    #: Observations of windows as a whole, beside those of the problem.
    tie: Tie | None = None

    #: States of the training, standardised, with shape ``(EXAMPLES, *shape)``.
    examples: Tensor

    def __init__(
        self,
        problem: Problem,
        order: int,
        network: Network | None,
        schedule: Schedule | None,
        sampler: Sampler | None,
        guidance: Guidance | None,
        composition: Composition,
        times: int,
        crops: int,
        stride: int,
        per_window: bool,
        precision: Precision,
    ) -> None:
        super().__init__(problem)
        if crops < 1:
            raise ValueError(f"crops: at least one of each trajectory is needed, not {crops}")
        if not 0 <= stride <= 2 * order:
            raise ValueError(f"stride: must lie between 1 and {2 * order}, twice the order, not {stride}")
        if precision not in get_args(Precision):
            raise ValueError(f"precision: must be one of {', '.join(get_args(Precision))}, not '{precision}'")
        separator = 2 * order + 1 - stride if stride else 0
        network = network or (UNet() if problem.shape[1:] else ResidualMLP())
        self.schedule, self.sampler = schedule or EDM(), sampler or PredictorCorrector(128)
        self.guidance, self.composition = guidance or MomentMatching(), composition
        self.per_window, self.precision = per_window, precision
        check_part("network", network, Network, UNet)
        check_part("schedule", self.schedule, Schedule, EDM)
        check_part("sampler", self.sampler, Sampler, PredictorCorrector)
        check_part("guidance", self.guidance, Guidance, MomentMatching)
        check_part("composition", composition, Composition, Fold)
        self.order, self.crops = order, crops
        self.shape = (problem.window, *problem.shape)
        crop, landscape = Crop(2 * order + 1, problem.shape, self.numbers), problem.system.landscape
        self.local = LocalResidual(crop, network, times, separator, landscape, self.shared)
        #: The statistics of all states, and those of the first ones of trajectories.
        self.scaler, self.first = Standardizer(problem.shape), Standardizer(problem.shape)
        self.register_buffer("examples", torch.zeros(EXAMPLES, *problem.shape))
        known = [states for states in (2 * order + 1, separator) if states]
        if not set(composition.lengths) <= set(known):
            raise ValueError(
                f"composition: takes windows of {_listed(composition.lengths)} states, and the network learns those of "
                f"{_listed(known)}; give both the same order and stride"
            )

    @classmethod
    def check_problem(cls, problem: Problem) -> None:
        """Checks that it targets the posterior: of a background whose errors are correlated, that of climatology."""
        super().check_problem(problem)
        if problem.joint == "background" and problem.background_correlation is not None:
            raise ValueError(
                f"joint: {cls.__name__} takes a background with correlated errors for an observation of a state of the "
                "climatology; use the climatology joint, or errors without correlation"
            )

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The local network, each of whose rows is a window."""
        return (self.local,)

    @property
    def numbers(self) -> int:
        """The number of parameters beside the states of a crop."""
        return len(self.problem.parameters) * (1 if self.shared else 2 * self.order + 1)

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
        case, time = (torch.linspace(0, size - 1, EXAMPLES, device=kept.device).round() for size in kept.shape[:2])
        self.examples.copy_(self.scaler(kept[case.long(), time.long().roll(EXAMPLES // 2)]))

    def loss(self, twin: Twin) -> Tensor:
        """The denoising loss of random crops, a state or a parameter of a crop each weighing as much as another."""
        x, v, start = self.crop(twin)
        noise = (torch.randn_like(x), torch.randn_like(v))
        angle = self.schedule.quantile(stratified(x))
        # Half of the rows, at random, are separators.
        whole = torch.rand_like(start) < (0.5 if self.local.separator else 1.0)
        noisy, target = zip(*(mixed(angle, z, e) for z, e in zip((x, v), noise, strict=True)), strict=True)
        found = self.local(*noisy, angle, start, whole)
        error_x, error_v = ((a - b).square() for a, b in zip(found, target, strict=True))
        # Of states that are not there nothing is asked.
        there = self.local.seen(whole).expand_as(error_x)
        sites = prod(self.problem.shape[1:])
        return ((error_x * there).sum() / sites + error_v.sum()) / (there.sum() / sites + error_v.numel())

    @torch.no_grad()
    def settle(self, twins: Iterable[Twin]) -> None:
        """Takes the mean residual of shared parameters, by which they are centred."""
        if self.local.centring is not None:
            self.local.centring.fit(self._residuals(twins))

    def _residuals(self, twins: Iterable[Twin]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Noisy parameters of random crops, their angles, and their residuals beside separators and whole crops."""
        for twin in twins:
            x, v, start = self.crop(twin)
            angle = Centring.angles(stratified(x))
            for rows in self._pieces(len(x), 1, x.device):
                noisy = [mixed(angle[rows], z[rows], torch.randn_like(z[rows]))[0] for z in (x, v)]
                # Of the same crops, so that errors of windows and separators cancel where these do.
                kinds = (torch.full_like(start[rows], whole, dtype=torch.bool) for whole in (False, True))
                found = [self.local(*noisy, angle[rows], start[rows], whole)[1] for whole in kinds]
                yield noisy[1], angle[rows], torch.cat(found, dim=1)

    def crop(self, twin: Twin) -> tuple[Tensor, Tensor, Tensor]:
        """Random crops of trajectories, in full precision.

        Args:
            twin: Draws of the joint, with one batch dimension.

        Returns:
            The standardised states, with shape ``(rows, states, *shape)``, the numbers beside them, with shape ``(rows,
            numbers)``, and when the crops begin, with shape ``(rows,)``.

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
            v = self.beside(self.problem.encode_parameters(twin.theta)[row])
            return self.scaler(twin.x[row.unsqueeze(-1), time]), v, twin.window.start[row] + first

    def place(self, window: Window) -> Window:
        """The windows in the dtype and on the device of the weights."""
        return window.to(self.scaler.mean)

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws by the sampler, as many draws and windows at once as fit the memory."""
        trajectory, found = self.trajectory, []
        # A draw is a chunk's smallest part, and its windows are cut again.
        for chunk in self._pieces(samples, len(window.y), window.y.device):
            rows = Window(*(repeat(part, chunk.stop - chunk.start) for part in window))
            noise = white_noise(rows.y, len(rows.y), trajectory.entries)
            found.append(self.sampler(self.mean(rows), self.schedule, noise))
        return self.decode(window, torch.cat(found).unflatten(0, (samples, -1)))

    @property
    def trajectory(self) -> Trajectory:
        """The places of what is drawn: of the window, and of as many states behind it as the composition takes."""
        entries, known = prod(self.problem.shape), len(self.problem.parameters)
        states = self.composition.extended(self.problem.window)
        return Trajectory(states, entries, known) if self.shared else Trajectory(states, entries + known)

    def mean(self, window: Window) -> Mean:
        """The mean of trajectories given noisy ones, guided by what is seen of each row.

        Args:
            window: The windows, one for each row.
        """
        trajectory, pulled = self.trajectory, not self.guidance.detach
        reduced = self.precision == "bfloat16" or (self.precision == "auto" and window.y.is_cuda)
        local = LearnedLocal(self.local, window.start, trajectory, pulled, reduced, centred=self.centred)
        # Of the rows, so many windows at once; and of their graphs as many as the memory holds, if it holds all.
        at_once = next(self._pieces(trajectory.states, len(window.y), window.y.device)).stop
        composed = self.composition.compose(local, trajectory, at_once)
        if len(composed.windows) * at_once * len(window.y) * self.local.held[1] <= MEMORY:
            local.keep = len(composed.windows)
        seen = likelihood(self.problem, window, trajectory.states, self.restore, self.scale(), self.first)
        if self.per_window:
            return composed.guided(self.guidance, seen)
        whole = seen.whole(trajectory)
        if self.tie is not None:
            whole = self.tie.beside(whole, lambda z: self.restore(trajectory.split(z)[0][:, : self.problem.window]))
        return self.guidance.guide(composed, whole)

    def _pieces(self, total: int, rows: int, device: torch.device) -> Iterator[slice]:
        """Slices of windows of so many rows (or of draws, by one window of each) that the network can take at once."""
        largest, kept = self.local.held
        return chunks(total, rows * largest, device, rows * kept)

    def tied(self, tie: Tie) -> Self:
        """The same with observations of windows as a whole beside those of the problem, to draw with.

        Args:
            tie: The observations.

        Raises:
            ValueError: If windows are guided one by one.
        """
        if self.per_window:
            raise ValueError("per_window: what ties states of several windows guides the trajectory; set it to false")
        found = copy(self)
        found.tie = tie
        return found

    def restore(self, states: Tensor) -> Tensor:
        """The states ``(*batch, *shape)`` of what trajectories hold of each, with shape ``(*batch, size)``."""
        return self.scaler.inverse(states[..., : prod(self.problem.shape)].unflatten(-1, self.problem.shape))

    def scale(self) -> Tensor:
        """The spread of each channel of the observations of states of the training, with a shape that broadcasts."""
        seen = self.problem.observation.operator(self.scaler.inverse(self.examples))
        scale = seen.movedim(1, 0).flatten(1).std(dim=1)
        return torch.where(scale > 0, scale, 1).reshape(-1, *([1] * (seen.ndim - 2)))

    def decode(self, window: Window, z: Tensor) -> Ensemble:
        """Turns draws of trajectories, with shape ``(samples, case, entries)``, into states and parameters.

        Args:
            window: The windows, with one batch dimension ``case``.
            z: The draws.
        """
        states, shared = self.trajectory.split(z)
        states = states[:, :, : self.problem.window]
        own = states[..., prod(self.problem.shape) :].mean(dim=2)
        values = torch.cat((self.restore(states).flatten(2), own, shared), dim=-1)
        return StateTarget(states=None).ensemble(self.problem, window, values, {}, None)


def _listed(numbers: Iterable[int]) -> str:
    """Numbers as words of a sentence."""
    return " and ".join(map(str, numbers))
