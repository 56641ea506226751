"""Observations: masks, noise, likelihood."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

from posterity.baselines import ETKF, ImportanceSampling
from posterity.problems import (
    ChannelMask,
    Ensemble,
    GaussianNoise,
    GaussianStations,
    GridMask,
    Identity,
    Noise,
    Observation,
    Problem,
    Quadratic,
    RandomMask,
    TimeMask,
    log_likelihood,
    predictive_pit,
)
from posterity.systems import LinearAdvection, Lorenz63


def test_random_mask_keeps_its_fraction_anew_for_each_case():
    kept = RandomMask(0.3)((200,), 10, (1, 20))
    assert kept.shape == (200, 10, 1, 20)
    error = (0.3 * 0.7 / kept.numel()) ** 0.5
    assert abs(float(kept.double().mean()) - 0.3) < 4 * error
    assert not torch.equal(kept[0], kept[1])
    assert not RandomMask(0.0)((3,), 2, (5,)).any()
    assert RandomMask(1.0)((3,), 2, (5,)).all()


def test_time_mask_keeps_every_third_time_from_its_start():
    kept = TimeMask(every=3, start=1)((7,), 9, (1, 4))
    assert kept.shape == (9, 1, 1)
    assert kept.flatten().nonzero().flatten().tolist() == [1, 4, 7]


def test_grid_mask_keeps_a_lattice():
    assert GridMask(every=2, start=1)((7,), 9, (1, 6))[0, 0].nonzero().flatten().tolist() == [1, 3, 5]
    plane = GridMask(every=3)((), 5, (2, 6, 7)).expand(5, 2, 6, 7)
    assert plane[0].nonzero().shape == (2 * 2 * 3, 3)
    assert plane[3, 1, 3, 6]
    assert not plane[3, 1, 3, 5]


def test_channel_mask_keeps_its_channels():
    kept = ChannelMask((2, 0))((7,), 9, (3, 4))
    assert kept.expand(9, 3, 4)[5, :, 3].tolist() == [True, False, True]
    assert ChannelMask((1,))((), 2, (3,)).expand(2, 3).tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize(
    ("shape", "mask", "message"),
    [
        ((3,), GridMask(), r"observations of shape \(3,\) have no grid; choose the mask 'channels'"),
        ((1, 6), GridMask(every=2, start=6), "start: 6 lies behind a grid of 6 sites"),
        ((1, 6), TimeMask(every=2, start=4), "start: 4 lies behind the window, whose times are 0 to 3"),
        ((3,), ChannelMask((0, 3)), r"channels: must be some of the numbers 0 to 2, each once, not \[0, 3\]"),
        ((3,), ChannelMask(()), "channels: must be some of the numbers"),
        ((3,), ChannelMask((1, 1)), "channels: must be some of the numbers"),
        ((3,), ChannelMask(("x",)), "names of channels are known in experiment files alone"),
    ],
)
def test_a_mask_that_does_not_suit_the_observations_is_refused(shape, mask, message):
    """Rather than keep all entries, or none, without a word."""
    system = Lorenz63() if shape == (3,) else LinearAdvection(size=6)
    with pytest.raises(ValueError, match=message):
        Problem(system, Observation(Identity(shape), masks=(mask,)), window=4)


def test_masks_apply_together():
    observation = Observation(Identity((1, 6)), masks=(TimeMask(every=2), GridMask(every=3)))
    _, mask = observation.design((4,), 5)
    assert mask.shape == (4, 5, 1, 6)
    expected = torch.zeros(5, 1, 6, dtype=torch.bool)
    expected[::2, :, ::3] = True
    assert torch.equal(mask, expected.expand_as(mask))


def test_without_masks_everything_is_observed():
    std, mask = Observation(Identity((1, 6)), std=(0.5, 2.0)).design((100,), 5)
    assert mask.all()
    assert std.shape == mask.shape
    assert float(std.min()) >= 0.5
    assert float(std.max()) <= 2.0
    assert abs(float(std.mean()) - 1.25) < 4 * 1.5 / 12**0.5 / std.numel() ** 0.5


def test_noise_has_its_standard_deviation():
    observation = Observation(Quadratic((1, 8)))
    x, std = torch.randn(4000, 3, 1, 8), torch.rand(4000, 3, 1, 8) + 0.5
    mask = torch.rand(4000, 3, 1, 8) < 0.5
    y = observation.sample(x, std, mask)
    assert torch.equal(y.isnan(), ~mask)
    z = ((y - x.square()) / std)[mask]
    assert abs(float(z.mean())) < 4 / len(z) ** 0.5
    assert abs(float(z.var()) - 1) < 4 * (2 / len(z)) ** 0.5


def case():
    """An observation of 5 cases, with half of its entries missing, and one case with none."""
    observation = Observation(GaussianStations((1, 12)), std=(0.5, 2.0), masks=(RandomMask(0.5),))
    x = torch.randn(5, 4, 1, 12)
    std, mask = observation.design((5,), 4)
    mask[2] = False
    return observation, observation.sample(x, std, mask), x, std


def test_log_prob_is_that_of_independent_normals():
    observation, y, x, std = case()
    expected = torch.zeros(5)
    for index in (~y.isnan()).nonzero():
        i = tuple(index)
        expected[i[0]] += Normal(observation.operator(x)[i], std[i]).log_prob(y[i])
    torch.testing.assert_close(observation.log_prob(y, x, std), expected)
    assert float(observation.log_prob(y, x, std)[2]) == 0.0


def test_log_prob_broadcasts_over_samples():
    observation, y, x, std = case()
    more = torch.stack((x, 2 * x))
    together = observation.log_prob(y, more, std)
    assert together.shape == (2, 5)
    torch.testing.assert_close(together[1], observation.log_prob(y, 2 * x, std))


@pytest.mark.parametrize("unknown_std", [False, True], ids=["", "std is NaN where y is"])
def test_gradients_are_finite_with_missing_observations(unknown_std):
    observation, y, x, std = case()
    if unknown_std:
        std = torch.where(y.isnan(), torch.nan, std)
    x.requires_grad_()
    value = observation.log_prob(y, x, std)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert not gradient[2].any()
    assert torch.autograd.gradcheck(lambda x: observation.log_prob(y, x, std), (x,), fast_mode=True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Observation(Identity((3,)), std=(0.0, 1.0)), "std: needs 0 < low <= high"),
        (lambda: Observation(Identity((3,)), std=(2.0, 1.0)), "std: needs 0 < low <= high"),
        (lambda: RandomMask(1.5), "fraction: must lie between 0 and 1, not 1.5"),
        (lambda: TimeMask(every=0), "every: 0 from start: 0"),
        (lambda: TimeMask(start=-1), "every: 1 from start: -1"),
        (lambda: GridMask(every=0), "every: 0 from start: 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_gaussian_noise_is_torch_s_normal_entry_by_entry():
    h, std = torch.randn(4, 3), torch.rand(4, 3) + 0.5
    y = GaussianNoise().sample(h.expand(20_000, 4, 3), std)
    assert float(((y - h) / std).mean(dim=0).abs().max()) < 4.5 / 20_000**0.5
    assert float((((y - h) / std).square().mean(dim=0) - 1).abs().max()) < 4.5 * (2 / 20_000) ** 0.5
    torch.testing.assert_close(GaussianNoise().log_prob(y, h, std), Normal(h, std).log_prob(y))


class Laplace(Noise):
    """Noise with heavier tails."""

    def sample(self, h, std):
        return torch.distributions.Laplace(h, std / 2**0.5, validate_args=False).sample()

    def log_prob(self, y, h, std):
        return torch.distributions.Laplace(h, std / 2**0.5, validate_args=False).log_prob(y)

    def cdf(self, y, h, std):
        return torch.distributions.Laplace(h, std / 2**0.5, validate_args=False).cdf(y)


@pytest.mark.parametrize("method", [ImportanceSampling, ETKF])
def test_methods_of_whitened_residuals_refuse_other_noise(make_problem, method):
    """They would take it for Gaussian; what asks the noise itself goes on."""
    gaussian = make_problem()
    problem = replace(gaussian, observation=replace(gaussian.observation, noise=Laplace()))
    twin = problem.sample((3,))
    truth = Ensemble(twin.x.expand(2, *twin.x.shape), twin.theta.expand(2, *twin.theta.shape), range(problem.steps))
    assert log_likelihood(problem, twin.window, truth).isfinite().all()
    assert torch.nanmean(predictive_pit(problem, twin, truth)).item() == pytest.approx(0.5, abs=0.2)
    with pytest.raises(ValueError, match=r"observation\.noise: .* needs Gaussian noise, not Laplace; choose another"):
        method(problem).sample(twin.window, 10)
