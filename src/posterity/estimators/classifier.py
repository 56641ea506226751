"""Classifier two-sample tests: networks that tell true states from draws of a posterior."""

import abc
from copy import deepcopy
from dataclasses import replace
from math import inf, isfinite
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from ..nn import MLP, Convolution, Network
from ..nn.layout import averaged
from ..problems import Problem, Window
from .features import Features, Standardizer
from .learning.batches import TrainingError

#: The number of features of a state and its window between the network and the logit.
FEATURES = 32

#: The share of pairs held back for validation, and the epochs without a better validation loss before the end.
HELD, PATIENCE = 0.2, 10


class Pairs(NamedTuple):
    """Windows, each with its true state and a draw from its posterior.

    Args:
        truth: The true states at the windows' ends, with shape ``(case, *shape)``.
        draw: The draws of them, with the same shape.
        window: The windows.
    """

    truth: Tensor
    draw: Tensor
    window: Window

    def take(self, cases: Tensor | slice) -> Self:
        """Selects some of the cases."""
        return type(self)(self.truth[cases], self.draw[cases], self.window.select(cases))


class View(nn.Module, abc.ABC):
    """Abstract view of states that a classifier sees, a field on the grid of the state."""

    #: The name of the space in which states are compared.
    space: ClassVar[str]

    #: The number of its channels.
    channels: int

    @abc.abstractmethod
    def fit(self, x: Tensor, window: Window) -> None:
        """Takes the statistics of states of shape ``(case, *shape)``."""

    @abc.abstractmethod
    def forward(self, x: Tensor, window: Window) -> Tensor:
        """The view of states, with shape ``(case, channels, *grid)``."""


class StateView(View):
    """The state itself, standardised.

    Args:
        problem: The problem.
    """

    space = "state"

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.scaler, self.channels = Standardizer(problem.shape), problem.shape[0]

    def fit(self, x: Tensor, window: Window) -> None:
        """Takes the mean and the scale of each channel."""
        self.scaler.fit(x)

    def forward(self, x: Tensor, window: Window) -> Tensor:
        """Standardises states."""
        return self.scaler(x)


class ObservationView(View):
    r"""New observations of the state, :math:`H(x) + \sigma_T \varepsilon`, also of entries that were missing.

    Their noise is drawn anew each time, with the standard deviations of the window's end. Differences between states
    that do not show in observations do not count.

    Args:
        problem: The problem.
    """

    space = "observation"

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.observation = problem.observation
        # The features are those of a window of one state, all of which is observed.
        alone = replace(
            problem,
            observation=replace(problem.observation, masks=()),
            window=1,
            forecast=0,
            joint="climatology",
            background_std=None,
            background_correlation=None,
            model_error=None,
            error_correlation=None,
            parameters={},
        )
        self.features = Features(alone, times=0)
        self.channels = self.features.shape[0]

    def fit(self, x: Tensor, window: Window) -> None:
        """Takes the statistics of new observations."""
        self.features.fit(self._observed(x, window))

    def forward(self, x: Tensor, window: Window) -> Tensor:
        """Observes states."""
        return self.features(self._observed(x, window))

    def _observed(self, x: Tensor, window: Window) -> Window:
        """Observes states, as windows of one state each."""
        y = self.observation.operator(x)
        std = window.std[:, -1]
        return window._replace(y=(y + std * torch.randn_like(y)).unsqueeze(1), std=std.unsqueeze(1))


class Classifier(nn.Module):
    r"""A classifier that tells :math:`(x, y)` from :math:`(\tilde x, y)` with :math:`\tilde x \sim q(x | y)`,

    .. math::
        \max_\phi \; \tfrac12 E_{p(x, y)} \left[ \log s(d_\phi(x, y))
        + E_{q(\tilde x | y)} \log s(-d_\phi(\tilde x, y)) \right] ,

    with the logit :math:`d_\phi` and the logistic function :math:`s`. The best logit is
    :math:`\log p(x | y) - \log q(x | y)`, zero everywhere if the posterior is right: no network then finds the truth
    more often than by chance. One that does shows that it is not; one that fails to may have been too weak.

    The network sees the window as estimators do, with the state at the window's end, or new observations of it, as
    further channels; the mean of its outputs over all sites makes the logit.

    Args:
        problem: The problem, of one cycle.
        view: The view of states.
        network: The network; None for a convolutional one over fields, and a perceptron for vectors.

    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), https://arxiv.org/abs/1610.06545
        | L-C2ST: Local Diagnostics for Posterior Approximations in Simulation-Based Inference (Linhart, Gramfort &
          Rodrigues, 2023), https://arxiv.org/abs/2306.03580
    """

    def __init__(self, problem: Problem, view: View, network: Network | None = None) -> None:
        super().__init__()
        grid = problem.shape[1:]
        self.view, self.features = view, Features(problem)
        plan = network or (Convolution(width=32, blocks=2) if grid else MLP((128, 128)))
        self.network = plan.build(self.features.shape[0] + view.channels, FEATURES, grid)
        self.readout = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.SiLU(), nn.Linear(FEATURES, 1))

    def standardize(self, pairs: Pairs) -> None:
        """Takes the statistics of windows and true states."""
        self.features.fit(pairs.window)
        self.view.fit(pairs.truth, pairs.window)

    def forward(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The logits of the truths and of the draws, each with shape ``(case,)``."""
        context = self.features(pairs.window)
        truth, draw = (self._logit(context, self.view(x, pairs.window)) for x in (pairs.truth, pairs.draw))
        return truth, draw

    def loss(self, pairs: Pairs) -> Tensor:
        """The average cross-entropy, in nats; log 2 is chance."""
        truth, draw = self(pairs)
        return 0.5 * (nn.functional.softplus(-truth) + nn.functional.softplus(draw)).mean()

    def _logit(self, context: Tensor, seen: Tensor) -> Tensor:
        """The logit of states, from the features of their windows and the view of them."""
        found = self.network(torch.cat((context, seen), dim=1))
        return self.readout(averaged(found)).squeeze(-1)


def fit(classifier: Classifier, pairs: Pairs, epochs: int, batch: int, learning_rate: float) -> float:
    """Trains a classifier, by AdamW with a learning rate that falls by cosine.

    A fifth of the pairs is held back for validation: the weights of the least loss on them are kept, and training ends
    when that has not fallen for ten epochs.

    Args:
        classifier: The classifier, trained in place.
        pairs: The pairs, in random order.
        epochs: The most passes over the pairs.
        batch: Windows per step.
        learning_rate: The learning rate.

    Returns:
        The loss on the pairs that were held back.

    Raises:
        ValueError: If there are fewer than ten pairs.
        TrainingError: If the loss stops being finite.
    """
    cases = len(pairs.truth)
    if cases < 10:
        raise ValueError(f"cases: at least ten are needed, not {cases}")
    held, used = pairs.take(slice(0, int(HELD * cases))), pairs.take(slice(int(HELD * cases), cases))
    classifier.standardize(used)
    optimizer = torch.optim.AdamW(classifier.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best, best_epoch, weights = inf, 0, deepcopy(classifier.state_dict())
    for epoch in range(epochs):
        classifier.train()
        for chosen in torch.randperm(len(used.truth)).split(batch):
            optimizer.zero_grad()
            classifier.loss(used.take(chosen)).backward()
            optimizer.step()
        schedule.step()
        loss = _loss(classifier, held, batch)
        if not isfinite(loss):
            raise TrainingError(f"the loss is {loss} at epoch {epoch + 1}; try a smaller learning_rate")
        if loss < best:
            best, best_epoch, weights = loss, epoch, deepcopy(classifier.state_dict())
        if epoch - best_epoch >= PATIENCE:
            break
    classifier.load_state_dict(weights)
    return best


@torch.no_grad()
def logits(classifier: Classifier, pairs: Pairs, batch: int) -> tuple[Tensor, Tensor]:
    """The logits of truths and draws, each with shape ``(case,)``, in chunks of some windows."""
    classifier.eval()
    parts = [classifier(pairs.take(chosen)) for chosen in torch.arange(len(pairs.truth)).split(batch)]
    truth, draw = (torch.cat(side) for side in zip(*parts, strict=True))
    return truth, draw


def _loss(classifier: Classifier, pairs: Pairs, batch: int) -> float:
    """The loss over pairs, in chunks of some windows."""
    truth, draw = logits(classifier, pairs, batch)
    return float(0.5 * (nn.functional.softplus(-truth) + nn.functional.softplus(draw)).mean())
