"""The FitzHugh–Nagumo neuron: deterministic, in the two forms of the literature, and hypoelliptic stochastic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...tensors import append_dims
from ..integrators import check_times, rk4
from ..stochastic import Stochastic
from ..system import System


@dataclass(frozen=True, kw_only=True)
class Excitable(System):
    r"""Abstract neuron of a fast voltage and a slow recovery, both without units.

    Draws start from :math:`N(s, \sigma^2 I)` around the point ``start`` with the standard deviation ``spread``, and run
    for ``spinup`` time units: behind a few periods of a neuron that fires, their phases are spread over its cycle.

    Args:
        dt: Time between states.
        substeps: Integration steps per ``dt``.
        start: The voltage and the recovery around which the ensemble starts.
        spread: The standard deviation of that start; zero for a point.
        spinup: Time between the start and the first state.
    """

    channels: ClassVar[tuple[str, ...]] = ("voltage", "recovery")
    axes: ClassVar[int | str] = 0

    dt: float = 0.1
    substeps: int = 1
    start: Sequence[float] = (0.0, 0.0)
    spread: float = 1.0
    spinup: float = 0.0

    def __post_init__(self) -> None:
        """Checks time step, substeps and spin-up, and the start."""
        check_times(self.dt, self.substeps, self.spinup)
        object.__setattr__(self, "start", tuple(self.start))
        if len(self.start) != 2:
            raise ValueError(f"start: needs a voltage and a recovery, not {list(self.start)}")
        if self.spread < 0:
            raise ValueError(f"spread: the standard deviation must not be negative, not {self.spread}")

    @property
    def shape(self) -> tuple[int, ...]:
        """``(2,)``."""
        return (2,)

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws around the start, advanced by the spin-up; shape ``(*batch, 2)``."""
        x = torch.tensor(self.start, dtype=torch.get_default_dtype()) + self.spread * torch.randn(*batch, 2)
        return self.advance(x, round(self.spinup / self.dt))


@dataclass(frozen=True, kw_only=True)
class FitzHughNagumo(Excitable):
    r"""FitzHugh–Nagumo neuron driven by a constant current, in FitzHugh's variables,

    .. math:: \dot v = v - \tfrac13 v^3 - w + I, \qquad \dot w = \epsilon\, (v + a - b w) .

    Integrated with the classical Runge–Kutta scheme; see :class:`Excitable` for starts and times.

    Args:
        epsilon: The rate :math:`\epsilon` of the recovery, a number or one value per batch element, as all parameters.
        a: The offset :math:`a`.
        b: The slope :math:`b`.
        current: The injected current :math:`I`; the neuron fires between some 0.33 and 1.42.

    References:
        | Impulses and Physiological States in Theoretical Models of Nerve Membrane (FitzHugh, 1961),
          https://doi.org/10.1016/S0006-3495(61)86902-6
    """

    epsilon: float | Tensor = 0.08
    a: float | Tensor = 0.7
    b: float | Tensor = 0.8
    current: float | Tensor = 0.5
    spinup: float = 100.0

    def tendency(self, x: Tensor) -> Tensor:
        r"""The right-hand side :math:`(\dot v, \dot w)`, with the shape of ``x``."""
        v, w = x.unbind(dim=-1)
        return torch.stack((v - v**3 / 3 - w + self.current, self.epsilon * (v + self.a - self.b * w)), dim=-1)

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, 2)`` by ``dt``."""
        for _ in range(self.substeps):
            x = rk4(self.tendency, x, self.dt / self.substeps)
        return x


@dataclass(frozen=True, kw_only=True)
class RamsayFitzHughNagumo(Excitable):
    r"""FitzHugh–Nagumo neuron in the form in which its parameters are usually estimated,

    .. math:: \dot V = c\, (V - \tfrac13 V^3 + R), \qquad \dot R = -\tfrac1c\, (V - a + b R) .

    Integrated with the classical Runge–Kutta scheme; see :class:`Excitable` for starts and times. It is
    :class:`FitzHughNagumo` with :math:`R = I - w`, :math:`\epsilon = c^{-2}`, and time in units of :math:`c`.
    The defaults are those of PINTS; the usual record is of 200 times up to 20, from :math:`(-1, 1)`.

    Args:
        a: The offset :math:`a`, a number or one value per batch element, as all parameters.
        b: The slope :math:`b`.
        c: The ratio :math:`c` of times.

    References:
        | Parameter estimation for differential equations: a generalized smoothing approach
          (Ramsay, Hooker, Campbell & Cao, 2007), https://doi.org/10.1111/j.1467-9868.2007.00610.x
        | Probabilistic Inference on Noisy Time Series (PINTS) (Clerx et al., 2019), https://arxiv.org/abs/1812.07388
    """

    a: float | Tensor = 0.1
    b: float | Tensor = 0.5
    c: float | Tensor = 3.0
    start: Sequence[float] = (-1.0, 1.0)
    spinup: float = 40.0

    def tendency(self, x: Tensor) -> Tensor:
        r"""The right-hand side :math:`(\dot V, \dot R)`, with the shape of ``x``."""
        v, r = x.unbind(dim=-1)
        return torch.stack((self.c * (v - v**3 / 3 + r), -(v - self.a + self.b * r) / self.c), dim=-1)

    def step(self, x: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, 2)`` by ``dt``."""
        for _ in range(self.substeps):
            x = rk4(self.tendency, x, self.dt / self.substeps)
        return x


@dataclass(frozen=True, kw_only=True)
class StochasticFitzHughNagumo(Stochastic, Excitable):
    r"""Hypoelliptic stochastic FitzHugh–Nagumo neuron, whose noise acts on the recovery alone,

    .. math::
        dx_0 = \tfrac1\epsilon\, (x_0 - x_0^3 - x_1)\, dt, \qquad
        dx_1 = (\gamma x_0 - x_1 + \beta)\, dt + \sigma\, dW .

    Integrated by the Taylor scheme of strong order 1.5 of additive noise: with the drift :math:`a`, its derivative
    along the flow :math:`\dot a` (to which :math:`x_0` adds no second derivatives, having no noise), and
    :math:`\Delta Z = \int_0^\delta W_s\, ds`,

    .. math::
        x_0' &= x_0 + \delta\, a_0 + \tfrac12 \delta^2\, \dot a_0 - \tfrac{\sigma}{\epsilon}\, \Delta Z , \\
        x_1' &= x_1 + \delta\, a_1 + \tfrac12 \delta^2\, \dot a_1 + \sigma\, (\Delta W - \Delta Z) .

    A step has a white noise of two numbers for each substep, :math:`\Delta W = \sqrt\delta\, \xi_1` and
    :math:`\Delta Z = \tfrac12 \delta^{3/2} (\xi_1 + \xi_2 / \sqrt 3)`. Noise reaches the voltage through the recovery,
    at a higher order: the transition over ``dt`` has a density, but one that nobody can evaluate, and additive errors
    of a model (``model_error``) cannot stand for it. The defaults are those of the reference, where states of 0.2
    apart take 40 substeps, and :math:`x_0 \sim N((0, -\beta), I)`. See :class:`Excitable` for starts and times.

    Args:
        sigma: The noise :math:`\sigma`, a number or one value per batch element, as all parameters.
        epsilon: The time :math:`\epsilon` of the voltage.
        gamma: The slope :math:`\gamma`.
        beta: The offset :math:`\beta`.

    References:
        | Manifold Markov chain Monte Carlo methods for Bayesian inference in diffusion models
          (Graham, Thiery & Beskos, 2019), https://arxiv.org/abs/1912.02982
        | Numerical Solution of Stochastic Differential Equations (Kloeden & Platen, 1992), section 10.4,
          https://doi.org/10.1007/978-3-662-12616-5
    """

    sigma: float | Tensor = 0.3
    epsilon: float | Tensor = 0.1
    gamma: float | Tensor = 1.5
    beta: float | Tensor = 0.8
    dt: float = 0.2
    substeps: int = 40
    start: Sequence[float] = (0.0, -0.8)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """``(2, substeps)``."""
        return (2, self.substeps)

    def transition(self, x: Tensor, noise: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, 2)`` by ``dt``, with given noise of shape ``(*batch, 2, substeps)``.

        What does not depend on the state is made for all substeps at once: there are many of them.
        """
        delta, gamma, beta = self.dt / self.substeps, self.gamma, self.beta
        rate = delta / self.epsilon
        first, second = (part * append_dims(self.sigma, 1) for part in noise.unbind(dim=-2))
        area = 0.5 * delta**1.5 * (first + second / 3**0.5)
        pushed0 = (area / append_dims(self.epsilon, 1)).unbind(dim=-1)
        pushed1 = (delta**0.5 * first - area).unbind(dim=-1)
        x0, x1 = x.unbind(dim=-1)
        for push0, push1 in zip(pushed0, pushed1, strict=True):
            square = x0 * x0
            cubic, linear = x0 - x0 * square - x1, gamma * x0 - x1 + beta
            along = rate * (1 + 0.5 * rate) - (1.5 * rate * rate) * square
            x0, x1 = (
                x0 + cubic * along - (0.5 * delta * rate) * linear - push0,
                x1 + (delta - 0.5 * delta**2) * linear + (0.5 * delta * rate * gamma) * cubic + push1,
            )
        return torch.stack((x0, x1), dim=-1)
