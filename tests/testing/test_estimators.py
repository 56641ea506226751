"""The checks of estimators pass those of the project, and notice what is wrong with others."""

import pytest
import torch
from torch import nn

from posterity.estimators import AmortizedVariational, DensityEstimator, GuidedScore, NeuralPosterior, NeuralScore
from posterity.flows import CouplingSpline, Delta
from posterity.nn import MLP, Convolution
from posterity.testing import check_estimator, check_gradients

SMALL = Convolution(width=8, blocks=1, kernel=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "density"),
    [
        (lambda p: NeuralPosterior(p, network=MLP((8,)), context=2, flow=CouplingSpline(1, (8,), bins=4)), 1e-7),
        (lambda p: AmortizedVariational(p, SMALL, flow=Delta()), None),
        (lambda p: NeuralScore(p, network=MLP((8,)), steps=16), 1e-3),
        (lambda p: GuidedScore(p, SMALL), None),
    ],
    ids=["NPE", "AVI", "NSE", "guided score"],
)
def test_sound_estimators_pass(make, density):
    check_estimator(make, density=density)


class Shift(DensityEstimator):
    """Gaussians about a learned shift; subclasses do something wrong."""

    def __init__(self, problem):
        super().__init__(problem)
        self.mean = nn.Parameter(torch.zeros(self.shape))

    def normal(self, window):
        return torch.distributions.Normal(self.mean.expand(len(window.y), *self.shape), 1.0)

    def log_prob(self, z, window):
        return self.normal(window).log_prob(z).flatten(1).sum(dim=-1)

    def draw(self, window, samples):
        z = self.normal(window).sample((samples,))
        return z, torch.stack([self.log_prob(each, window) for each in z])


class Unused(Shift):
    def __init__(self, problem):
        super().__init__(problem)
        self.rest = nn.Parameter(torch.zeros(1))


class Infinite(Unused):
    def log_prob(self, z, window):
        return super().log_prob(z, window) + self.rest.square().sqrt()


class Many(Shift):
    def loss(self, twin):
        return -self.log_prob(self.encode(twin), twin.window)


class Blank(Shift):
    def log_prob(self, z, window):
        return super().log_prob(z, window) + window.y.flatten(1).sum(dim=-1)


class Wide(Shift):
    def draw(self, window, samples):
        z, log_q = super().draw(window, samples)
        return 1.1 * z, log_q


class Forgetful(Shift):
    """It keeps a number outside the weights, which another one of it does not have."""

    made = 0

    def __init__(self, problem):
        super().__init__(problem)
        type(self).made += 1
        self.scale = type(self).made

    def normal(self, window):
        return torch.distributions.Normal(self.mean.expand(len(window.y), *self.shape), float(self.scale))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Unused, "parameter 'rest' has no gradient"),
        (Infinite, "the gradient of parameter 'rest' is not finite"),
        (Many, r"loss: must be one number, not of shape \(20,\)"),
        (Blank, "loss: is nan"),
        (Wide, "log_prob computes another density of the draws"),
        (Forgetful, "another estimator that loads them has another loss"),
    ],
)
def test_what_is_wrong_with_an_estimator_is_named(make, message):
    check_estimator(Shift)
    with pytest.raises(AssertionError, match=message):
        check_estimator(make)


def test_gradients_are_told_by_name():
    module = nn.Linear(2, 1)
    module(torch.ones(3, 2)).sum().backward()
    assert check_gradients(module) == {"weight": 3.0, "bias": 3.0}
