"""Neural ratio estimation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import check_part
from ..nn import MLP, Network
from ..problems import Ensemble, Problem, Twin, Window
from ..tensors import white_noise
from .estimator import Estimator, repeat
from .frames.frame import Frame, Seen, View
from .ratios.losses import NREContrastiveLoss, RatioLoss
from .ratios.ratio import Ratio, RatioPotential
from .ratios.samplers import RatioSampler, TemperedSMC
from .target import Target


class NeuralRatio(Estimator):
    r"""Telescoping neural ratio estimation, by classifiers that learn the posterior's ratio to the standard normal,

    .. math:: \log \frac{p(z | y)}{N(z; 0, I)} = \sum_{k=0}^{K-1} \log \frac{p_k(z | y)}{p_{k+1}(z | y)},
        \qquad z_k = \sqrt{1 - \sigma_k^2} \, z + \sigma_k \varepsilon, \qquad \sigma_k = (k / K)^2 ,

    where :math:`p_k(\cdot | y)` is the density of :math:`z_k`, from the posterior at :math:`k = 0` to the standard
    normal at :math:`k = K`. A single classifier of posterior against prior separates them long before it has learned
    the ratio, since their draws hardly overlap; each of these classifiers separates neighbours. The control is standard
    normal a priori, so that this is its ratio :math:`p(u | y) / p(u)`, without permuting draws of other cases. States
    are standardised only, so that their prior is learned along with the likelihood.

    Draws are made from :math:`N(z; 0, I) \, r(z, y)`. This is a normalised density after perfect training only, and is
    not reported as one; ``info["log_normalizer"]``, zero for a perfect ratio, tells how far off it is. Targets
    :math:`p(z | y, x_b)` under the joint that it was trained on.

    Args:
        problem: The problem.
        target: The target; None for the control if the prior is a background, and for the last state if not.
        network: The plan of two networks, the embedding of a window and that of the ratio, see
            :class:`.Ratio`; None for convolutional ones over fields, and perceptrons for
            vectors.
        ratio_loss: The loss of each classifier; None for the contrastive one.
        ratio_sampler: The sampler; None for tempered sequential Monte Carlo.
        context: The number of channels of the embedding, for each site of the grid. Vectors are given as many numbers
            as there are entries in a state, times this.
        bridges: The number :math:`K` of ratios; one for a single classifier of posterior against standard normal. Only
            the last one has more than one candidate.
        residuals: The number of residuals at each site; None for two for each channel (or entry of a vector).
        times: The number of frequencies that encode the start of the window; 0 for none.
        frame: The coordinates in which it learns; None for those of the prior.

    References:
        | Likelihood-free MCMC with Amortized Approximate Ratio Estimators (Hermans, Begy & Louppe, 2019),
          https://arxiv.org/abs/1903.04057
        | Telescoping Density-Ratio Estimation (Rhodes, Xu & Gutmann, 2020), https://arxiv.org/abs/2006.12204
        | Towards Reliable Simulation-Based Inference with Balanced Neural Ratio Estimation (Delaunoy et al., 2022),
          https://arxiv.org/abs/2208.13624
        | Contrastive Neural Ratio Estimation (Miller et al., 2022), https://arxiv.org/abs/2210.06170
    """

    angles: Tensor

    def __init__(
        self,
        problem: Problem,
        target: Target | None = None,
        network: Network | None = None,
        ratio_loss: RatioLoss | None = None,
        ratio_sampler: RatioSampler | None = None,
        context: int = 8,
        bridges: int = 4,
        residuals: int | None = None,
        times: int = 6,
        frame: Frame | None = None,
    ) -> None:
        super().__init__(problem, target, times, frame=frame)
        if context < 1:
            raise ValueError(f"context: at least one channel is needed, not {context}")
        if bridges < 1:
            raise ValueError(f"bridges: at least one is needed, not {bridges}")
        if residuals is not None and residuals < 0:
            raise ValueError(f"residuals: must not be negative, not {residuals}")
        self.ratio_loss = ratio_loss or NREContrastiveLoss()
        self.ratio_sampler = ratio_sampler or TemperedSMC()
        channels, *grid = self.context_shape
        size, plan = self.context_size(context), network or self.default_network(blocks=2)
        check_part("network", plan, Network, MLP)
        check_part("ratio_loss", self.ratio_loss, RatioLoss, NREContrastiveLoss)
        check_part("ratio_sampler", self.ratio_sampler, RatioSampler, TemperedSMC)
        self.embedding = plan.build(channels, size, grid)
        residuals = 2 * self.layout.field[0] if residuals is None else residuals
        self.ratio = Ratio(plan, self.layout, size, bridges, residuals)
        self.register_buffer("angles", torch.asin(torch.linspace(0, 1, bridges + 1) ** 2), persistent=False)

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The ratios, without the embedding, which each window passes once."""
        return (self.ratio,)

    def potential(self, window: Window) -> RatioPotential:
        """The negative log-posterior of coordinates of each case, up to a constant that is zero for a perfect ratio."""
        return self._potential(self.view(window))

    def look(self, twin: Twin) -> tuple[Seen]:
        """What is seen of the draws."""
        return (self.seen(twin),)

    def loss(self, twin: Twin, seen: Seen | None = None) -> Tensor:
        """The sum of the losses of all classifiers."""
        seen = seen or self.seen(twin)
        z, context = seen.w, self.embedding(seen.context)
        noise = white_noise(z, self.ratio_loss.candidates, *z.shape)
        angle = self.angles[:-1].reshape(-1, *([1] * z.ndim))
        # The same noise at all levels, so that neighbours differ by little else than the level.
        points = torch.cat((angle.cos() * z + angle.sin() * noise[0], noise))
        ratios = self.ratio(points.flatten(0, 1), repeat(context, len(points))).unflatten(0, points.shape[:2])
        last = len(angle) - 1
        losses = [self.ratio_loss.loss(ratios[k, :, k], ratios[k + 1 : k + 2, :, k]) for k in range(last)]
        return torch.stack([*losses, self.ratio_loss.loss(ratios[last, :, last], ratios[last + 1 :, :, last])]).sum()

    def sample_cases(self, window: Window, samples: int) -> Ensemble:
        """Draws from the posterior of each case by the ratio sampler."""
        view = self.view(window)
        w, info = self.ratio_sampler.draw(self._potential(view), samples)
        return self.drawn(window, view, w.unflatten(-1, self.shape), info)

    def _potential(self, view: View) -> RatioPotential:
        """The negative log-posterior of coordinates, up to the same constant."""
        return RatioPotential(self.ratio, self.embedding(view.context))
