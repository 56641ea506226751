"""Hodgkin–Huxley neurons with sodium and potassium gates."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..driven import Driven
from ..integrators import check_times
from .stimuli import Chaotic, Step, Stimulus

#: Fixed points and rates of all gates at voltages: from ``(*batch,)`` to twice ``(*batch, gates)``.
Kinetics = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class HodgkinHuxley(Driven):
    r"""Abstract Hodgkin–Huxley neuron: a membrane whose conductances are opened and closed by gates,

    .. math::
        C \dot V = \sum_k g_k(z)\, (E_k - V) + I(t), \qquad \dot z = \frac{z_\infty(V) - z}{\tau(V)} .

    Given the gates the voltage obeys a linear equation, and given the voltage so does each gate. Each of them is solved
    exactly while the others rest (exponential Euler), half a step of the gates, one of the voltage, half a step of the
    gates: of second order, and stable for any step, with gates that stay in [0, 1]. The current counts at the middle
    of each step.

    Draws start from :math:`V \sim N(V_0, s^2)` with each gate at its fixed point, and rest there for ``spinup`` without
    a current: the start of the ensemble is time zero, that of the stimulus.

    Args:
        capacitance: The capacitance :math:`C`, in µF/cm², a number or one value per batch element, as all parameters.
        stimulus: The current :math:`I`; see the subclass if omitted.
        dt: Time between states, in ms.
        substeps: Integration steps per ``dt``.
        start: The voltage :math:`V_0`, in mV.
        spread: Its standard deviation :math:`s`, in mV.
        spinup: Time of rest before the first state, in ms.
    """

    units: ClassVar[str] = "mV; gates: 1"
    time_units: ClassVar[str] = "ms"
    axes: ClassVar[int | str] = 0

    capacitance: float | Tensor = 1.0
    stimulus: Stimulus | None = None
    dt: float = 0.5
    substeps: int = 10
    start: float = -65.0
    spread: float = 5.0
    spinup: float = 0.0

    def __post_init__(self) -> None:
        """Checks time step, substeps and spin-up, and the start."""
        check_times(self.dt, self.substeps, self.spinup)
        if self.spread < 0:
            raise ValueError(f"spread: the standard deviation must not be negative, not {self.spread}")
        if self.stimulus is not None and not isinstance(self.stimulus, Stimulus):
            raise ValueError(f"stimulus: must be of kind step, chaotic or recorded, not {self.stimulus!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The voltage and the gates, ``(1 + gates,)``."""
        return (len(self.channels),)

    @abc.abstractmethod
    def default_stimulus(self) -> Stimulus:
        """The current where there is no option that says it."""

    @abc.abstractmethod
    def kinetics(self, like: Tensor) -> Kinetics:
        """The kinetics of the gates, with what does not depend on the voltage made once, beside a tensor."""

    @abc.abstractmethod
    def conductances(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        r"""The sums :math:`\sum_k g_k(z)` and :math:`\sum_k g_k(z) E_k`, with shape ``(*batch,)``.

        Args:
            gates: The gates :math:`z`, with shape ``(*batch, gates)``.
        """

    def initial(self, batch: Sequence[int]) -> Tensor:
        """Draws voltages with gates at their fixed points, advanced by the spin-up; shape ``(*batch, 1 + gates)``."""
        v = self.start + self.spread * torch.randn(tuple(batch))
        x = torch.cat((v.unsqueeze(-1), self.kinetics(v)(v)[0]), dim=-1)
        steps = round(self.spinup / self.dt)
        return self.at(-float(steps)).advance(x, steps)

    def admissible(self, x: Tensor) -> Tensor:
        """States with gates in [0, 1], with shape ``(*batch, 1 + gates)``."""
        return torch.cat((x[..., :1], x[..., 1:].clamp(0, 1)), dim=-1)

    def move(self, x: Tensor, time: Tensor) -> Tensor:
        """Advances states of shape ``(*batch, 1 + gates)`` by ``dt``, from a time in ms."""
        kinetics, stimulus = self.kinetics(x), self.stimulus or self.default_stimulus()
        delta = self.dt / self.substeps
        v, gates = x[..., 0], x[..., 1:]
        gates = relax(gates, *kinetics(v), delta / 2)
        for i in range(self.substeps):
            conductance, source = self.conductances(gates)
            rest = (source + stimulus(time + (i + 0.5) * delta)) / conductance
            v = rest + (v - rest) * torch.exp(-delta / self.capacitance * conductance)
            # Half a step behind one voltage and half a step before the next are one.
            gates = relax(gates, *kinetics(v), delta if i < self.substeps - 1 else delta / 2)
        return torch.cat((v.unsqueeze(-1), gates), dim=-1)


@dataclass(frozen=True, kw_only=True)
class NaKL(HodgkinHuxley):
    r"""Hodgkin–Huxley neuron of sodium, potassium and leak currents, with kinetics by hyperbolic tangents,

    .. math::
        C \dot V &= g_{Na}\, m^3 h\, (E_{Na} - V) + g_K\, n^4\, (E_K - V) + g_L\, (E_L - V) + I(t) , \\
        z_\infty(V) &= \tfrac12 \Big(1 + \tanh\frac{V - v_z}{d_z}\Big), \qquad
        \tau_z(V) = t_z + u_z \Big(1 - \tanh^2\frac{V - v_z}{d_z}\Big), \qquad z = m, h, n .

    The twin experiment of the literature sees the voltage alone, under a chaotic current. See :class:`HodgkinHuxley`
    for the scheme and for starts and times; without an option the stimulus is chaotic.

    Args:
        g_na: The conductance :math:`g_{Na}`, in mS/cm², a number or one value per batch element, as all parameters.
        g_k: The conductance :math:`g_K`, in mS/cm².
        g_l: The conductance :math:`g_L` of the leak, in mS/cm².
        e_na: The reversal potential :math:`E_{Na}`, in mV.
        e_k: The reversal potential :math:`E_K`, in mV.
        e_l: The reversal potential :math:`E_L`, in mV.
        v_m: The middle :math:`v_m` of the sodium's activation, in mV.
        v_h: The middle :math:`v_h` of its inactivation, in mV.
        v_n: The middle :math:`v_n` of the potassium's activation, in mV.
        d_m: The width :math:`d_m`, in mV.
        d_h: The width :math:`d_h`, in mV, negative for a gate that closes.
        d_n: The width :math:`d_n`, in mV.
        t_m: The least time :math:`t_m`, in ms.
        t_h: The least time :math:`t_h`, in ms.
        t_n: The least time :math:`t_n`, in ms.
        u_m: What is added to it in the middle, :math:`u_m`, in ms.
        u_h: The same, :math:`u_h`, in ms.
        u_n: The same, :math:`u_n`, in ms.

    References:
        | Dynamical estimation of neuron and network properties I: variational methods (Toth et al., 2011),
          https://doi.org/10.1007/s00422-011-0459-1
        | Data assimilation methods for neuronal state and parameter estimation (Moye & Diekman, 2018),
          https://doi.org/10.1186/s13408-018-0066-8
    """

    channels: ClassVar[tuple[str, ...]] = ("voltage", "m", "h", "n")

    g_na: float | Tensor = 120.0
    g_k: float | Tensor = 20.0
    g_l: float | Tensor = 0.3
    e_na: float | Tensor = 50.0
    e_k: float | Tensor = -77.0
    e_l: float | Tensor = -54.4
    v_m: float | Tensor = -40.0
    v_h: float | Tensor = -60.0
    v_n: float | Tensor = -55.0
    d_m: float | Tensor = 15.0
    d_h: float | Tensor = -15.0
    d_n: float | Tensor = 30.0
    t_m: float | Tensor = 0.1
    t_h: float | Tensor = 1.0
    t_n: float | Tensor = 1.0
    u_m: float | Tensor = 0.4
    u_h: float | Tensor = 7.0
    u_n: float | Tensor = 5.0

    def default_stimulus(self) -> Stimulus:
        """The chaotic current."""
        return CHAOTIC

    def kinetics(self, like: Tensor) -> Kinetics:
        """Kinetics by hyperbolic tangents."""
        middle, width = beside(like, self.v_m, self.v_h, self.v_n), beside(like, self.d_m, self.d_h, self.d_n)
        least, more = beside(like, self.t_m, self.t_h, self.t_n), beside(like, self.u_m, self.u_h, self.u_n)

        def at(v: Tensor) -> tuple[Tensor, Tensor]:
            """Fixed points and rates at a voltage."""
            slope = torch.tanh((v.unsqueeze(-1) - middle) / width)
            return 0.5 * (1 + slope), 1 / (least + more * (1 - slope**2))

        return at

    def conductances(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Of sodium, potassium and leak."""
        m, h, n = gates.unbind(dim=-1)
        sodium, potassium = self.g_na * m**3 * h, self.g_k * n**4
        total = sodium + potassium + self.g_l
        return total, sodium * self.e_na + potassium * self.e_k + self.g_l * self.e_l


@dataclass(frozen=True, kw_only=True)
class RegularSpiking(HodgkinHuxley):
    r"""Hodgkin–Huxley neuron of a regularly spiking cortical cell, with a slow potassium current that adapts it,

    .. math::
        C \dot V = g_{Na}\, m^3 h\, (E_{Na} - V) + (g_K\, n^4 + g_M\, p)\, (E_K - V) + g_L\, (E_L - V) + I(t) ,

    with :math:`z_\infty = \alpha_z / (\alpha_z + \beta_z)` and :math:`\tau_z = 1 / (\alpha_z + \beta_z)` of the gates
    m, h and n, by the rates of Traub and Miles around the threshold :math:`V_T`, and the slow gate :math:`p`. These are
    the model and the parameters of sbi's tutorial, in which :math:`g_{Na}` and :math:`g_K` are unknown, and a step of
    the current lasts from 10 to 110 of 120 ms. See :class:`HodgkinHuxley` for the scheme and for starts and times;
    without an option the stimulus is that step. The tutorial adds a white current of 0.1 µA/cm² √ms: per state that is
    a ``model_error`` of the voltage of :math:`0.1 \sqrt{\mathrm{dt}} / C`, as long as ``dt`` is short beside the
    membrane's time.

    Args:
        g_na: The conductance :math:`g_{Na}`, in mS/cm², a number or one value per batch element, as all parameters.
        g_k: The conductance :math:`g_K`, in mS/cm².
        g_l: The conductance :math:`g_L` of the leak, in mS/cm².
        g_m: The conductance :math:`g_M` of the slow current, in mS/cm².
        e_na: The reversal potential :math:`E_{Na}`, in mV.
        e_k: The reversal potential :math:`E_K`, in mV.
        e_l: The reversal potential :math:`E_L`, in mV.
        threshold: The voltage :math:`V_T`, in mV.
        tau_max: The longest time of the slow gate, in ms, times 3.6.

    References:
        | Minimal Hodgkin–Huxley type models for different classes of cortical and thalamic neurons
          (Pospischil et al., 2008), https://doi.org/10.1007/s00422-008-0263-8
        | Training deep neural density estimators to identify mechanistic models of neural dynamics
          (Gonçalves et al., 2020), https://doi.org/10.7554/eLife.56261
    """

    channels: ClassVar[tuple[str, ...]] = ("voltage", "m", "h", "n", "p")

    g_na: float | Tensor = 50.0
    g_k: float | Tensor = 5.0
    g_l: float | Tensor = 0.1
    g_m: float | Tensor = 0.07
    e_na: float | Tensor = 53.0
    e_k: float | Tensor = -107.0
    e_l: float | Tensor = -70.0
    threshold: float | Tensor = -60.0
    tau_max: float | Tensor = 600.0
    start: float = -70.0
    spread: float = 0.0

    def default_stimulus(self) -> Stimulus:
        """The step from 10 to 110 ms."""
        return STEP

    def kinetics(self, like: Tensor) -> Kinetics:
        """Kinetics of Traub and Miles, and of the slow gate: functions of a kind side by side, since there are many."""
        middle, slope, factor, opens, closes = like.new_tensor(RATES).split((1, 1, 1, 3, 4), dim=-1)
        around = torch.as_tensor(self.threshold).to(like).unsqueeze(-1) * like.new_tensor(AROUND)
        middle, slope, factor = around + middle.squeeze(-1), slope.squeeze(-1), factor.squeeze(-1)
        slowness = beside(like, 1.0, 1.0, 1.0, self.tau_max)

        def at(v: Tensor) -> tuple[Tensor, Tensor]:
            """Fixed points and rates at a voltage."""
            linear, exponential, logistic = ((v.unsqueeze(-1) - middle) * slope).split((3, 4, 2), dim=-1)
            value = factor * torch.cat((bernoulli(linear), exponential.exp(), logistic.sigmoid()), dim=-1)
            rate = value @ closes
            return torch.cat((value @ opens / rate[..., :3], value[..., -1:]), dim=-1), rate / slowness

        return at

    def conductances(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Of sodium, both potassium currents, and leak."""
        m, h, n, p = gates.unbind(dim=-1)
        sodium, potassium = self.g_na * m**3 * h, self.g_k * n**4 + self.g_m * p
        total = sodium + potassium + self.g_l
        return total, sodium * self.e_na + potassium * self.e_k + self.g_l * self.e_l


#: The functions :math:`f(s (V - V_0 - c))` that the rates of :class:`RegularSpiking` are sums of: three of the form
#: z / (exp(z) - 1), four exponentials, and two logistic functions. Of each the middle c, the slope s, a factor, whether
#: it opens m, h and n, and whether it is part of the whole rate of m, h, n and p. The last is no rate, but the fixed
#: point of p.
RATES = (
    (13.0, -1 / 4, 1.28, 1, 0, 0, 1, 0, 0, 0),
    (15.0, -1 / 5, 0.16, 0, 0, 1, 0, 0, 1, 0),
    (40.0, 1 / 5, 1.4, 0, 0, 0, 1, 0, 0, 0),
    (17.0, -1 / 18, 0.128, 0, 1, 0, 0, 1, 0, 0),
    (10.0, -1 / 40, 0.5, 0, 0, 0, 0, 0, 1, 0),
    (-35.0, 1 / 20, 3.3, 0, 0, 0, 0, 0, 0, 1),
    (-35.0, -1 / 20, 1.0, 0, 0, 0, 0, 0, 0, 1),
    (40.0, 1 / 5, 4.0, 0, 0, 0, 0, 1, 0, 0),
    (-35.0, 1 / 10, 1.0, 0, 0, 0, 0, 0, 0, 0),
)

#: Whether the middle of each counts from the threshold, V_0, or is a voltage, V_0 = 0.
AROUND = (1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0)

#: The stimuli of the literature, made once: the chaotic one is a table.
CHAOTIC, STEP = Chaotic(), Step()


def relax(gates: Tensor, fixed: Tensor, rate: Tensor, time: float) -> Tensor:
    """Gates that have relaxed towards fixed points at given rates for a time, all with shape ``(*batch, gates)``."""
    return fixed + (gates - fixed) * torch.exp(-time * rate)


def beside(like: Tensor, *parameters: float | Tensor) -> Tensor:
    """Parameters beside each other, with shape ``(*batch, parameters)`` or ``(parameters,)``."""
    return torch.stack(torch.broadcast_tensors(*(torch.as_tensor(p).to(like) for p in parameters)), dim=-1)


def bernoulli(z: Tensor) -> Tensor:
    r"""The function :math:`z / (e^z - 1)`, with its limit 1 at zero, where it is differentiable as everywhere."""
    small = z.abs() < 1e-3
    safe = torch.where(small, 1, z)
    return torch.where(small, 1 - z / 2 + z**2 / 12, safe / torch.expm1(safe))
