r"""Factorised neural score estimation: parameters from the scores of single steps of a record."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import cos, prod, sin
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...diffusion import EDM, LearnedDenoiser, Mean, Multistep, PredictorCorrector, Sampler, Schedule
from ...diffusion.centring import Centring
from ...diffusion.denoisers import FaintResidual, denoising_loss, mixed, stratified
from ...errors import check_part
from ...nn import Convolution, Layout, Network, ResidualMLP
from ...nn.layout import averaged
from ...problems import Ensemble, Problem, Twin, Window
from ...tensors import identity, white_noise
from ..estimator import network_chunks, repeat
from ..features import Features, Standardizer
from ..learned import Learned
from ..target import StateTarget


class Step(nn.Module):
    r"""What two states in a row say of parameters, and the residual of noisy ones given this.

    Beside the states the network sees the innovation, what the model leaves of the second one,
    :math:`y_{t+1} - \mathcal{M}(y_t, \theta)` at the median :math:`\theta` of the prior: it need not learn the dynamics
    to tell what parameters do in a step, which is next to nothing beside them.

    Args:
        features: The features of a pair of observations.
        parameters: The number of parameters.
        network: The plan of the network over both states.
        head: The plan of the residual network.
        context: The number of numbers that the former says of a pair, averages over the grid.
    """

    def __init__(self, features: Features, parameters: int, network: Network, head: Network, context: int) -> None:
        super().__init__()
        self.features, self.innovations = features, Standardizer(features.problem.shape)
        channels, *grid = features.shape
        shape = features.problem.shape
        self.network = network.build(channels + (shape[0] if grid else prod(shape)), context, grid)
        self.residual = FaintResidual(Layout((parameters,)), context, head)
        self.centring = Centring(parameters, parameters)

    def centred(self, v: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        """The residual, less the mean that it has by mistake."""
        return self.residual(v, angle, context) - self.centring(v, angle)

    def count(self, window: Window) -> None:
        """Counts pairs, some of many, in the statistics that :meth:`settle` takes."""
        self.features.count(window)
        self.innovations.count(self.innovation(window))

    def settle(self) -> None:
        """Takes the statistics of what was counted, and forgets it."""
        self.features.settle()
        self.innovations.settle()

    def context(self, window: Window) -> Tensor:
        """What pairs say, with shape ``(pairs, context)``."""
        features, innovation = self.features(window), self.innovations(self.innovation(window))
        beside = innovation.flatten(1) if features.ndim == 2 else innovation
        found: Tensor = self.network(torch.cat((features, beside), dim=1))
        return averaged(found)

    @torch.no_grad()
    def innovation(self, window: Window) -> Tensor:
        """The innovations of pairs, with the shape of a state; in full precision, since the model runs."""
        problem, median = self.features.problem, window.y.new_zeros(len(window.y), self.residual.layout.shape[0])
        with torch.autocast(window.y.device.type, enabled=False):
            system = problem.system_at(problem.decode_parameters(median), window.start)
            found = window.y[:, 1] - system.rollout(window.y[:, 0], 1)[:, 1]
        # From a state that is off by noise a model may go where nothing is finite.
        return found.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


class FactorizedScore(Learned):
    r"""Factorised neural score estimation, the posterior of parameters composed of those given one step each,

    .. math::
        \nabla_{\bar\theta} \log p(\bar\theta | x_{0:T}) \approx
            \sum_{t < T} \nabla_{\bar\theta} \log p(\bar\theta | x_t, x_{t+1})
            - (T - 1)\, \nabla_{\bar\theta} \log p(\bar\theta) ,

    for records of which all states are observed, with little noise: it takes what is observed for the states. It learns
    from single steps that start from states of the training, each with parameters of the prior of its own, so that
    where a step starts says nothing of them. Nor does it ask the first state.

    Without noise the sum is exact, since states are a Markov chain; with noise it counts that of :math:`\bar\theta` in
    every step. Were all posteriors Gaussian, of covariance :math:`\Sigma_t` given one step, their product would have
    the mean

    .. math::
        D(\bar\theta) = \cos\varphi\, \bar\theta + \Big(I + \sum_t (G_t - I)\Big)^{-1}
            \sum_t G_t \big(D_t(\bar\theta) - \cos\varphi\, \bar\theta\big) , \qquad
        G_t = I + \sin^2\varphi\, (\Sigma_t^{-1} - I) ,

    of parameters that are standard normal a priori: the correction, by covariances of draws given each step alone. With
    :math:`G_t = I` it is the sum. States are drawn as observed, around each observation by its noise.

    Targets :math:`p(\theta | y)` of such records.

    Args:
        problem: The problem, of one cycle, with unknown parameters.
        network: The plan of the network over two states; None for convolutions, or a perceptron without a grid.
        head: The plan of the network over parameters, given what the other says; None for a residual perceptron.
        context: The number of numbers that the network says of a step.
        schedule: The angles of samplers and of the loss; None for those of EDM.
        sampler: The sampler; None for predictor–corrector sampling.
        crops: The number of steps of each training trajectory in an update.
        gauss: Whether to correct the sum.
        draws: The number of draws given each step alone that covariances are taken of.
        centred: Whether scores are centred: less the mean that they have by mistake, which steps would add up
            (:class:`.Centring`).

    References:
        | Compositional simulation-based inference for time series (Gloeckler et al., 2025),
          https://arxiv.org/abs/2411.02728
        | Compositional Score Modeling for Simulation-Based Inference (Geffner et al., 2023),
          https://arxiv.org/abs/2209.14249
        | Diffusion posterior sampling for simulation-based inference in tall data settings (Linhart et al., 2024),
          https://arxiv.org/abs/2404.07593
    """

    loss_units: ClassVar[str] = "1"
    drawing: ClassVar[str] = "sampler, gauss, draws, centred"
    portable: ClassVar[str] = "window"

    def __init__(
        self,
        problem: Problem,
        network: Network | None = None,
        head: Network | None = None,
        context: int = 32,
        schedule: Schedule | None = None,
        sampler: Sampler | None = None,
        crops: int = 4,
        gauss: bool = True,
        draws: int = 64,
        centred: bool = True,
    ) -> None:
        super().__init__(problem)
        for name, number in (("context", context), ("crops", crops)):
            if number < 1:
                raise ValueError(f"{name}: at least one is needed, not {number}")
        numbers = len(problem.parameters)
        if draws < numbers + 3:
            raise ValueError(f"draws: a precision takes {numbers + 3} of them at least, not {draws}")
        network = network or (Convolution(32, 2, 3) if problem.shape[1:] else ResidualMLP())
        head = head or ResidualMLP(64, 2)
        self.schedule, self.sampler = schedule or EDM(), sampler or PredictorCorrector()
        check_part("network", network, Network, Convolution)
        check_part("head", head, Network, ResidualMLP)
        check_part("schedule", self.schedule, Schedule, EDM)
        check_part("sampler", self.sampler, Sampler, PredictorCorrector)
        self.crops, self.gauss, self.draws, self.centred = crops, gauss, draws, centred
        self.shape = (problem.window, *problem.shape)
        #: The problem of two states in a row.
        self.pair = replace(problem, window=2, forecast=0, joint="climatology", background_std=None, library=None)
        self.step = Step(Features(self.pair, times=0, flat=not problem.shape[1:]), numbers, network, head, context)

    @classmethod
    def check_problem(cls, problem: Problem) -> None:
        """Checks that there are parameters, and that all states are observed, two at least."""
        super().check_problem(problem)
        if not problem.parameters:
            raise ValueError(f"parameters: {cls.__name__} estimates unknown ones, and there are none; name some")
        if problem.window < 2:
            raise ValueError(f"window: {cls.__name__} learns from steps between two observations; make it 2 at least")
        operator, masks = problem.observation.operator, problem.observation.masks
        if masks or not operator.observes_state:
            part = "masks hide some" if masks else f"{type(operator).__name__} is not the state"
            raise ValueError(
                f"observation: {cls.__name__} takes observations of all states for these, and {part}; observe all, or "
                "choose sosda-shared"
            )

    @torch.no_grad()
    def measure(self, twins: Iterable[Twin]) -> None:
        """Takes the statistics of what is observed of single steps."""
        for twin in twins:
            self.step.count(self.steps(twin).window)
        self.step.settle()

    def loss(self, twin: Twin) -> Tensor:
        """The denoising loss of parameters given one step, of which these are drawn anew."""
        steps = self.steps(twin)
        v = self.problem.encode_parameters(steps.theta)
        return denoising_loss(self.step.residual, self.schedule, v, self.step.context(steps.window))

    @torch.no_grad()
    def settle(self, twins: Iterable[Twin]) -> None:
        """Takes the mean residual, by which residuals are centred."""
        self.step.centring.fit(self._residuals(twins))

    def _residuals(self, twins: Iterable[Twin]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Noisy parameters of random steps, their angles, and their residuals."""
        for twin in twins:
            steps = self.steps(twin)
            v = self.problem.encode_parameters(steps.theta)
            angle, context = Centring.angles(stratified(v)), self.step.context(steps.window)
            noisy, _ = mixed(angle, v, torch.randn_like(v))
            yield noisy, angle, self.step.residual(noisy, angle, context)

    @torch.no_grad()
    def steps(self, twin: Twin) -> Twin:
        """Single steps from states of trajectories, with parameters of the prior, observed; in full precision.

        Args:
            twin: Draws of the joint, with one batch dimension.

        Returns:
            Draws of two states in a row, with ``crops`` of them for each trajectory.
        """
        cases, length = twin.x.shape[:2]
        row = torch.arange(cases, device=twin.x.device).repeat(self.crops)
        first = torch.randint(length, (len(row),), device=twin.x.device)
        with torch.autocast(twin.x.device.type, enabled=False):
            x, time = twin.x[row, first], twin.window.start[row] + first
            theta = self.problem.decode_parameters(white_noise(x, len(row), len(self.problem.parameters)))
            error = self.problem.draw_errors(x, len(row), 1)
            both = self.problem.system_at(theta, time).rollout(x, 1, error)
            nothing = torch.full_like(x, torch.nan)
            return self.pair.observe(both, theta, nothing, nothing, time)

    def place(self, window: Window) -> Window:
        """The windows in the dtype and on the device of the weights."""
        return window.to(self.step.features.y.mean)

    @torch.no_grad()
    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws of parameters by the sampler, and of states by the noise of observations."""
        if (missing := int(window.y.isnan().sum())) > 0:
            raise ValueError(
                f"observation: {type(self).__name__} takes observations of all states for these, and {missing} entries "
                "are missing; choose sosda-shared"
            )
        v = self.parameters_of(window, samples)
        states = window.y + window.std * white_noise(window.y, samples, *window.y.shape)
        values = torch.cat((states.flatten(2), v), dim=-1)
        return StateTarget(states=None).ensemble(self.problem, window, values, {}, None)

    def parameters_of(self, window: Window, samples: int) -> Tensor:
        """Draws of whitened parameters, with shape ``(samples, case, parameters)``."""
        contexts = self.contexts(window)
        excess = self.excess(contexts) if self.gauss else None
        found = [
            self.sampler(self.mean(contexts, excess, rows), self.schedule, self._noise(contexts, rows, len(contexts)))
            for rows in self._chunks(samples, contexts)
        ]
        return torch.cat(found).unflatten(0, (samples, -1))

    @property
    def residual(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The residual that draws are made with."""
        return self.step.centred if self.centred else self.step.residual

    def contexts(self, window: Window) -> Tensor:
        """What each step says, with shape ``(case, steps, context)``."""
        steps = window.y.shape[1] - 1
        y, std = (torch.stack((part[:, :-1], part[:, 1:]), dim=2).flatten(0, 1) for part in (window.y, window.std))
        start = window.start.unsqueeze(1) + torch.arange(steps, device=window.start.device)
        nothing = torch.full_like(y[:, 0], torch.nan)
        return self.step.context(Window(y, std, nothing, nothing, start.flatten())).unflatten(0, (-1, steps))

    def excess(self, contexts: Tensor) -> Tensor:
        r"""What a step adds to the precision of the prior, :math:`\Sigma_t^{-1} - I`.

        Of few draws, by the estimate of a precision that is right on average, :math:`(n - p - 2) / (n - 1)` times the
        inverse of their covariance: what one step adds is less than its error, and steps are many. Their sum is what
        has no negative part.

        Args:
            contexts: What each step says, with shape ``(case, steps, context)``.

        Returns:
            The matrices, with shape ``(case, steps, parameters, parameters)``.
        """
        given, found = contexts.flatten(0, 1), []
        for rows in self._chunks(self.draws, contexts):
            mean = LearnedDenoiser(self.residual, repeat(given, rows)).mean
            found.append(Multistep()(mean, self.schedule, self._noise(contexts, rows, len(given))))
        v = torch.cat(found).unflatten(0, (self.draws, *contexts.shape[:2]))
        apart, size = v - v.mean(dim=0), v.shape[-1]
        covariance = torch.einsum("s...i,s...j->...ij", apart, apart) / (self.draws - size - 2)
        # Where draws are not finite, as of a case that is hopeless, nothing is added.
        sound = covariance.isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
        values, vectors = torch.linalg.eigh(torch.where(sound, covariance, identity(v, size)))
        added = (vectors / values.clamp(min=torch.finfo(v.dtype).eps).unsqueeze(-2)) @ vectors.mT - identity(v, size)
        values, vectors = torch.linalg.eigh(added.mean(dim=1, keepdim=True))
        return added - (vectors * values.clamp(max=0).unsqueeze(-2)) @ vectors.mT

    def mean(self, contexts: Tensor, excess: Tensor | None, draws: int) -> Mean:
        """The mean of parameters given noisy ones and all steps of a record, for so many draws of each case.

        Args:
            contexts: What each step says, with shape ``(case, steps, context)``.
            excess: What each step adds to the precision of the prior; None for the sum.
            draws: The number of draws.
        """
        local = LearnedDenoiser(self.residual, repeat(contexts.flatten(0, 1), draws))
        return composed(local.mean, len(contexts), contexts.shape[1], excess)

    def _noise(self, contexts: Tensor, draws: int, rows: int) -> Tensor:
        """White noise of so many draws of some rows."""
        return white_noise(contexts, draws * rows, len(self.problem.parameters))

    def _chunks(self, draws: int, contexts: Tensor) -> Iterator[int]:
        """Numbers of draws at once that a network can take of all steps."""
        cases, steps = contexts.shape[:2]
        for chunk in network_chunks(draws, cases * steps, (len(self.problem.parameters),), contexts.device):
            yield chunk.stop - chunk.start


def composed(local: Mean, cases: int, steps: int, excess: Tensor | None) -> Mean:
    r"""The mean of parameters given several observations, from those given each, where the prior is standard normal.

    Args:
        local: The mean given each observation, of rows ``(draws * case * steps, parameters)``.
        cases: The number of cases.
        steps: The number of observations of each.
        excess: :math:`\Sigma_t^{-1} - I` of each, with shape ``(case, steps, parameters, parameters)``; None for the
            plain sum of scores.
    """

    def mean(x: Tensor, angle: float) -> Tensor:
        noisy = x.unflatten(0, (-1, cases))
        prior = cos(angle) * noisy
        each = noisy.unsqueeze(2).expand(-1, -1, steps, -1)
        found = local(each.flatten(0, 2), angle).view(each.shape) - prior.unsqueeze(2)
        if excess is None:
            return (prior + found.sum(dim=2)).flatten(0, 1)
        unit, scaled = identity(x, x.shape[-1]), sin(angle) ** 2 * excess
        pulled = (found + (scaled @ found.unsqueeze(-1)).squeeze(-1)).sum(dim=2)
        return (prior + torch.linalg.solve(unit + scaled.sum(dim=1), pulled.unsqueeze(-1)).squeeze(-1)).flatten(0, 1)

    return mean
