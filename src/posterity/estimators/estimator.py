"""Abstract learned posteriors."""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..errors import check_part
from ..flows import ConditionalFlow
from ..nn import MLP, Convolution, Layout, Network
from ..problems import Ensemble, Problem, Twin, Window, chunks
from .features import Features, Standardizer
from .learned import Learned
from .target import ControlTarget, StateTarget, Target


class Estimator(Learned):
    """Abstract posterior over a target that is learned from draws of the joint, and amortised over windows.

    The constructor takes the problem, then the estimator's options.

    Args:
        problem: The problem, of one cycle.
        target: The target; None for the control if the prior is a background, and for the last state if not, or if the
            system is stochastic.
        times: The number of frequencies that encode the start of the window; 0 for none.
        observed: Whether it sees observations, or the background and the time only.
    """

    #: Whether networks see unknown parameters as channels beside a field, or it and them as one vector.
    channels: ClassVar[bool] = True

    def __init__(self, problem: Problem, target: Target | None = None, times: int = 6, observed: bool = True) -> None:
        super().__init__(problem)
        if target is not None:
            check_part("target", target, Target, ControlTarget)
        encoded = problem.joint == "background" and not problem.system.stochastic
        self.target = target or (ControlTarget() if encoded else StateTarget())
        #: The shape of the target: a field ``(channel, *grid)`` or a vector ``(entries,)``.
        self.shape = self.target.shape(problem)
        #: How networks see the target.
        self.layout = self.target.layout(problem) if self.channels else Layout(self.shape)
        self.scaler = Standardizer(self.layout.field)
        #: The features of a window: a field on the grid of the state, or a vector where networks see the target as one.
        self.features = Features(problem, observed, times, flat=len(self.layout.field) == 1)

    def default_network(self, blocks: int = 4) -> Network:
        """The default network of the target: convolutions where it has a grid, a perceptron elsewhere.

        Args:
            blocks: The number of residual blocks of convolutions.
        """
        return MLP() if self.features.flat else Convolution(blocks=blocks)

    def context_size(self, context: int) -> int:
        """The channels of an embedding, ``context`` at each site; vectors have as many for each entry of a state."""
        return context * prod(self.problem.shape) if self.features.flat else context

    @torch.no_grad()
    def measure(self, twins: Iterable[Twin]) -> None:
        """Takes the same statistics of draws that come in parts: of more of them than fit the memory.

        Args:
            twins: Draws of the joint, each part with one batch dimension.
        """
        for part in twins:
            twin = self.target.checked(self.problem, part)
            if not self.target.whitened:
                self.scaler.count(self.layout.spread(self.target.extract(self.problem, twin)))
            self.features.count(twin.window)
        if not self.target.whitened:
            self.scaler.settle()
        self.features.settle()

    @property
    def lost_without_background(self) -> bool:
        """Where it has learned from draws with backgrounds: it knows no windows without."""
        return self.problem.has_background

    def place(self, window: Window) -> Window:
        """The windows in the dtype and on the device of the weights."""
        return window.to(self.features.y.mean)

    def encode(self, twin: Twin) -> Tensor:
        """Extracts the target, standardised, with shape ``(case, *shape)``; in full precision, since models run."""
        with torch.autocast(twin.x.device.type, enabled=False):
            return self._rescaled(self.scaler, self.target.extract(self.problem, twin))

    def decode(
        self, window: Window, z: Tensor, info: Mapping[str, Tensor] | None = None, log_q: Tensor | None = None
    ) -> Ensemble:
        """Turns draws of the target into states and parameters.

        Args:
            window: The windows, with one batch dimension ``case``.
            z: The draws, standardised, with shape ``(samples, case, *shape)``.
            info: Diagnostics of each case.
            log_q: The log-density of each draw, with shape ``(samples, case)``; None if unknown.
        """
        return self.target.ensemble(self.problem, window, self.restore(z), info or {}, log_q)

    def restore(self, z: Tensor) -> Tensor:
        """The target's values of standardised ones, both with shape ``(*batch, *shape)``."""
        return self._rescaled(self.scaler.inverse, z)

    def _rescaled(self, scale: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        """Scales values of shape ``(*batch, *shape)`` by channel; those that are white a priori are left alone."""
        return z if self.target.whitened else self.layout.gather(scale(self.layout.spread(z)))


class DensityEstimator(Estimator):
    r"""Abstract estimator whose density :math:`q(z | y)` of the standardised target can be evaluated."""

    @abc.abstractmethod
    def log_prob(self, z: Tensor, window: Window) -> Tensor:
        """The log-density of one value for each case, in nats.

        Args:
            z: The values, with shape ``(case, *shape)``.
            window: The windows, with one batch dimension ``case``.

        Returns:
            The log-density, with shape ``(case,)``.
        """

    @abc.abstractmethod
    def draw(self, window: Window, samples: int) -> tuple[Tensor, Tensor]:
        """Draws from the density.

        Args:
            window: The windows, with one batch dimension ``case``.
            samples: The number of draws per case.

        Returns:
            The draws, with shape ``(samples, case, *shape)``, and their log-densities, with shape ``(samples, case)``.
        """

    def exact(self) -> Self:
        """The same density, without the noise of estimates if its logarithm is one; itself unless overridden."""
        return self

    def loss(self, twin: Twin) -> Tensor:
        r"""The average of :math:`-\log q(z | y)`, in nats."""
        return -self.log_prob(self.encode(twin), twin.window).mean()

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the density, with the log-density of each draw."""
        z, log_q = self.draw(window, samples)
        return self.decode(window, z, {}, log_q)


def network_chunks(samples: int, cases: int, shape: tuple[int, ...], device: torch.device) -> list[slice]:
    """Slices of the draws that a network can take at once: its activations are much larger than a draw."""
    return list(chunks(samples, 256 * cases * prod(shape), device))


def repeat(context: Tensor, draws: int) -> Tensor:
    """Repeats contexts for each draw, with shape ``(draws * case, *context_shape)``: all cases of a draw together."""
    return context.expand(draws, *context.shape).flatten(0, 1)


def contexts(context: Tensor, samples: int, shape: tuple[int, ...], work: int = 1) -> Iterator[Tensor]:
    """Repeats contexts for as many draws at once as a network can take.

    Args:
        context: The contexts, with shape ``(case, *context_shape)``.
        samples: The number of draws per case.
        shape: The shape of a draw.
        work: The number of evaluations of the network that run at once for each row.

    Yields:
        Contexts of shape ``(draws * case, *context_shape)``; see :func:`repeat`.
    """
    for chunk in network_chunks(samples, len(context) * work, shape, context.device):
        yield repeat(context, chunk.stop - chunk.start)


def draw_flow(flow: ConditionalFlow, context: Tensor, samples: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Draws from a flow for each case, as many at once as fit the memory.

    Args:
        flow: The flow.
        context: The contexts, with shape ``(case, *context_shape)``.
        samples: The number of draws per case.
        shape: The shape of a draw.

    Returns:
        The draws, with shape ``(samples, case, *shape)``, and their log-densities, with shape ``(samples, case)``.
    """
    found = [flow.draw(given) for given in contexts(context, samples, shape)]
    z, log_q = (torch.cat(part).unflatten(0, (samples, -1)) for part in zip(*found, strict=True))
    return z, log_q
