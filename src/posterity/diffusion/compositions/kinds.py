"""Compositions: which windows of a trajectory are denoised; see :mod:`posterity.diffusion.compositions`."""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from .composed import Composed, LocalDenoiser
from .windows import Trajectory, Windows


class Composition(abc.ABC):
    """Abstract composition: which windows of a trajectory are denoised, and what each has a share in."""

    @property
    def weighed(self) -> bool:
        """Whether windows have shares in parameters by the precision with which each knows them."""
        return False

    @property
    @abc.abstractmethod
    def lengths(self) -> tuple[int, ...]:
        """The numbers of states of windows that the local denoiser is asked about."""

    @abc.abstractmethod
    def windows(self, states: int) -> list[Windows]:
        """The windows of a trajectory.

        Args:
            states: The number of states of the trajectory, at least those of its longest window.

        Returns:
            Windows of one length each, whose shares in each state, and in the parameters, sum to one.
        """

    def extended(self, states: int) -> int:
        """The least number of states, at least as many as are asked for, of a trajectory that its windows fit."""
        return max(states, *self.lengths)

    def compose(self, local: LocalDenoiser, trajectory: Trajectory, number: int | None = None) -> Composed:
        """Makes the denoiser of a trajectory.

        Args:
            local: The local denoiser.
            trajectory: The places of the trajectory.
            number: The most windows, of all rows together, that the local denoiser is given at once; None for all.

        Raises:
            ValueError: If the trajectory is shorter than a window.
        """
        if trajectory.states < max(self.lengths):
            raise ValueError(
                f"composition: windows of {max(self.lengths)} states do not fit a trajectory of {trajectory.states}; "
                "make them shorter"
            )
        return Composed(local, trajectory, self.windows(trajectory.states), number, self.weighed)


@dataclass(frozen=True)
class Fold(Composition):
    r"""The fold of score-based data assimilation: each state has the mean of the window around it,

    .. math:: D(\bar x)_i = E[z_i | \bar x_{i - k : i + k}] ,

    and the first and last :math:`k` those of the first and last window. Parameters have the average over all windows.
    Exact as far as noisy states beyond :math:`k` say no more of a state.

    Args:
        order: The number :math:`k` of states on either side.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    order: int = 2

    def __post_init__(self) -> None:
        """Checks the order."""
        check_order(self.order)

    @property
    def lengths(self) -> tuple[int, ...]:
        r"""Windows of :math:`2k + 1` states."""
        return (2 * self.order + 1,)

    def windows(self, states: int) -> list[Windows]:
        """All windows, for their centres and both ends."""
        length, order = 2 * self.order + 1, self.order
        start = torch.arange(states - length + 1, device="cpu")
        share = start.new_zeros(len(start), length, dtype=torch.float64)
        share[:, order] = share[0, :order] = share[-1, order + 1 :] = 1
        return [Windows(start, share, _full(start, 1 / len(start), 1, 1))]


@dataclass(frozen=True)
class Blankets(Composition):
    r"""Long windows that overlap, averaged where they do,

    .. math:: D(\bar x)_i = \frac{1}{n_i} \sum_{w \ni i} E[z_i | \bar x_w] ,

    for many fewer evaluations of a network than windows around each state. Where windows do not divide the trajectory
    the last is moved back to its end. Parameters have the average over all windows.

    Args:
        length: The number of states of a window.
        overlap: The number of states that neighbours share.

    References:
        | Appa: Bending Weather Dynamics with Latent Diffusion Models for Global Data Assimilation (Andry et al., 2025),
        | https://arxiv.org/abs/2504.18720
    """

    length: int = 16
    overlap: int = 8

    def __post_init__(self) -> None:
        """Checks length and overlap."""
        if self.length < 1:
            raise ValueError(f"length: at least one state is needed, not {self.length}")
        if not 0 <= self.overlap < self.length:
            raise ValueError(f"overlap: must lie between 0 and {self.length - 1}, not {self.overlap}")

    @property
    def lengths(self) -> tuple[int, ...]:
        """Windows of one length."""
        return (self.length,)

    def windows(self, states: int) -> list[Windows]:
        """Windows with a stride, the last one at the end."""
        last = states - self.length
        start = torch.tensor([*range(0, last, self.length - self.overlap), last], device="cpu")
        places = start.unsqueeze(1) + torch.arange(self.length, device="cpu")
        count = torch.bincount(places.flatten(), minlength=states)
        return [Windows(start, 1 / count[places].double(), _full(start, 1 / len(start), 1, 1))]


@dataclass(frozen=True)
class Junction(Composition):
    r"""The junction tree of a Markov chain: windows less what neighbours have in common,

    .. math::
        p(x_{1 : L}, \theta) = \frac{\prod_w p(x_w, \theta)}{\prod_s p(x_s, \theta)} , \qquad
        D(\bar x, \bar\theta) = \sum_w R_w^T\, E[z_w | \bar x_w, \bar\theta]
            - \sum_s R_s^T\, E[z_s | \bar x_s, \bar\theta] ,

    over windows :math:`w` of :math:`2k + 1` states and separators :math:`s`, the states that two of them share. The
    scores are those of a density of all states with one :math:`\theta`, which is the data's where there is no noise.
    Noisy states are no Markov chain, so that a sampler must correct what its steps at larger noise get wrong.

    Of :math:`\theta` the sum is the worse the more windows there are: each counts the noise of :math:`\bar\theta` anew.
    Were windows Gaussian, their product would have the mean

    .. math::
        D(\bar x, \bar\theta)_\theta = \frac{\sum_w g_w\, E[\theta | \bar x_w, \bar\theta]
            - \sum_s g_s\, E[\theta | \bar x_s, \bar\theta]}{\sum_w g_w - \sum_s g_s} , \qquad
        \frac{1}{g} = \frac{1}{\cos\varphi} \frac{\partial}{\partial \bar\theta} E[\theta | \bar x, \bar\theta]
            = \frac{\mathrm{Var}[\theta | \bar x, \bar\theta]}{\sin^2\varphi} ,

    which is the sum again where noise is small. With ``gauss`` this takes the place of the sum, for one product more
    with the derivative of each window and parameter.

    With a stride there are fewer windows, and fewer terms in which a learned denoiser errs: all :math:`2k + 1` windows
    that hold a state, and the :math:`2k` separators, become two windows and one separator of one state at a stride of
    :math:`2k`, at little loss.

    Args:
        order: The number :math:`k`.
        stride: The number of states from one window to the next, at most :math:`2k`. It must lead to the end of a
            trajectory, whose length less that of a window is a multiple of it.
        gauss: Whether windows and separators have shares in each parameter by the precision with which they know it.

    References:
        | Diffusion posterior sampling for simulation-based inference in tall data settings (Linhart et al., 2024),
        | https://arxiv.org/abs/2404.07593
    """

    order: int = 2
    stride: int = 1
    gauss: bool = False

    def __post_init__(self) -> None:
        """Checks order and stride."""
        check_order(self.order)
        if not 1 <= self.stride <= 2 * self.order:
            raise ValueError(f"stride: must lie between 1 and {2 * self.order}, twice the order, not {self.stride}")

    @property
    def weighed(self) -> bool:
        """By precision, if asked for."""
        return self.gauss

    @property
    def lengths(self) -> tuple[int, ...]:
        r"""Windows of :math:`2k + 1` states, and what neighbours share."""
        return (2 * self.order + 1, 2 * self.order + 1 - self.stride)

    def extended(self, states: int) -> int:
        """As many as the stride leads to."""
        beyond = max(0, states - self.lengths[0])
        return self.lengths[0] - self.stride * (-beyond // self.stride)

    def windows(self, states: int) -> list[Windows]:
        """All windows, and with a negative share all separators."""
        length, separator = self.lengths
        if (states - length) % self.stride:
            raise ValueError(
                f"stride: {self.stride} leads from windows of {length} states to trajectories of {length}, "
                f"{length + self.stride}, …, not of {states}; use 1 for any"
            )
        start = torch.arange(0, states - length + 1, self.stride, device="cpu")
        found = [(start, length, 1.0), (start[1:], separator, -1.0)]
        return [Windows(first, _full(first, share, size), _full(first, share, 1, 1)) for first, size, share in found]


def _full(start: Tensor, share: float, *entries: int) -> Tensor:
    """The same share of each of some entries of each window, with shape ``(windows, *entries)``."""
    return torch.full((len(start), *entries), share, dtype=torch.float64, device=start.device)


def check_order(order: int) -> None:
    """Raises if there are no states on either side."""
    if order < 1:
        raise ValueError(f"order: at least one state on either side is needed, not {order}")
