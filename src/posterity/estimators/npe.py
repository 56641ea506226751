"""Neural posterior estimation."""

from collections.abc import Sequence
from math import prod

import torch
import zuko
from torch import Tensor, nn

from ..problems import Control, Ensemble, Problem, Twin, Window, ensemble
from ..systems import rollout
from .estimator import Estimator


class NeuralPosterior(Estimator):
    r"""Neural posterior estimation with a coupling spline flow over the control,

    .. math:: \min_\phi E_{p(u, y, x_b)}\left[ -\log q_\phi(u | y, m, \sigma, x_b, \sigma_b) \right], \qquad
        x_0 = x_b + \sigma_b u ,

    amortised over observations, their mask and standard deviations, and the background with its own. The flow
    learns the control :math:`u` (with unknown parameters and model errors, if the problem has them), which is standard
    normal a priori, so its base is the prior; trajectories follow from the model. The embedding also sees the
    innovations :math:`(y_t - H(x_t(x_b))) / \sigma_t` of the background's trajectory, so that it need not learn the
    dynamics first. Targets :math:`p(x_{0:T+F}, \theta | y, x_b)` under the joint that it was trained on.

    Args:
        problem: The problem.
        transforms: The number of coupling transforms.
        hidden: The widths of each transform's network.
        bins: The number of spline bins.
        embedding: The widths of the network that embeds the window; the last one is the context's size.

    References:
        | Automatic Posterior Transformation for Likelihood-Free Inference (Greenberg et al., 2019),
          https://arxiv.org/abs/1905.07488
        | Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """  # noqa: D415

    def __init__(
        self,
        problem: Problem,
        transforms: int = 4,
        hidden: Sequence[int] = (128, 128),
        bins: int = 8,
        embedding: Sequence[int] = (512, 256),
    ) -> None:
        super().__init__(problem)
        if problem.background_std is None:
            raise ValueError("npe learns the background's whitened error, and the problem has no background")
        state = prod(problem.shape)
        seen = problem.window * prod(problem.observation.shape)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((4 * seen + 2 * state, *embedding), embedding, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.embedding = nn.Sequential(*layers)
        self.flow = zuko.flows.NSF(
            problem.unknowns, embedding[-1], bins=bins, transforms=transforms, passes=2, hidden_features=tuple(hidden)
        )
        for name in ("y", "std", "background", "background_std"):
            self.register_buffer(f"{name}_mean", torch.zeros(()))
            self.register_buffer(f"{name}_scale", torch.ones(()))

    def standardize(self, twin: Twin) -> None:
        """Takes mean and scale of what is observed, and of the background; one of each for all entries."""
        window = twin.window
        observed = ~window.y.isnan()
        for name, values in (
            ("y", window.y[observed]),
            ("std", window.std[observed]),
            ("background", window.background),
            ("background_std", window.background_std),
        ):
            self.get_buffer(f"{name}_mean").copy_(values.mean())
            self.get_buffer(f"{name}_scale").copy_(values.std().clamp(min=1e-6))

    def context(self, window: Window) -> Tensor:
        """Embeds windows; a missing entry is a zero in the mask and, standardised, everywhere else.

        Args:
            window: The windows, with one batch dimension ``case``.

        Returns:
            The contexts, with shape ``(case, embedding[-1])``.
        """
        observed = ~window.y.isnan()
        features = [
            self._innovation(window),
            torch.where(observed, self._scaled("y", window.y), 0),
            torch.where(observed, self._scaled("std", window.std), 0),
            observed.to(window.std),
            self._scaled("background", window.background),
            self._scaled("background_std", window.background_std),
        ]
        return self.embedding(torch.cat([feature.flatten(1) for feature in features], dim=-1))

    def loss(self, twin: Twin) -> Tensor:
        r"""The average of :math:`-\log q_\phi(u | y)`, in nats."""
        window = twin.window
        u = Control(self.problem, window).encode(twin.x, twin.theta)
        return -self.flow(self.context(window)).log_prob(u).mean()

    @torch.no_grad()
    def sample(self, window: Window, samples: int) -> Ensemble:
        """Draws from the flow, and runs the model from the draws."""
        control = Control(self.problem, window)
        u = self.flow(self.context(window)).sample((samples,))
        return ensemble(control, u, {})

    @torch.no_grad()
    def _innovation(self, window: Window) -> Tensor:
        """What the background misses of the observations, in standard deviations, with the shape of ``window.y``."""
        x = rollout(self.problem.system, window.background, self.problem.window - 1)
        innovation = (window.y - self.problem.observation.operator(x)) / window.std
        # Chaos makes late innovations huge: beyond some standard deviations only their order of magnitude matters.
        return torch.asinh(innovation.nan_to_num(nan=0.0))

    def _scaled(self, name: str, value: Tensor) -> Tensor:
        """Standardises a feature."""
        return (value - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_scale")
