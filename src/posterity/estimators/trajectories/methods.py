r"""Score-based data assimilation: with known parameters, with parameters of every state, and with shared ones."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from ...diffusion import EDM, Guidance, PredictorCorrector, Sampler, Schedule
from ...diffusion.compositions import Composition, Fold, Junction
from ...nn import Network
from ...problems import Ensemble, Identity, Observation, Problem, Twin, Window
from .factorized import FactorizedScore
from .score import Precision, TrajectoryScore

#: The standard deviation of observations that are the states themselves.
EXACT = 1e-6

#: Angles by which scores of single steps are learned: what a step says of parameters shows where these have much
#: noise, and what hundreds say where they have little.
WIDE = EDM(mean=0.0, std=1.5)


class SDA(TrajectoryScore):
    r"""Score-based data assimilation, a learned prior of trajectories, guided by observations when it is sampled,

    .. math::
        \nabla_{\bar x} \log p(\bar x_{0:T} | y) =
            \nabla_{\bar x} \log p_\phi(\bar x_{0:T}) + \nabla_{\bar x} \log p(y | \bar x_{0:T}) .

    The prior's score is composed of those of short windows, :mod:`posterity.diffusion.compositions`, which one network
    learns from crops of trajectories. It sees no observations: operators, masks, noise and the length of the window may
    differ from those of the training, and weights serve many experiments. A background is one more observation, of the
    first state.

    Targets :math:`p(x_{0:T} | y, x_b)` of the joint it was trained on, as well as composition and guidance can. Under
    the background joint, the density of first states, which divides the background's, is taken for a Gaussian.

    Args:
        problem: The problem, of one cycle and known parameters.
        order: The number :math:`k` of states on either side of the middle one of a crop, which has :math:`2k + 1`.
        network: The plan of the network; None for a U-Net, or a perceptron where states have no grid.
        schedule: The angles of samplers and of the loss; None for those of EDM.
        sampler: The sampler; None for predictor–corrector sampling.
        guidance: The likelihood of noisy trajectories; None for moment matching.
        composition: How windows make a trajectory; None for the fold around each state.
        times: The number of frequencies that encode when a crop begins, where states are not stationary; 0 for none.
        crops: The number of crops of each training trajectory in a step.
        stride: The stride of the junction trees whose separators it learns too; 0 for none.
        per_window: Whether observations guide each window by itself, and not the trajectory as a whole.
        precision: In what networks compute when it draws: `bfloat16`, `float32`, or `auto`, the first on a GPU and the
            second elsewhere. What samplers step and guidance solves is never reduced.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    def __init__(
        self,
        problem: Problem,
        order: int = 2,
        network: Network | None = None,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        composition: Composition | None = None,
        times: int = 0,
        crops: int = 1,
        stride: int = 0,
        per_window: bool = False,
        precision: Precision = "auto",
    ) -> None:
        how = schedule, sampler, guidance, composition or Fold(order)
        super().__init__(problem, order, network, *how, times, crops, stride, per_window, precision)

    @classmethod
    def check_problem(cls, problem: Problem) -> None:
        """Checks that it targets the posterior: parameters must be known."""
        super().check_problem(problem)
        if problem.parameters:
            raise ValueError(
                f"parameters: {cls.__name__} takes them for known, and {', '.join(problem.parameters)} are not; choose "
                "sosda or sosda-shared"
            )

    def beside(self, v: Tensor) -> Tensor:
        """Nothing."""
        return v


class SOSDA(TrajectoryScore):
    r"""Self-organising score-based data assimilation, with unknown parameters as channels of every state,

    .. math:: z_t = (x_t, \theta_t), \qquad \theta_{t+1} = \theta_t ,

    so that trajectories of augmented states are drawn as those of states are, :class:`.SDA`, and the parameters read
    back as means over time. Under noise a static parameter ties all states together, and no short window holds: their
    posterior is too narrow, the more so the longer the window. :class:`.SharedSOSDA` is right where this is wrong.

    Targets :math:`p(x_{0:T}, \theta | y, x_b)` of the joint it was trained on.

    Args:
        problem: The problem, of one cycle.
        order: The number :math:`k` of states on either side of the middle one of a crop, which has :math:`2k + 1`.
        network: The plan of the network; None for a U-Net, or a perceptron where states have no grid.
        schedule: The angles of samplers and of the loss; None for those of EDM.
        sampler: The sampler; None for predictor–corrector sampling.
        guidance: The likelihood of noisy trajectories; None for moment matching.
        composition: How windows make a trajectory; None for the fold around each state.
        times: The number of frequencies that encode when a crop begins, where states are not stationary; 0 for none.
        crops: The number of crops of each training trajectory in a step.
        drift: The standard deviation of an artificial error of the parameters in one step, whitened; 0 for none.
        per_window: Whether observations guide each window by itself, and not the trajectory as a whole.
        precision: In what networks compute when it draws: `bfloat16`, `float32`, or `auto`, the first on a GPU and the
            second elsewhere. What samplers step and guidance solves is never reduced.

    References:
        | SOSDA (Yamaoka, Uchida & Toyota, 2026), https://arxiv.org/abs/2603.28048
        | A Self-Organizing State-Space Model (Kitagawa, 1998), https://doi.org/10.1080/01621459.1998.10473780
    """

    def __init__(
        self,
        problem: Problem,
        order: int = 2,
        network: Network | None = None,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        composition: Composition | None = None,
        times: int = 0,
        crops: int = 1,
        drift: float = 0.0,
        per_window: bool = False,
        precision: Precision = "auto",
    ) -> None:
        if not 0 <= drift < 1:
            raise ValueError(f"drift: must not be negative, and be less than 1, not {drift:g}")
        how = schedule, sampler, guidance, composition or Fold(order)
        super().__init__(problem, order, network, *how, times, crops, 0, per_window, precision)
        self.drift = drift

    def beside(self, v: Tensor) -> Tensor:
        """Those of each state: of the middle one the parameters, and others drift off them on either side."""
        kept = (1 - self.drift**2) ** 0.5
        found = [v]
        for _ in range(self.order):
            # A chain that is stationary: each is standard normal a priori.
            ends = (kept * end + self.drift * torch.randn_like(end) for end in (found[0], found[-1]))
            before, after = ends
            found = [before, *found, after]
        return torch.cat(found, dim=-1)


class SharedSOSDA(TrajectoryScore):
    r"""Score-based data assimilation with parameters that all states of a trajectory share,

    .. math::
        \log p(x_{0:T}, \theta) = \sum_w \log p(x_w, \theta) - \sum_s \log p(x_s, \theta) ,

    over windows :math:`w` of :math:`2k + 1` states and the separators :math:`s` between two of them: one network learns
    the scores of both, and a junction tree composes them. Without noise this is exact for a Markov chain with static
    parameters, and Langevin corrections of the sampler bring draws there: it needs them. Errors of the network add up
    over windows, so that few of them which overlap by half do better than one around each state, and what scores of
    parameters are off by on average is taken off (:class:`.Centring`).

    Targets :math:`p(x_{0:T}, \theta | y, x_b)` of the joint it was trained on.

    Args:
        problem: The problem, of one cycle.
        order: The number :math:`k`: crops have :math:`2k + 1` states.
        network: The plan of the network; None for a U-Net, or a perceptron where states have no grid.
        schedule: The angles of samplers and of the loss; None for those of EDM.
        sampler: The sampler; None for predictor–corrector sampling, with two large corrections after each step.
        guidance: The likelihood of noisy trajectories; None for moment matching.
        composition: How windows make a trajectory; None for the junction tree.
        times: The number of frequencies that encode when a crop begins, where states are not stationary; 0 for none.
        crops: The number of crops of each training trajectory in a step.
        stride: The number of states from one window to the next, which share the rest.
        per_window: Whether observations guide each window by itself, and not the trajectory as a whole.
        centred: Whether scores of parameters are centred: less the mean that they have by mistake.
        precision: In what networks compute when it draws: `bfloat16`, `float32`, or `auto`, the first on a GPU and the
            second elsewhere. What samplers step and guidance solves is never reduced.
        redrawn: Whether parameters are drawn once more in the end, given the states that were drawn, by scores of
            single steps that a second network learns beside (:class:`.FactorizedScore`, the sum). Where steps are
            random, and states are seen well, this takes away most of what guidance gets wrong of parameters: given the
            states nothing is left of observations, and given these, states hardly depend on parameters.

    References:
        | Score-based Data Assimilation (Rozet & Louppe, 2023), https://arxiv.org/abs/2306.10574
    """

    shared: ClassVar[bool] = True
    drawing: ClassVar[str] = "sampler, guidance, composition, per_window, precision, centred"

    def __init__(
        self,
        problem: Problem,
        order: int = 4,
        network: Network | None = None,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        composition: Composition | None = None,
        times: int = 0,
        crops: int = 1,
        stride: int = 4,
        per_window: bool = False,
        centred: bool = True,
        precision: Precision = "auto",
        redrawn: bool = False,
    ) -> None:
        sampler = sampler or PredictorCorrector(64, corrections=2, tau=0.5)
        how = schedule, sampler, guidance, composition or Junction(order, stride)
        super().__init__(problem, order, network, *how, times, crops, stride, per_window, precision)
        self.centred = centred
        #: What draws parameters given all states; None if nothing does.
        self.steps = self._given_states(network) if redrawn else None

    def _given_states(self, network: Network | None) -> FactorizedScore:
        """The posterior of parameters given states, which it takes for observed."""
        problem, known = self.problem, Observation(Identity(self.problem.shape), EXACT)
        if not problem.weak:
            raise ValueError(
                "redrawn: states of a deterministic model tell its parameters exactly, and drawing these given those "
                "leaves them as they are; set it to false, or give the problem model errors"
            )
        return FactorizedScore(
            replace(problem, observation=known),
            network,
            schedule=WIDE,
            crops=self.crops,
            gauss=False,
            centred=self.centred,
        )

    def measure(self, twins: Iterable[Twin]) -> None:
        """Takes the statistics of states and times, and those of single steps."""
        super().measure(twins if self.steps is None else map(self._counted, twins))
        if self.steps is not None:
            self.steps.step.settle()

    def _counted(self, twin: Twin) -> Twin:
        """Draws that have been counted in the statistics of single steps."""
        assert self.steps is not None
        self.steps.step.count(self.steps.steps(twin).window)
        return twin

    def loss(self, twin: Twin) -> Tensor:
        """The denoising loss of crops, and that of parameters given single steps."""
        loss = super().loss(twin)
        return loss if self.steps is None else loss + self.steps.loss(twin)

    def settle(self, twins: Iterable[Twin]) -> None:
        """Takes the mean residuals of parameters, by which they are centred."""
        super().settle(twins)
        if self.steps is not None:
            self.steps.settle(twins)

    def beside(self, v: Tensor) -> Tensor:
        """Themselves."""
        return v

    def decode(self, window: Window, z: Tensor) -> Ensemble:
        """Turns draws of trajectories into states and parameters, which may be drawn once more."""
        if self.steps is not None:
            states, v = self.trajectory.split(z)
            x = self.restore(states[:, :, : self.problem.window]).flatten(0, 1)
            nothing = torch.full_like(x[:, 0], torch.nan)
            seen = Window(x, torch.full_like(x, EXACT), nothing, nothing, window.start.repeat(len(z)))
            pieces = self._pieces(len(x), self.problem.window - 1, x.device)
            found = [self.steps.parameters_of(seen.select(rows), 1)[0] for rows in pieces]
            z = self.trajectory.join(states, torch.cat(found).view_as(v))
        return super().decode(window, z)
