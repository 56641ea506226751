"""The residual of shared parameters, by a network of its own that sees what the model leaves of states."""

import torch
from torch import Tensor, nn

from ...diffusion.denoisers import FINEST, WIDEST, FaintResidual, level
from ...nn import Layout, Network, ResidualMLP
from ...nn.embedding import SineEncoding
from ...nn.layout import averaged
from ...problems import Problem
from ...tensors import append_dims
from ..features import Standardizer
from .innovations import innovations

#: What the network says of a crop: so many numbers, averages over the grid.
CONTEXT = 32


class ParameterResidual(nn.Module):
    r"""The residual of the parameters that a crop shares, :math:`F_\theta(\bar v, \varphi, c(\hat x, \varphi))`.

    A step moves states by much more than parameters change it, and beside all states of a crop the loss of a few
    numbers is next to nothing. The network of this :math:`c` learns nothing else, and need not learn the dynamics:
    beside states it sees their :func:`.innovations`, of states that another network has freed from noise,
    :math:`\hat x = E[x | \bar x, \bar v]`.

    To derivatives :math:`c` is a constant. Nothing is observed of parameters themselves, so that guidance never asks
    how their mean moves with states; how it moves with noisy parameters is kept.

    Args:
        problem: The problem, of which it takes the model and the prior of parameters.
        states: The number of states of a crop.
        context: The number of channels (or entries) of what else is known of a crop.
        network: The plan of the network over states.
    """

    def __init__(self, problem: Problem, states: int, context: int, network: Network) -> None:
        super().__init__()
        self.problem, (channels, *grid) = problem, problem.shape
        #: The statistics of states, and of their innovations.
        self.states, self.innovations = Standardizer(problem.shape), Standardizer(problem.shape)
        self.encoding = SineEncoding(CONTEXT)
        seen = (2 * states - 1) * channels + context
        self.network = network.build(seen, CONTEXT, grid, condition=CONTEXT)
        self.residual = FaintResidual(Layout((len(problem.parameters),)), CONTEXT, ResidualMLP(64, 2))

    def count(self, x: Tensor, start: Tensor) -> None:
        """Counts crops, some of many, in the statistics that :meth:`settle` takes.

        Args:
            x: Their states, with shape ``(rows, states, *shape)``.
            start: When they begin, in steps, with shape ``(rows,)``.
        """
        self.states.count(x.flatten(0, 1))
        self.innovations.count(innovations(self.problem, x, start).flatten(0, 1))

    def settle(self) -> None:
        """Takes the statistics of what was counted, and forgets it."""
        self.states.settle()
        self.innovations.settle()

    def forward(self, x: Tensor, v: Tensor, angle: Tensor, start: Tensor, there: Tensor, context: Tensor) -> Tensor:
        r"""Estimates the residual.

        Args:
            x: States freed from noise, standardised, with shape ``(rows, states, *shape)``.
            v: Noisy parameters, whitened, with shape ``(rows, parameters)``.
            angle: Their angles, with shape ``(rows,)``, or ``(1,)`` if it is one for all.
            start: When the crops begin, in steps, with shape ``(rows,)``.
            there: Which states are known, 1 or 0, with shape ``(rows, states, 1, …)``.
            context: What else is known of crops, with shape ``(rows, context, *grid)``.

        Returns:
            The residuals of parameters, with shape ``(rows, parameters)``.
        """
        x = x * there
        left, known = torch.zeros_like(x[:, 1:]), there[:, 1:]
        # Those of which no two states are known need no run of the model.
        rows = known.flatten(1).any(dim=1).nonzero().squeeze(1)
        if len(rows):
            left[rows] = innovations(self.problem, self.states.inverse(x[rows]), start[rows])
        # As large as they are with noise in them that is left.
        noise = append_dims(angle.sin(), x.ndim - 1) * self.states.scale
        spread = (self.innovations.scale.square() + noise.square()).sqrt()
        left = (left - self.innovations.mean) / spread * known
        seen = torch.cat((x.flatten(1, 2), left.flatten(1, 2), context), dim=1)
        found = self.network(seen, self.encoding(level(angle.clamp(FINEST, WIDEST))))
        residual: Tensor = self.residual(v, angle, averaged(found))
        return residual
