"""Noise schedules, the denoiser's preconditioning, and its loss."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from posterity.diffusion import Denoiser, denoising_loss
from posterity.diffusion.denoisers import Residual, stratified
from posterity.diffusion.schedules import Cosine, LinearBeta, Schedule, VarianceExploding
from posterity.nn import MLP, Network

SCHEDULES = (Cosine(), LinearBeta(), VarianceExploding())


class Plan(Network):
    """Makes a module that was made before."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def build(self, inputs: int, outputs: int, grid: Sequence[int], condition: int = 0) -> nn.Module:
        return self.module


class Copy(nn.Module):
    """Gives back the channels behind the first."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x[:, 1:]


class Nothing(nn.Module):
    """Gives zero for the first channel."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :1])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda value: type(value).__name__)
def test_schedules_go_from_data_to_noise(schedule: Schedule) -> None:
    t = torch.linspace(0, 1, 101)
    ratio = schedule.sigma(t) / schedule.alpha(t)
    assert float(schedule.alpha(t)[0]) == pytest.approx(1)
    assert 0 < float(ratio[0]) <= 2e-3 * (1 + 1e-12)
    assert float(ratio[-1]) >= 80 * (1 - 1e-12)
    assert (ratio.diff() > 0).all()
    angle, scale = schedule.angle(t), schedule.scale(t)
    torch.testing.assert_close(scale * angle.cos(), schedule.alpha(t))
    torch.testing.assert_close(scale * angle.sin(), schedule.sigma(t))
    assert torch.equal(schedule.times(4), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))


@pytest.mark.parametrize("schedule", [Cosine(), LinearBeta()], ids=lambda value: type(value).__name__)
def test_variance_is_preserved(schedule: Schedule) -> None:
    t = torch.linspace(0, 1, 11)
    torch.testing.assert_close(schedule.scale(t).square(), torch.full((11,), 1 + 1e-6), rtol=1e-12, atol=0)


def test_schedules_are_those_of_the_literature() -> None:
    t = torch.linspace(0, 1, 11, requires_grad=True)
    # Data are at half the way between one and eta in the arc cosine of their scale's root.
    torch.testing.assert_close(Cosine().alpha(t).sqrt().acos() / math.acos(1e-3**0.5), t)
    (rate,) = torch.autograd.grad(-2 * LinearBeta().alpha(t).log().sum(), t)
    torch.testing.assert_close(rate, 0.1 + (20 - 0.1) * t)
    root = VarianceExploding().sigma(t) ** (1 / 7)
    torch.testing.assert_close(root, 2e-3 ** (1 / 7) * (1 - t) + 80 ** (1 / 7) * t)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(eta=0), "eta: must lie between 0 and 1, not 0"),
        (lambda: LinearBeta(first=30), "first: must lie between 0 and 20, not 30"),
        (lambda: VarianceExploding(last=1e-3), "first: must lie between 0 and 0.001, not 0.002"),
        (lambda: VarianceExploding(rho=0), "rho: must be positive, not 0"),
    ],
)
def test_schedules_refuse_what_is_none(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda value: type(value).__name__)
def test_the_denoiser_recovers_data_from_what_is_orthogonal_to_their_noisy_values(schedule: Schedule) -> None:
    """A network that is right about each row gives back the data, at all levels of noise."""
    denoiser = Denoiser(Residual((1, 5), 1, Plan(Copy())), schedule)
    t, z, noise = torch.linspace(0, 1, 20), torch.randn(20, 1, 5), torch.randn(20, 1, 5)
    alpha, sigma, angle = (part(t).view(-1, 1, 1) for part in (schedule.alpha, schedule.sigma, schedule.angle))
    found = denoiser(alpha * z + sigma * noise, t, angle.sin() * z - angle.cos() * noise)
    torch.testing.assert_close(found, z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda value: type(value).__name__)
def test_a_network_of_zeros_is_exact_for_standard_normal_data(schedule: Schedule) -> None:
    """The mean of z given its noisy value, by the rule of Gaussian conditioning; and one time for all is as good."""
    denoiser = Denoiser(Residual((1, 5), 0, Plan(Nothing())), schedule)
    x, t = torch.randn(20, 1, 5), torch.tensor(0.4)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    found = denoiser(x, t, torch.zeros(20, 0, 5))
    torch.testing.assert_close(found, alpha / (alpha**2 + sigma**2) * x)
    assert torch.equal(denoiser(x, t.expand(20), torch.zeros(20, 0, 5)), found)


def test_the_network_sees_the_level_of_noise_and_the_context() -> None:
    denoiser = Denoiser(Residual((2,), 3, MLP((8,))), Cosine())
    x, t, context = torch.randn(6, 2), torch.rand(6), torch.randn(6, 3)
    found = denoiser.residual(x, t, context)
    assert found.shape == (6, 2)
    assert not torch.isclose(denoiser.residual(x, t + 0.1, context), found).all(dim=1).any()
    assert not torch.isclose(denoiser.residual(x, t, context + 0.1), found).all(dim=1).any()
    # At both ends too, where the logarithm of the level would be infinite.
    ends = denoiser.residual(x, torch.tensor([0.0, math.pi / 2] * 3), context)
    assert ends.isfinite().all()


def test_the_loss_of_knowing_nothing_is_one_and_that_of_knowing_all_is_zero() -> None:
    z = torch.randn(4000, 1, 5)
    nothing = Denoiser(Residual((1, 5), 0, Plan(Nothing())), Cosine())
    # The mean of 20 000 squares of standard normal numbers.
    assert float(denoising_loss(nothing, z, z[:, :0])) == pytest.approx(1, abs=4 * (2 / 20_000) ** 0.5)

    class Told(nn.Module):
        """Is told the data, and finds the noise and its level from the noisy ones and the encoding."""

        def forward(self, x: Tensor, condition: Tensor) -> Tensor:
            # The first sine and cosine have frequency one, and the level is a quarter of the logarithm.
            angle = (4 * torch.atan2(condition[:, 0], condition[:, 16])).exp().atan().view(-1, 1, 1)
            noise = (x[:, :1] - angle.cos() * x[:, 1:]) / angle.sin()
            return angle.sin() * x[:, 1:] - angle.cos() * noise

    told = Denoiser(Residual((1, 5), 1, Plan(Told())), Cosine())
    assert float(denoising_loss(told, z, z)) < 1e-16


def test_stratified_draws_fill_each_interval_once() -> None:
    found = stratified(1000)
    assert torch.equal((found * 1000).long().sort().values, torch.arange(1000))
    # In random order: neighbours are no nearer than others.
    assert float(found.diff().abs().mean()) == pytest.approx(1 / 3, abs=0.05)
