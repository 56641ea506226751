"""Continuous flows: densities by an ordinary differential equation; see :mod:`posterity.diffusion`."""

import abc
from functools import partial
from math import prod

import torch
from torch import Tensor

from ..diffusion import probe, transport
from ..flows.flow import log_normal
from ..problems import Ensemble, Problem, Window
from .estimator import DensityEstimator, contexts, network_chunks
from .target import Target


class ContinuousFlow(DensityEstimator):
    r"""Abstract estimator whose density follows from a learned velocity between data at :math:`t_0` and noise,

    .. math:: \dot x = v(x, t, c), \qquad
        \log q(z | y) = \log N(x_{t_1}; 0, I) + \int_{t_0}^{t_1} \nabla \cdot v(x_t, t, c)\, dt, \qquad x_{t_0} = z .

    Trained by regression, not by this density, which is not differentiable. It costs ``4 * steps`` evaluations of the
    network, each with as many vector-Jacobian products as there are probes.

    Args:
        problem: The problem.
        target: The target; None for the control if the prior is a background, and for the last state if not.
        times: The number of frequencies at which the network sees the start of the window; 0 for none.
        steps: The steps of the Runge–Kutta scheme.
        probes: The most vector-Jacobian products of a divergence, which is exact if there are no more entries.
        density: Whether draws come with their log-density.
    """

    def __init__(
        self, problem: Problem, target: Target | None, times: int, steps: int, probes: int, density: bool
    ) -> None:
        super().__init__(problem, target, times)
        if steps < 1 or probes < 1:
            raise ValueError(f"steps, probes: at least one is needed of each, not {steps} and {probes}")
        self.steps, self.probes, self.density = steps, min(probes, prod(self.shape)), density

    @abc.abstractmethod
    def velocity(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The velocity, with shape ``(rows, *shape)``.

        Args:
            x: The points, with shape ``(rows, *shape)``.
            t: The time, a scalar.
            context: The features of each row.
        """

    @abc.abstractmethod
    def levels(self) -> Tensor:
        """The times of the integration, from data to noise, with shape ``(steps + 1,)``."""

    @abc.abstractmethod
    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Draws without their density, with shape ``(rows, *shape)``.

        Args:
            noise: Standard normal, with the same shape.
            context: The features of each row.
        """

    @torch.no_grad()
    def log_prob(self, z: Tensor, window: Window) -> Tensor:
        """The log-density of one value for each case, in nats, with shape ``(case,)``."""
        context = self.features(window)
        found = []
        for chunk in network_chunks(len(z), self.probes, self.shape, z.device):
            noise, fallen = self._transport(z[chunk], self.levels(), context[chunk])
            found.append(log_normal(noise) + fallen)
        return torch.cat(found)

    @torch.no_grad()
    def draw(self, window: Window, samples: int) -> tuple[Tensor, Tensor]:
        """Draws by the same equation, and their log-densities."""
        found = []
        for given in contexts(self.features(window), samples, self.shape, self.probes):
            noise = torch.randn(len(given), *self.shape)
            z, fallen = self._transport(noise, self.levels().flip(0), given)
            found.append((z, log_normal(noise) - fallen))
        z, log_q = (torch.cat(part).unflatten(0, (samples, -1)) for part in zip(*found, strict=True))
        return z, log_q

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws, with the log-density of each if they are to have it."""
        if self.density:
            return super().sample_cases(window, samples)
        given = contexts(self.features(window), samples, self.shape)
        found = [self.generate(torch.randn(len(part), *self.shape), part) for part in given]
        return self.decode(window, torch.cat(found).unflatten(0, (samples, -1)))

    def _transport(self, x: Tensor, times: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Carries rows from the first time to the last, with the integral of the divergence."""
        return transport(partial(self.velocity, context=context), x, times, probe(x, self.probes))
