"""The inference problem: a joint distribution over states, parameters and observations, and draws of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import prod
from typing import Literal, get_args

import torch
from torch import Tensor

from ..systems import System
from ..tensors import defaults_of, white_noise
from .checks import check_system, check_truth
from .covariances import Correlation, Root
from .covariances.scaling import check_correlation, error_root, root_of, spread
from .draws import Twin
from .library import StateLibrary
from .observing.observation import Observation, interval, uniform
from .priors import ParameterPrior
from .window import Window

Joint = Literal["background", "climatology"]


@dataclass(frozen=True)
class Problem:
    r"""Inference problem: a state-space model, the observations of a window, and the posterior that is sought.

    .. math:: x_{t+1} = M(x_t; \theta) + \eta_t, \qquad \eta_t \sim N(0, Q) .

    Of a stochastic system (:class:`~posterity.systems.Stochastic`) it is :math:`x_{t+1} = M(x_t, \xi_t; \theta)`, whose
    white noise :math:`\xi_t` has the place of the whitened model errors everywhere: nothing is added to a state.

    The target of inference is :math:`p(x_{0:T+F}, \theta | y_{0:T}, x_b)`, under one of two joints. *background* draws
    :math:`x_b` from the climatology, then :math:`x_0 = x_b + B^{1/2} u`, :math:`u \sim N(0, I)`: the Gaussian
    prior of the variational methods is exact. *climatology* draws :math:`x_0` from the system's own ensemble, and
    the background, if any, is one more observation of it, :math:`x_b = x_0 + B^{1/2} u`.

    Under the background joint the climatology is that of the system's own parameters, whatever the draw of the
    unknown ones: else the background would be data about them.

    Args:
        system: The dynamical system :math:`M`.
        observation: The observations: operator, noise and masks.
        window: The number of assimilated states :math:`T` (of each cycle).
        forecast: The number of states :math:`F` behind the window.
        joint: The joint distribution that twins are drawn from.
        background_std: The interval from which each entry of :math:`B^{1/2}` is drawn, in units of the state; a number
            stands for itself. None, under the climatology joint alone, for no background.
        model_error: The standard deviations :math:`Q^{1/2}` of the error of one step, in units of the state: one
            number, or one for each channel, or for each entry of the state. None is the strong constraint,
            :math:`\eta = 0`.
        parameters: The unknown parameters: names of fields of the system, with their priors.
        cycles: The number of windows that follow each other; the record of a case then has ``cycles * window`` states.
        truth: The system that twins come from, if it is another than the one that inference assumes. Its first channels
            are the states.
        start: The interval, both ends included, from which the time is drawn at which a window starts, in steps since
            the start of the system's ensemble. An ensemble that starts off the attractor differs from time to time.
        library: States that initial ones of the system are drawn from; each draw has a spin-up of its own if None.
        background_correlation: The correlation :math:`C` of the background's errors, :math:`B = D C D` with the
            diagonal :math:`D` of standard deviations; None if they are independent. A climatological one brings
            standard deviations of its own, where ``background_std`` is None.
        error_correlation: That of the model's errors, in the same way.
    """

    system: System
    observation: Observation
    window: int
    forecast: int = 0
    joint: Joint = "background"
    background_std: float | tuple[float, float] | None = field(default=(1.0, 1.0))
    model_error: float | Sequence[float] | None = None
    parameters: Mapping[str, ParameterPrior] = field(default_factory=dict)
    cycles: int = 1
    truth: System | None = None
    start: tuple[int, int] = (0, 0)
    library: StateLibrary | None = None
    background_correlation: Correlation | None = None
    error_correlation: Correlation | None = None

    def __post_init__(self) -> None:
        """Checks lengths, the joint, standard deviations, and that observation, parameters and truth fit the system."""
        if self.window < 1:
            raise ValueError(f"window: at least one state must be assimilated, not {self.window}")
        if self.forecast < 0:
            raise ValueError(f"forecast: must not be negative, not {self.forecast}")
        if self.cycles < 1:
            raise ValueError(f"cycles: at least one window is needed, not {self.cycles}")
        if self.cycles > 1 and self.forecast:
            raise ValueError("forecast: not supported with cycles > 1 (the next window follows); set it to 0")
        if not 0 <= self.start[0] <= self.start[1]:
            raise ValueError(f"start: needs 0 <= first <= last, not {list(self.start)}")
        if self.joint not in get_args(Joint):
            raise ValueError(f"joint: must be {' or '.join(map(repr, get_args(Joint)))}, not {self.joint!r}")
        if self.observation.operator.shape != self.shape:
            raise ValueError(
                f"observation: its operator observes {self.observation.operator.shape}, but states are {self.shape}; "
                "give it that shape"
            )
        for mask in self.observation.masks:
            mask.check(self.window, self.observation.shape)
        if self.background_std is not None:
            object.__setattr__(self, "background_std", interval("background_std", self.background_std))
        elif self.joint == "background" and self.background_correlation is None:
            raise ValueError("background_std: the background joint needs one; set it, or use the climatology joint")
        if isinstance(self.model_error, Sequence):
            object.__setattr__(self, "model_error", tuple(self.model_error))
        object.__setattr__(self, "start", tuple(self.start))
        if self.model_error is not None and not (self.error_std(torch.empty(0, device="cpu")) >= 0).all():
            raise ValueError(f"model_error: standard deviations must not be negative, not {self.model_error}")
        check_correlation("background_std", self.background_correlation, self.background_std, self.shape)
        check_correlation("model_error", self.error_correlation, self.model_error, self.shape)
        check_system(self)
        check_truth(self)
        if self.library is not None and self.parameters and self.joint == "climatology":
            raise ValueError(
                "climatology: a library of states is that of one system, and under the climatology joint each draw of "
                "the unknown parameters has its own; remove the library, or use the background joint"
            )

    def __hash__(self) -> int:
        """By all fields."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return hash(tuple((values | {"parameters": frozenset(self.parameters.items())}).values()))

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape of a state."""
        return self.system.shape

    @property
    def length(self) -> int:
        """The number of assimilated states, of all cycles together."""
        return self.cycles * self.window

    @property
    def steps(self) -> int:
        """The number of states of a trajectory, windows and forecast."""
        return self.length + self.forecast

    @property
    def weak(self) -> bool:
        """Whether the model has errors (weak constraint), or noise of its own."""
        return self.model_error is not None or self.error_correlation is not None or self.system.stochastic

    @property
    def has_background(self) -> bool:
        """Whether there is a background."""
        return self.background_std is not None or self.background_correlation is not None

    def error_std(self, like: Tensor | None = None) -> Tensor:
        r"""The standard deviations :math:`Q^{1/2}`, with shape ``shape``; zero under the strong constraint.

        Args:
            like: A tensor whose dtype and device they have; torch's defaults if omitted.
        """
        like = torch.empty(0) if like is None else like
        if self.model_error is None:
            if self.error_correlation is not None:
                return self.error_correlation.std(self, like)
            return like.new_zeros(self.shape)
        return spread("model_error", self.model_error, self.shape, like)

    def background_root(self, window: Window) -> Root:
        """The root of the background's covariance, in the dtype and on the device of the windows."""
        return root_of(self, self.background_correlation, window.background_std)

    def error_root(self, like: Tensor) -> Root | None:
        """The root of the model's errors, in the dtype and on the device of a tensor; None under strong constraint."""
        return error_root(self, like) if self.weak else None

    @cached_property
    def unit_roots(self) -> dict[tuple[int, torch.dtype, torch.device], Root]:
        """The roots of correlations that have been made, by correlation, dtype and device."""
        return {}

    def control_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the whitened initial state, and of the whitened errors of each step of the window."""
        background, error = (
            self.shape if correlation is None else correlation.control(self.shape)
            for correlation in (self.background_correlation, self.error_correlation)
        )
        error = self.system.noise_shape if self.system.stochastic else error
        return [background, *([error] * (self.window - 1) if self.weak else [])]

    @property
    def unknowns(self) -> int:
        """The number of entries of the control: initial state, unknown parameters, model errors."""
        return sum(map(prod, self.control_shapes())) + len(self.parameters)

    def cycle(self) -> "Problem":
        """The problem of one of the cycles, with the first state of the next one as its forecast.

        Its joint is that of the background, which is the forecast of the cycle before.
        """
        std = self.background_std if self.has_background else (1.0, 1.0)
        return replace(self, cycles=1, forecast=1, joint="background", background_std=std, truth=None)

    def decode_parameters(self, v: Tensor) -> Tensor:
        r"""The parameters :math:`\theta = f(v)` of whitened ones, both with shape ``(*batch, parameters)``."""
        if not self.parameters:
            return v
        return torch.stack([p.forward(v[..., i]) for i, p in enumerate(self.parameters.values())], dim=-1)

    def encode_parameters(self, theta: Tensor) -> Tensor:
        r"""The whitened parameters :math:`v = f^{-1}(\theta)`, both with shape ``(*batch, parameters)``."""
        if not self.parameters:
            return theta
        return torch.stack([p.inverse(theta[..., i]) for i, p in enumerate(self.parameters.values())], dim=-1)

    def system_at(self, theta: Tensor, time: Tensor | float = 0.0) -> System:
        """The system with given values of its unknown parameters, for states at given times.

        Args:
            theta: The parameters, with shape ``(*batch, parameters)``.
            time: The times of the states that it is given first, in steps since the start of the ensemble, with a shape
                that broadcasts against ``(*batch,)``.

        Returns:
            The system; its states have shape ``(*batch, *shape)``.
        """
        if not self.parameters:
            return self.system.at(time)
        values = dict(zip(self.parameters, theta.unbind(dim=-1), strict=True))
        return replace(self.system, **values).at(time)  # type: ignore[type-var]

    def undisturbed(self, window: Window) -> Tensor:
        """The trajectory of the background, by the system itself without errors or noise.

        Args:
            window: The windows, with one batch dimension ``case``.

        Returns:
            The states of the window, with shape ``(case, window, *shape)``.
        """
        x, steps = window.background, self.window - 1
        return self.system.at(window.start).rollout(x, steps, self.no_noise(x, len(x), steps))

    def no_noise(self, like: Tensor, *batch: int) -> Tensor | None:
        """The noise of steps that are not disturbed, with shape ``(*batch, *noise_shape)``; None if they draw none."""
        return like.new_zeros(*batch, *self.system.noise_shape) if self.system.stochastic else None

    def observe(
        self, x: Tensor, theta: Tensor, background: Tensor, background_std: Tensor, start: Tensor | None = None
    ) -> Twin:
        """Draws observations of given trajectories.

        Args:
            x: The states, with shape ``(*batch, steps, *shape)``.
            theta: The parameters that belong to them, with shape ``(*batch, parameters)``.
            background: The backgrounds, with shape ``(*batch, *shape)``.
            background_std: Their standard deviations, with the same shape.
            start: The times at which the windows start, in steps, with shape ``(*batch,)``; zero if omitted.

        Returns:
            The twins, with batch shape ``(*batch,)``.
        """
        batch = x.shape[: x.ndim - len(self.shape) - 1]
        # Every cycle draws the pattern of its own window.
        with defaults_of(x):
            design = self.observation.design((*batch, self.cycles), self.window)
        std, mask = (value.flatten(len(batch), len(batch) + 1) for value in design)
        seen = x.narrow(len(batch), 0, self.length)
        y = self.observation.sample(seen, std, mask)
        start = x.new_zeros(batch) if start is None else start
        return Twin(x, theta, Window(y, std, background, background_std, start))

    def sample(self, batch: Sequence[int], start: Tensor | None = None) -> Twin:
        """Draws from the joint.

        Args:
            batch: The batch shape.
            start: The times at which the windows start, in steps, with shape ``(*batch,)``; drawn if omitted.

        Returns:
            The twins, with batch shape ``(*batch,)``, in the dtype and on the device of the start; in torch's default
            dtype if that is omitted or of whole numbers.
        """
        start = self.draw_starts(batch) if start is None else start
        if not start.is_floating_point():
            start = start.to(torch.get_default_dtype())
        theta = self.decode_parameters(white_noise(start, *batch, len(self.parameters)))
        if self.truth is not None:
            x = self.truth.at(start).rollout(self.climatology(self.truth, start), self.steps - 1)
            x = x.narrow(len(batch) + 1, 0, self.shape[0])
            x0, background, std = self._background(x.select(len(batch), 0))
            return self.observe(x, torch.full_like(theta, torch.nan), background, std, start)
        system = self.system_at(theta)
        x0, background, std = self._background(
            self.climatology(self.system if self.joint == "background" else system, start)
        )
        x = system.at(start).rollout(x0, self.steps - 1, self.draw_errors(x0, *batch, self.steps - 1))
        return self.observe(x, theta, background, std, start)

    def draw_errors(self, like: Tensor, *batch: int) -> Tensor | None:
        """Draws model errors in the dtype and on the device of a tensor, with shape ``(*batch, *shape)``; or None."""
        root = self.error_root(like)
        return None if root is None else root.forward(white_noise(like, *batch, *root.shape))

    def climatology(self, system: System, start: Tensor) -> Tensor:
        """Draws from a system's ensemble at given times.

        Args:
            system: The system; its parameters have the batch shape, if they have one.
            start: The times, in steps, with shape ``(*batch,)``.

        Returns:
            The states, with shape ``(*batch, *shape)``, in the dtype and on the device of the times.
        """
        return system.advance_each(self.initial(system, start.shape, start), start, self.start[1])

    def initial(self, system: System, batch: Sequence[int], like: Tensor) -> Tensor:
        """Draws states at the start of a system's ensemble, from the library if that is of this system.

        Args:
            system: The system.
            batch: The batch shape.
            like: A tensor whose dtype and device they have.

        Returns:
            The states, with shape ``(*batch, *shape)``.
        """
        with defaults_of(like):
            if self.library is None or system is not self.system:
                return system.initial(batch)
            return self.library.draw(system, batch, like)

    def draw_starts(self, batch: Sequence[int]) -> Tensor:
        """Draws the times at which windows start."""
        first, last = self.start
        start = torch.full(tuple(batch), float(first))
        return torch.randint(first, last + 1, tuple(batch)).to(start) if last > first else start

    def _background(self, draw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From draws of the climatology to initial states, backgrounds and their standard deviations."""
        if self.background_std is not None:
            std = uniform(self.background_std, draw.shape, draw)
        elif self.background_correlation is not None:
            std = self.background_correlation.std(self, draw).expand(draw.shape)
        else:
            nothing = torch.full_like(draw, torch.nan)
            return draw, nothing, nothing
        root = root_of(self, self.background_correlation, std)
        shifted = draw + root.forward(white_noise(draw, *draw.shape[: draw.ndim - len(self.shape)], *root.shape))
        return (shifted, draw, std) if self.joint == "background" else (draw, shifted, std)
