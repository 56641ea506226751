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
from ..problems import Control, Ensemble, Problem, Twin, Window, chunks
from ..problems.posterior import check_differentiable
from .features import Features, Standardizer
from .frames.frame import Frame, PriorFrame, Seen, View
from .frames.laplace import LaplaceFrame
from .learned import Learned
from .target import ControlTarget, StateTarget, Target

#: Draws of the joint that flows are initialised from: enough for means and spreads.
STARTING = 512


class Estimator(Learned):
    """Abstract posterior over a target that is learned from draws of the joint, and amortised over windows.

    The constructor takes the problem, then the estimator's options.

    Args:
        problem: The problem, of one cycle.
        target: The target; None for the control if the prior is a background, and for the last state if not, or if the
            system is stochastic.
        times: The number of frequencies that encode the start of the window; 0 for none.
        observed: Whether it sees observations, or the background and the time only.
        frame: The coordinates in which it learns; None for those of the prior.
    """

    #: Whether networks see unknown parameters as channels beside a field, or it and them as one vector.
    channels: ClassVar[bool] = True

    def __init__(
        self,
        problem: Problem,
        target: Target | None = None,
        times: int = 6,
        observed: bool = True,
        frame: Frame | None = None,
    ) -> None:
        super().__init__(problem)
        if target is not None:
            check_part("target", target, Target, ControlTarget)
        encoded = problem.joint == "background" and not problem.system.stochastic
        self.target = target or (ControlTarget() if encoded else StateTarget())
        self.frame = frame or PriorFrame()
        check_part("frame", self.frame, Frame, LaplaceFrame)
        self.frame.check(problem, self.target)
        check_differentiable(problem, self.frame.differentiates, f"{type(self).__name__} in that frame")
        self.differentiates = tuple(dict.fromkeys((*self.differentiates, *self.frame.differentiates)))  # type: ignore[misc]
        #: The shape of the target: a field ``(channel, *grid)`` or a vector ``(entries,)``.
        self.shape = self.target.shape(problem)
        #: How networks see the target.
        self.layout = self.target.layout(problem) if self.channels else Layout(self.shape)
        self.scaler = Standardizer(self.layout.field)
        #: The features of a window: a field on the grid of the state, or a vector where networks see the target as one.
        self.features = Features(problem, observed, times, flat=len(self.layout.field) == 1)
        #: The shape of what networks see of a window, see :meth:`view`.
        self.context_shape = self.frame.shape(self.features, self.layout)

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

    def view(self, window: Window, control: Control | None = None) -> View:
        """What networks see of windows, and the coordinates in which they say what they have learned.

        Args:
            window: The windows, with one batch dimension ``case``.
            control: The control that counts the work of finding coordinates; one of its own if None.
        """
        return self.frame.find(self.features, self.layout, window, control)

    def into(self, view: View, z: Tensor) -> tuple[Tensor, Tensor]:
        """The coordinates of standardised targets, with the log-determinant; see :class:`.Coordinates`."""
        w, log_det = view.coordinates.forward(z.flatten(-len(self.shape)))
        return w.view_as(z), log_det

    def out_of(self, view: View, w: Tensor) -> tuple[Tensor, Tensor]:
        """The standardised targets of coordinates, with the same log-determinant."""
        z, log_det = view.coordinates.inverse(w.flatten(-len(self.shape)))
        return z.view_as(w), log_det

    def seen(self, twin: Twin) -> Seen:
        """What is seen of draws of the joint, with one batch dimension, in the frames of their windows."""
        view = self.view(twin.window)
        return Seen(view.context, *self.into(view, self.encode(twin)))

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

    def drawn(
        self,
        window: Window,
        view: View,
        w: Tensor,
        info: Mapping[str, Tensor] | None = None,
        log_q: Tensor | None = None,
    ) -> Ensemble:
        """Turns draws of the coordinates into states and parameters, as :meth:`decode` does those of the target.

        Args:
            window: The windows, with one batch dimension ``case``.
            view: What was seen of them; the work of that is counted.
            w: The draws, with shape ``(samples, case, *shape)``.
            info: Diagnostics of each case.
            log_q: The log-density of each draw in the coordinates, with shape ``(samples, case)``; None if unknown.
        """
        z, log_det = self.out_of(view, w)
        found = self.decode(window, z, info, None if log_q is None else log_q + log_det)
        if view.work is None:
            return found
        work = {"model_steps": view.work.model_steps, "gradients": view.work.gradients}
        return found._replace(info={**found.info, **{name: found.info[name] + more for name, more in work.items()}})

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

    def proposals(self, control: Control, samples: int) -> tuple[Tensor, Tensor]:
        """What :meth:`draw` gives for the windows of a control, which counts the work; as it does unless overridden."""
        return self.draw(control.window, samples)

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


class FramedDensity(DensityEstimator):
    r"""Abstract estimator whose density is one of the coordinates of its frame,

    .. math:: \log q(z | y) = \log q(w | y) + \log \left| \det \partial w / \partial z \right| .
    """

    @abc.abstractmethod
    def log_density(self, context: Tensor, w: Tensor) -> Tensor:
        """The log-density of coordinates, one of each case.

        Args:
            context: The features of the windows, with shape ``(case, *context_shape)``.
            w: The coordinates, with shape ``(case, *shape)``.

        Returns:
            The log-density, with shape ``(case,)``.
        """

    @abc.abstractmethod
    def propose(self, context: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Draws coordinates.

        Args:
            context: The features of the windows, with shape ``(case, *context_shape)``.
            samples: The number of draws per case.

        Returns:
            The draws, with shape ``(samples, case, *shape)``, and their log-densities, with shape ``(samples, case)``.
        """

    def log_prob(self, z: Tensor, window: Window) -> Tensor:
        """The log-density of one value for each case, in nats, with shape ``(case,)``."""
        view = self.view(window)
        w, log_det = self.into(view, z)
        return self.log_density(view.context, w) + log_det

    def draw(self, window: Window, samples: int) -> tuple[Tensor, Tensor]:
        """Draws from the density, with the log-density of each."""
        return self._draw(self.view(window), samples)

    def proposals(self, control: Control, samples: int) -> tuple[Tensor, Tensor]:
        """The same for the windows of a control, which counts the work."""
        return self._draw(self.view(control.window, control), samples)

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the density, with the log-density of each draw."""
        view = self.view(window)
        w, log_q = self.propose(view.context, samples)
        return self.drawn(window, view, w, {}, log_q)

    def _draw(self, view: View, samples: int) -> tuple[Tensor, Tensor]:
        """Draws of the standardised target, with their log-densities."""
        w, log_q = self.propose(view.context, samples)
        z, log_det = self.out_of(view, w)
        return z, log_q + log_det


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
