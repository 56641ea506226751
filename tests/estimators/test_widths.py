"""Posteriors of any width: estimators with exact denoisers of a Gaussian, as they sample by default."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from posterity.estimators import FlowMatching, GuidedScore, NeuralScore
from posterity.estimators.continuous import ContinuousFlow, Diffusion
from posterity.flows.flow import log_normal
from posterity.problems import Problem, Window
from posterity.testing import linear_gaussian

WIDTHS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
MEANS = (-1.5, -1.2, -0.9, -0.6, -0.3, 0.0, 0.4, 0.8, 1.2, 1.5)
FLOWS = pytest.mark.parametrize("method", [NeuralScore, FlowMatching], ids=["nse", "fmpe"])


class Exact(nn.Module):
    r"""The residual of :math:`N(m, s^2)`, one width for each entry, which counts how often it is asked for.

    :math:`F = E[\sin\varphi\, z - \cos\varphi\, \varepsilon | \bar x]`, by Gaussian conditioning.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.center, self.std, self.calls = mean, std, 0

    def forward(self, x: Tensor, angle: Tensor, context: Tensor) -> Tensor:
        self.calls += 1
        cos, sin = (part.view(-1, *([1] * (x.ndim - 1))) for part in (angle.cos(), angle.sin()))
        away = (x - cos * self.center) / (cos**2 * self.std**2 + sin**2)
        return sin * (self.center + cos * self.std**2 * away) - cos * sin * away


def one_state() -> Problem:
    """One state of as many sites as there are widths, seen directly."""
    return replace(linear_gaussian(len(WIDTHS)), window=1, forecast=0)


def moments(estimator: Diffusion, window: Window) -> tuple[Tensor, Tensor]:
    """Mean and spread of draws for each site, without Monte Carlo errors: the flow of a Gaussian is an affine map."""
    context, shape = estimator.features(window), estimator.shape
    noise = torch.stack((torch.zeros(shape), torch.ones(shape)))
    with torch.no_grad():
        mean = estimator.mean(window, context.expand(2, *context.shape[1:]))
        draws = estimator.sampler(mean, estimator.schedule, noise)
    return draws[0].flatten(), (draws[1] - draws[0]).flatten()


@FLOWS
def test_draws_and_densities_have_the_width_of_the_posterior(method) -> None:
    problem = one_state()
    estimator: ContinuousFlow = method(problem)
    estimator.standardize(problem.sample((20,)))
    widths, center = (torch.tensor(part).view(estimator.shape) for part in (WIDTHS, MEANS))
    exact = estimator.residual = Exact(center, widths)
    twin = problem.sample((20,))
    mean, spread = moments(estimator, twin.window.select(slice(1)))
    torch.testing.assert_close(spread, widths.flatten(), rtol=0.03, atol=0)
    torch.testing.assert_close(mean / widths.flatten(), (center / widths).flatten(), rtol=0, atol=0.02)
    assert exact.calls <= 64
    # The density of the same flow, at values from the posterior.
    z = center + widths * torch.randn(20, *estimator.shape)
    expected = log_normal((z - center) / widths) - widths.log().sum()
    torch.testing.assert_close(estimator.log_prob(z, twin.window), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("prior", [0.5, 1.0, 2.0])
def test_guided_draws_have_the_width_of_the_posterior(prior) -> None:
    """A prior that knows no observation, and observations that leave of it a hundredth to all."""
    problem = one_state()
    estimator = GuidedScore(problem)
    estimator.standardize(problem.sample((20,)))
    widths, y = (prior * torch.tensor(WIDTHS)).clamp(min=WIDTHS[0]), torch.tensor(MEANS)
    exact = estimator.residual = Exact(torch.zeros(estimator.shape), torch.full(estimator.shape, prior))
    scale, origin = estimator.scaler.scale, estimator.scaler.mean
    precision = widths**-2 - prior**-2
    window = problem.sample((1,)).window._replace(
        y=torch.where(precision > 0, y * scale.flatten() + origin.flatten(), torch.nan).view(1, 1, *estimator.shape),
        std=(scale.flatten() / precision.clamp(min=1e-9).sqrt()).view(1, 1, *estimator.shape),
    )
    mean, spread = moments(estimator, window)
    torch.testing.assert_close(spread, widths, rtol=0.03, atol=0)
    torch.testing.assert_close(mean / widths, y * (1 - (widths / prior) ** 2) / widths, rtol=0, atol=0.1)
    # Once for each mean, and once for all products at the same point.
    assert exact.calls <= 2 * 32
