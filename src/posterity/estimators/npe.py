"""Neural posterior estimation."""

import torch
from torch import Tensor

from ..errors import check_part
from ..flows import ConditionalFlow, CouplingSpline, Flow
from ..flows.factorized import Factorized
from ..nn import MLP, Network
from ..problems import Problem, Twin, Window
from .estimator import STARTING, FramedDensity, draw_flow
from .frames.frame import Frame, Seen
from .target import Target


class NeuralPosterior(FramedDensity):
    r"""Neural posterior estimation, by a normalizing flow over the target given an embedding of the window,

    .. math:: \min_\phi E_{p(z, y, m, \sigma, x_b)}
        \left[ -\log q_\phi(z \,|\, f_\phi(y, m, \sigma, x_b, \sigma_b, s)) \right] ,

    amortised over observations, their mask :math:`m` and standard deviations, over the background with its own, and
    over the start :math:`s` of the window. Targets :math:`p(z | y, x_b)` under the joint that it was
    trained on, exactly in the limit of infinite training and networks. The embedding is made once for each window,
    whatever the number of draws.

    Args:
        problem: The problem.
        target: The target; None for the control if the prior is a background, and for the last state if not.
        network: The network that embeds a window; None for a convolutional one over fields, and a perceptron for
            vectors.
        context: The number of channels of the embedding, for each site of the grid. Vectors are given as many numbers
            as there are entries in a state, times this.
        flow: The flow; None for a coupling flow of splines. Unknown parameters beside a field have one of their own, a
            coupling flow of splines, and the field is given them.
        times: The number of frequencies that encode the start of the window; 0 for none.
        frame: The coordinates in which it learns; None for those of the prior.

    References:
        | Automatic Posterior Transformation for Likelihood-Free Inference (Greenberg et al., 2019),
          https://arxiv.org/abs/1905.07488
        | Normalizing Flows for Probabilistic Modeling and Inference (Papamakarios et al., 2019),
          https://arxiv.org/abs/1912.02762
    """

    def __init__(
        self,
        problem: Problem,
        target: Target | None = None,
        network: Network | None = None,
        context: int = 8,
        flow: Flow | None = None,
        times: int = 6,
        frame: Frame | None = None,
    ) -> None:
        super().__init__(problem, target, times, frame=frame)
        if context < 1:
            raise ValueError(f"context: at least one channel is needed, not {context}")
        network, flow = network or self.default_network(blocks=2), flow or CouplingSpline()
        check_part("network", network, Network, MLP)
        check_part("flow", flow, Flow, CouplingSpline)
        channels, *grid = self.context_shape
        size = self.context_size(context)
        self.network = network.build(channels, size, grid)
        if self.layout.constants:
            self.flow: ConditionalFlow = Factorized(self.layout, (size, *grid), flow, CouplingSpline())
        else:
            self.flow = flow.build(self.shape, (size, *grid))

    @torch.no_grad()
    def standardize(self, twin: Twin) -> None:
        """Takes the statistics of the target and of the windows, and initialises the flow from them."""
        super().standardize(twin)
        some = Twin(twin.x[:STARTING], twin.theta[:STARTING], twin.window.select(slice(STARTING)))
        seen = self.seen(some)
        self.flow.standardize(seen.w, self.network(seen.context))

    def context(self, window: Window) -> Tensor:
        """The embedding of windows, with shape ``(case, channels, *grid)``, or ``(case, entries)`` for vectors."""
        return self.network(self.view(window).context)

    def look(self, twin: Twin) -> tuple[Seen]:
        """What is seen of the draws."""
        return (self.seen(twin),)

    def loss(self, twin: Twin, seen: Seen | None = None) -> Tensor:
        r"""The average of :math:`-\log q(z | y)`, in nats."""
        seen = seen or self.seen(twin)
        return -(self.log_density(seen.context, seen.w) + seen.log_det).mean()

    def log_density(self, context: Tensor, w: Tensor) -> Tensor:
        """The log-density of coordinates, with shape ``(case,)``."""
        return self.flow.log_prob(w, self.network(context))

    def propose(self, context: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Draws from the flow, with their log-densities, some at once."""
        return draw_flow(self.flow, self.network(context), samples, self.shape)
